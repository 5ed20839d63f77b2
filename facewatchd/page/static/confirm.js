// Answers with a key each: the next pictures are loaded while one is looked at, and answers are sent one after another
// in the background. What the daemon says to each is checked: an answer that it did not take is shown, and its face
// comes again at the end. "Undo" takes back the steps of this page alone, the last one first.

import { isMeant, sayEnded } from "./page.js";

const form = document.getElementById("confirm");
if (form) start(form);

function start(form) {
  const get = (id) => document.getElementById(id);
  const name = form.elements.name.value;
  const catalog = form.elements.catalog.value;
  const queue = JSON.parse(form.dataset.cards);
  const left = new Set(form.dataset.left.split(",").filter(Boolean).map(Number));
  const given = new Set(); // faces that were answered here
  const history = [];
  const tally = { yes: 0, no: 0, skip: 0 };
  const WORDS = { yes: "Yes", no: "No", skip: "Skipped" };
  let total = Number(form.dataset.total);
  let sending = Promise.resolve();
  let filling = null;
  let complete = queue.length >= total;
  const loaded = [];
  let faulty = null; // the face that the fault is about, which is seen until it is answered again

  get("undo").hidden = get("keys-label").hidden = false;

  function show() {
    const card = queue[0];
    form.hidden = !card && !filling;
    get("done").hidden = Boolean(card) || Boolean(filling);
    for (const button of form.querySelectorAll("button[name=answer]")) button.disabled = !card;
    get("undo").disabled = !history.length;
    get("left").textContent = Math.max(total, queue.length);
    get("tally").textContent = `${tally.yes} yes, ${tally.no} no, ${tally.skip} skipped`;
    if (card) {
      form.elements.face.value = card.face;
      form.elements.left.value = [...left].join(",");
      get("crop").src = card.crop;
      const photo = get("photo");
      photo.width = card.width;
      photo.height = card.height;
      photo.src = card.photo;
      ["x", "y", "width", "height"].forEach((side, at) => get("box").setAttribute(side, `${card.box[at]}%`));
      get("large").href = card.large;
      get("file").textContent = card.file;
      get("taken").textContent = card.taken;
    } else if (!filling) {
      if (!complete) get("done-text")?.replaceChildren(unfinished());
      else if (history.length) get("done-text")?.replaceChildren(finished());
      get("again").hidden = !history.length;
      get("skipped").hidden = !tally.skip;
    }
    load();
  }

  function finished() {
    const comes = tally.skip === 1 ? "face comes" : "faces come";
    const skipped = tally.skip ? ` ${tally.skip} skipped ${comes} again another time.` : "";
    return `That was the last one: ${tally.yes} yes, ${tally.no} no.${skipped}`;
  }

  function unfinished() {
    const link = document.createElement("a");
    link.href = location.href;
    link.textContent = "The next faces could not be loaded: try again";
    return link;
  }

  // The pictures of the next faces, before they are wanted.
  function load() {
    for (const card of queue.slice(1, 4)) {
      for (const address of [card.crop, card.photo]) {
        if (loaded.some((image) => image.getAttribute("src") === address)) continue;
        const image = new Image();
        image.src = address;
        loaded.push(image);
      }
    }
    loaded.splice(0, Math.max(0, loaded.length - 12));
  }

  async function fill() {
    if (filling || complete || queue.length > 4) return;
    const known = [...left, ...[...given].slice(-50), ...queue.map((card) => card.face)]; // earlier ones were taken
    filling = ask(`/people/confirm/more?${new URLSearchParams({ name, left: known.join(",") })}`);
    try {
      const found = await filling;
      const here = new Set(queue.map((card) => card.face));
      const fresh = found.cards.filter((card) => !here.has(card.face) && !given.has(card.face) && !left.has(card.face));
      total = queue.length + found.total;
      complete = !found.cards.length;
      queue.push(...fresh);
    } catch (error) {
      fault(error.message); // tried again at the next answer
    }
    filling = null;
    show();
  }

  async function ask(address, body) {
    let reply;
    try {
      reply = await fetch(address, {
        method: body ? "POST" : "GET",
        headers: { accept: "application/json" },
        body: body && new URLSearchParams(body),
      });
    } catch {
      sayEnded();
      throw new Error("The page has ended.");
    }
    const found = await reply.json().catch(() => ({}));
    if (found.gone) {
      history.length = 0; // nothing more can be said of this person
      location.assign(`/people/of?${new URLSearchParams({ name })}`);
    }
    if (!reply.ok) throw new Error(found.fault || `The page answered ${reply.status}. Load it again.`);
    return found;
  }

  function answer(said) {
    const card = queue.shift();
    if (!card) return;
    if (card.face === faulty) get("fault").hidden = true;
    const entry = { card, said, step: undefined }; // until the daemon has replied
    history.push(entry);
    tally[said] += 1;
    total -= 1;
    if (said === "skip") left.add(card.face);
    else {
      given.add(card.face);
      sending = sending.then(() => send(entry));
    }
    say(`${WORDS[said]}.`);
    fill();
    show();
  }

  async function send(entry) {
    try {
      const result = await ask("/people/confirm", { name, catalog, face: entry.card.face, answer: entry.said });
      entry.step = result.step;
      if (result.moved) fault(`${entry.card.file}: ${result.moved}`);
    } catch (error) {
      entry.step = null;
      if (forget(entry)) {
        queue.push(entry.card);
        total += 1;
      }
      fault(`${entry.card.file}: ${error.message} The face comes again.`, entry.card.face);
      show();
    }
  }

  // The entry counts no more, as if it had not been given.
  function forget(entry) {
    const at = history.indexOf(entry);
    if (at < 0) return false; // it was taken back meanwhile
    history.splice(at, 1);
    tally[entry.said] -= 1;
    given.delete(entry.card.face);
    return true;
  }

  function undo() {
    const entry = history.pop();
    if (!entry) return;
    tally[entry.said] -= 1;
    total += 1;
    left.delete(entry.card.face);
    given.delete(entry.card.face);
    queue.unshift(entry.card);
    say(`Taken back: ${WORDS[entry.said]}.`);
    show();
    if (entry.said === "skip") return;
    sending = sending.then(async () => {
      if (!entry.step) return; // the daemon knew it before
      try {
        await ask("/people/confirm/undo", { catalog, step: entry.step });
      } catch (error) {
        fault(`${entry.card.file}: ${error.message}`);
      }
    });
  }

  function say(text) {
    get("said").textContent = text;
  }

  function fault(text, face = null) {
    faulty = face;
    get("fault").textContent = text;
    get("fault").hidden = false;
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (event.submitter?.name === "answer") answer(event.submitter.value);
  });
  get("undo").addEventListener("click", undo);
  get("again")?.addEventListener("click", undo);
  const KEYS = { y: () => answer("yes"), n: () => answer("no"), s: () => answer("skip"), u: undo };
  const pressed = (event) => {
    if (!isMeant(event) || event.repeat) return;
    const act = KEYS[event.key.toLowerCase()];
    if (!act) return;
    event.preventDefault();
    event.stopImmediatePropagation(); // "u" is not for the button of a line that an earlier page left
    act();
  };
  document.addEventListener("keydown", pressed, { capture: true });
  addEventListener("beforeunload", (event) => {
    const isUnsent = (entry) => entry.said !== "skip" && entry.step === undefined;
    if (history.some(isUnsent)) event.preventDefault();
  });
  show();
  fill();
}
