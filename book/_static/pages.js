// What a page offers beside reading: claims by verdict, and numbers as files. Without this script
// all claims are shown, and numbers stand on the page.
"use strict";

function addVerdictFilter(tables) {
  const rows = tables.flatMap((table) => [...table.querySelectorAll("tbody tr")]);
  if (rows.length < 10) return; // a short list needs none
  const verdictOf = (row) => row.querySelector(".verdict, .not-run").textContent;
  const counts = new Map();
  rows.forEach((row) => counts.set(verdictOf(row), (counts.get(verdictOf(row)) || 0) + 1));

  const bar = document.createElement("div");
  bar.className = "verdict-filter";
  bar.setAttribute("role", "group");
  bar.setAttribute("aria-label", "Show claims by verdict");
  function addButton(name, count, verdict) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = `${name} (${count})`;
    button.setAttribute("aria-pressed", verdict === null);
    button.addEventListener("click", () => {
      bar.querySelectorAll("button").forEach((b) => b.setAttribute("aria-pressed", b === button));
      rows.forEach((row) => (row.hidden = verdict !== null && verdictOf(row) !== verdict));
    });
    bar.append(button);
  }
  addButton("all", rows.length, null);
  counts.forEach((count, verdict) => addButton(verdict, count, verdict));
  tables[0].before(bar);
}

function addDownload(place, text, name) {
  const link = document.createElement("a");
  link.className = "csv";
  link.textContent = "CSV";
  link.download = name;
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.setAttribute("aria-label", `Download ${name}`);
  place.append(" ", link);
}

function asCsv(table) {
  const cell = (entry) => `"${entry.textContent.trim().replaceAll('"', '""')}"`;
  return [...table.rows].map((row) => [...row.cells].map(cell).join(",")).join("\n");
}

// A box that scrolls must be reached by the keyboard, and a table that does is a region with a name.
// One that fits is neither: hundreds of regions would be no help to who goes from one to the next.
function whileItScrolls(box, attributes) {
  new ResizeObserver(() => {
    const scrolls = box.scrollWidth > box.clientWidth;
    for (const [name, value] of Object.entries(attributes))
      if (scrolls) box.setAttribute(name, value);
      else box.removeAttribute(name);
  }).observe(box);
}
function makeReachable(selector) {
  document.querySelectorAll(selector).forEach((box) => whileItScrolls(box, { tabindex: "0" }));
}

// Dark colours are for screens: paper is white, and the browser leaves grounds out.
let themeOnScreen;
window.addEventListener("beforeprint", () => {
  themeOnScreen = document.documentElement.dataset.theme;
  document.documentElement.dataset.theme = "light";
});
window.addEventListener("afterprint", () => {
  document.documentElement.dataset.theme = themeOnScreen;
});

window.addEventListener("load", () => {
  const typeset = window.MathJax && window.MathJax.startup && window.MathJax.startup.promise;
  if (typeset) typeset.then(() => makeReachable('mjx-container[display="true"]'));
});

document.addEventListener("DOMContentLoaded", () => {
  const page = location.pathname.split("/").pop().replace(".html", "");
  const findings = [...document.querySelectorAll(".table-scroll.findings")];
  if (findings.length) addVerdictFilter(findings);
  makeReachable("details pre");
  document.querySelectorAll(".table-scroll").forEach((box) => {
    const label = box.getAttribute("aria-label");
    whileItScrolls(box, { tabindex: "0", role: "region", "aria-label": label });
  });
  document.querySelectorAll("details.rows").forEach((rows, i) => {
    addDownload(rows, rows.querySelector("pre").textContent, `${page}-figure-${i + 1}.csv`);
  });
  document.querySelectorAll(".table-scroll table").forEach((table, i) => {
    if (table.caption) addDownload(table.caption, asCsv(table), `${page}-table-${i + 1}.csv`);
  });
});
