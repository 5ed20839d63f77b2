// Fills in the cards in view, a few at a time: on how many photos each person is, not only on how many you named.
const AT_ONCE = 3;
const waiting = [];
let running = 0;

const watch = new IntersectionObserver((seen) => {
  for (const { isIntersecting, target } of seen) {
    if (!isIntersecting) continue;
    watch.unobserve(target);
    waiting.push(target);
  }
  next();
});
for (const card of document.querySelectorAll("[data-card]")) watch.observe(card);

function next() {
  while (running < AT_ONCE && waiting.length) {
    running += 1;
    fill(waiting.shift()).finally(() => {
      running -= 1;
      next();
    });
  }
}

async function fill(card) {
  const reply = await fetch(card.dataset.card).catch(() => null);
  if (!reply?.ok) return; // the card says what is known without it
  const { text, picture: address } = await reply.json();
  card.querySelector(".count").textContent = text;
  const empty = card.querySelector(".no-picture");
  if (!empty || !address) return;
  const picture = new Image(256, 256);
  picture.alt = "";
  picture.src = address;
  empty.replaceWith(picture);
}
