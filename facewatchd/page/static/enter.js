// Trades the code in the address for the cookie, and takes it out of the address.
const code = location.hash.slice(1);
if (code) {
  const then = location.pathname + location.search;
  history.replaceState(null, "", then);
  const body = new URLSearchParams({ code });
  const answer = await fetch("/enter", { method: "POST", body, redirect: "manual" });
  if (answer.type === "opaqueredirect") {
    location.replace(then);
  } else {
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    document.querySelector("main").replaceWith(page.querySelector("main"));
  }
}
