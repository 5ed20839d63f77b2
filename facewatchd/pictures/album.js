"use strict";
/* What the album can do beside what works without a script: arrows go from match to match, paths are copied. */
(() => {
  const views = [...document.querySelectorAll(".view")];
  const crops = [...document.querySelectorAll(".crops")];
  const opened = () => views.findIndex((view) => view.matches(":popover-open"));
  const closest = (from, down) => {
    const here = crops[from].getBoundingClientRect();
    const rows = crops.map((crop) => crop.getBoundingClientRect());
    const beyond = rows.map((row) => (down ? row.top - here.top : here.top - row.top)).map((far) => (far > 4 ? far : Infinity));
    const nearest = Math.min(...beyond);
    if (nearest === Infinity) return -1;
    const sideways = rows.map((row, at) => (beyond[at] < nearest + 4 ? Math.abs(row.left - here.left) : Infinity));
    return sideways.indexOf(Math.min(...sideways));
  };
  const show = (to) => {
    if (!(to in views)) return;
    const from = opened();
    if (from >= 0) views[from].hidePopover();
    crops[to].focus();
    views[to].showPopover();
  };
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const from = opened();
    if (from >= 0) {
      if (!step) return;
      show(from + step);
    } else {
      const at = crops.indexOf(document.activeElement);
      if (at < 0 || !event.key.startsWith("Arrow")) return;
      crops[step ? at + step : closest(at, event.key === "ArrowDown")]?.focus();
    }
    event.preventDefault();
  });
  for (const button of document.querySelectorAll("[data-step]")) {
    button.hidden = false;
    button.addEventListener("click", () => show(opened() + Number(button.dataset.step)));
  }
  for (const button of navigator.clipboard ? document.querySelectorAll("[data-copy]") : []) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
      button.textContent = "Copied";
    });
  }
})();
