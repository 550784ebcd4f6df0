"use strict";
// Draws the figures in the colours of the reader's theme, and sorts tables by a click on a column's title.
const stored = JSON.parse(document.getElementById("figures").textContent);
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const narrow = () => document.body.clientWidth < 600;

function layoutOf(figure) {
  const layout = structuredClone(figure.layout);
  layout.template = { layout: stored.templates[dark.matches ? "dark" : "light"] };
  if (narrow()) {
    layout.font = { size: 10 };
    layout.legend = { ...layout.legend, font: { size: 10 } };
    layout.margin = { ...layout.margin, l: 4, r: 6 };
  }
  return layout;
}

async function draw() {
  const config = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };
  let drawn = 0;
  for (const [id, figure] of Object.entries(stored.figures)) {
    await Plotly.react(document.getElementById("figure-" + id), figure.data, layoutOf(figure), config);
    drawn += 1;
    await new Promise((resolve) => setTimeout(resolve)); // the page stays alive in between
  }
  document.body.dataset.drawn = String(drawn);
}

function sortable(table) {
  const body = table.tBodies[0];
  const keys = stored.keys[table.id];
  const rows = [...body.rows].map((row, index) => ({ row, keys: keys[index] }));
  table.querySelectorAll("th").forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      table.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      rows.sort((a, b) => {
        const [x, y] = [a.keys[column], b.keys[column]];
        if (x === null || y === null) return (x === null) - (y === null); // what is not known comes last
        return (x < y ? -1 : x > y ? 1 : 0) * (down ? -1 : 1);
      });
      body.append(...rows.map((each) => each.row));
    });
  });
}

document.querySelectorAll("table.sortable").forEach(sortable);
dark.addEventListener("change", draw);
draw();
