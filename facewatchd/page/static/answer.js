// An answer: more matches on scrolling, the slider, and photos that are found while the page is open.
import { sayEnded } from "./page.js";

const form = document.getElementById("narrow");
const slider = document.getElementById("threshold");
const expected = document.getElementById("expected");
const parts = ["total", "searched", "answer", "expected"];
let running; // what the slider asks

const page = async (address, options) => {
  const answer = await fetch(address, options);
  if (!answer.ok) throw new Error(answer.status);
  return new DOMParser().parseFromString(await answer.text(), "text/html");
};

// More on scrolling

const more = new IntersectionObserver(async ([entry]) => {
  const next = document.querySelector("#turn a");
  if (!entry.isIntersecting || !next || next.dataset.asked) return;
  next.dataset.asked = "yes";
  try {
    const found = await page(next.href);
    if (!next.isConnected) return; // the slider was moved meanwhile
    document.getElementById("matches").append(...found.querySelectorAll("#matches > li"));
    document.getElementById("turn").replaceWith(found.getElementById("turn"));
    watch();
  } catch {
    delete next.dataset.asked; // the link is still there
  }
}, { rootMargin: "1200px" });

const watch = () => {
  more.disconnect();
  const turn = document.getElementById("turn");
  if (turn) more.observe(turn);
};

// The slider

const address = () => {
  const values = new URLSearchParams(new FormData(form));
  for (const [name, value] of [...values]) if (!value) values.delete(name, value);
  return values;
};

const judge = async (values, signal) => {
  const shown = document.querySelectorAll("#matches > li").length;
  if (Number(document.getElementById("total").dataset.total) <= shown) return;
  const answer = await fetch(`/ask/wrong?${values}`, { signal });
  if (answer.ok) expected.textContent = await answer.text();
};

const ask = async () => {
  running?.abort();
  running = new AbortController();
  const { signal } = running;
  const values = address();
  document.getElementById("matches")?.setAttribute("aria-busy", "true");
  try {
    const found = await page(`/ask?${values}`, { signal });
    for (const part of parts) document.getElementById(part).replaceChildren(...found.getElementById(part).childNodes);
    document.getElementById("total").dataset.total = found.getElementById("total").dataset.total;
    history.replaceState(null, "", `/ask?${values}`);
    watch();
    await judge(values, signal);
  } catch (error) {
    if (error.name !== "AbortError") form.requestSubmit();
  }
};

let soon;
slider.addEventListener("input", () => {
  clearTimeout(soon);
  soon = setTimeout(ask, 120);
});
document.getElementById("sort").addEventListener("change", ask);
form.querySelector("[name=here]")?.addEventListener("change", () => form.requestSubmit());

// What is found while the page is open: said, and shown when it is wanted

const look = async () => {
  setTimeout(look, form.dataset.pending ? 2000 : 10000);
  if (document.hidden) return;
  try {
    const found = await page(location.href, { headers: { "facewatchd-background": "1" } });
    document.getElementById("searched").replaceChildren(...found.getElementById("searched").childNodes);
    form.dataset.pending = found.getElementById("narrow").dataset.pending;
    const before = Number(document.getElementById("total").dataset.total);
    const now = Number(found.getElementById("total").dataset.total);
    const fresh = document.getElementById("fresh");
    fresh.hidden = now <= before;
    fresh.textContent = `${now - before} more found: show ${now - before === 1 ? "it" : "them"}`;
  } catch (error) {
    if (error instanceof TypeError) sayEnded(); // no answer at all
  }
};

document.getElementById("fresh").addEventListener("click", (event) => {
  event.target.hidden = true;
  ask();
});

watch();
judge(address());
setTimeout(look, 2000);
