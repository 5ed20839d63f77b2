// Loads the page again once the daemon answers.
const again = async () => {
  try {
    const answer = await fetch(location.href, { headers: { "facewatchd-background": "1" } });
    if (answer.status !== 503) return location.reload();
  } catch {
    // the page itself has ended: see live.js
  }
  setTimeout(again, 2000);
};
setTimeout(again, 2000);
