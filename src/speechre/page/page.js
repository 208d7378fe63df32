"use strict";
for (const head of document.querySelectorAll("table.sortable thead th")) {
  head.tabIndex = 0;
  const sort = () => {
    const body = head.closest("table").tBodies[0];
    const up = head.getAttribute("aria-sort") === "descending";
    const key = (row) => row.cells[head.cellIndex].textContent.trim();
    const compare = (a, b) => {
      const [x, y] = [key(a), key(b)], [p, q] = [parseFloat(x), parseFloat(y)];
      return Number.isNaN(p) || Number.isNaN(q) ? x.localeCompare(y) : p - q;
    };
    body.append(...[...body.rows].sort((a, b) => (up ? compare(a, b) : compare(b, a))));
    for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
  };
  head.addEventListener("click", sort);
  head.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); sort(); }
  });
}
const buttons = document.querySelectorAll(".filters button");
for (const button of buttons) {
  button.addEventListener("click", () => {
    const kind = button.dataset.kind;
    for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
    for (const card of document.querySelectorAll(".card")) {
      let any = false;
      for (const item of card.querySelectorAll("li")) {
        item.hidden = kind !== "" && item.dataset.kind !== kind;
        any = any || !item.hidden;
      }
      card.hidden = !any;
    }
  });
}
document.addEventListener("play", (event) => {
  for (const player of document.querySelectorAll("audio")) if (player !== event.target) player.pause();
}, true);
