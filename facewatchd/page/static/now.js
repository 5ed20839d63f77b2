// Draws what changes anew every two seconds, while the page is looked at and the box is ticked.
import { sayEnded } from "./page.js";

const part = document.getElementById("part");
const wanted = document.getElementById("refresh");
async function refresh() {
  if (wanted.checked && !document.hidden && !part.contains(document.activeElement)) {
    try {
      const reply = await fetch("/now/part", { headers: { "facewatchd-background": "1" } });
      if (reply.ok) part.innerHTML = await reply.text();
      else if (reply.status === 503) location.reload();
    } catch {
      sayEnded();
    }
  }
  setTimeout(refresh, 2000);
}
setTimeout(refresh, 2000);
