// Draws what changes anew every two seconds, while the page is looked at and the box is ticked.
import { sayEnded } from "./page.js";

const part = document.getElementById("part");
const wanted = document.getElementById("refresh");
const scrolled = () => part.querySelector(".scrolled");
function draw(text) {
  const left = scrolled()?.scrollLeft;
  part.innerHTML = text;
  if (left) scrolled()?.scrollTo(left, 0);
}
async function refresh() {
  if (wanted.checked && !document.hidden && !part.contains(document.activeElement)) {
    try {
      const reply = await fetch("/now/part", { headers: { "facewatchd-background": "1" } });
      if (reply.ok) draw(await reply.text());
      else if (reply.status === 503) location.reload();
    } catch {
      sayEnded();
    }
  }
  setTimeout(refresh, 2000);
}
setTimeout(refresh, 2000);
