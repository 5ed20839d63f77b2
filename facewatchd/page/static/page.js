// On every page: a key presses what names it with data-key, unless the user switched keys off; and what is said where the
// page's process has ended.
const KEPT = "keys";

const keys = document.getElementById("keys"); // not where nothing is asked
if (keys) keys.checked = localStorage.getItem(KEPT) !== "off";
keys?.addEventListener("change", () => localStorage.setItem(KEPT, keys.checked ? "on" : "off"));

/** Whether a key is meant for the page: not while a field is written in, and none without Ctrl or the like where the user
 * does not want them (WCAG 2.1.4). */
export const isMeant = (event) =>
  !(event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) &&
  !event.target.closest("input:not([type=range], [type=checkbox], [type=radio]), select, textarea") &&
  ((keys?.checked ?? true) || event.key.length > 1);

document.addEventListener("keydown", (event) => {
  if (!isMeant(event) || (event.key.startsWith("Arrow") && event.target.matches("input"))) return;
  const wanted = [...document.querySelectorAll("[data-key]")].find((each) => each.dataset.key === event.key);
  if (!wanted) return;
  event.preventDefault();
  if (wanted.matches("input")) wanted.focus();
  else wanted.click();
});

/** Says that the page's process has ended, once. */
export const sayEnded = () => {
  if (document.getElementById("ended")) return;
  const notice = document.createElement("div");
  notice.id = "ended";
  notice.className = "notice wrong";
  notice.append("This page has ended, as it was not used for a while or was closed in its terminal. Start it again: ");
  notice.append(Object.assign(document.createElement("code"), { textContent: "facewatchd page" }));
  document.getElementById("notices").append(notice);
};

for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    button.textContent = "Copied";
  });
}

for (const chart of document.querySelectorAll(".chart")) chart.scrollLeft = chart.scrollWidth; // the last years are seen

if (location.hash.length > 40) history.replaceState(null, "", location.pathname + location.search); // a used code
