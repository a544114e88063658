// The explorer: choose an item, a cut, a layer and a head, and see what was measured. All of it was
// computed when the page was made; nothing is run here. Without this script the table below it has
// the items and their answers.
"use strict";

function unpack({ shape, top, data }) {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  return { shape, at: (index) => top * (bytes[index] / 255) ** 2 };
}

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function startExplorer(root) {
  const { model, items } = JSON.parse(root.querySelector("script").textContent);
  const nLayers = items[0].answers.length - 1;
  const nHeads = items[0].attention.shape[1] - 1;
  const state = { item: items[0].id, cut: nLayers, layer: 1, head: "mean", map: "attention" };
  let unpacked = {};

  const choices = items.map((item) => element("option", { value: item.id }, `${item.task}: ${item.id}`));
  const heads = ["mean", ...Array(nHeads).keys()].map((head) =>
    element("option", { value: head }, head === "mean" ? "all heads" : `head ${head}`));
  const range = (min, max) => element("input", { type: "range", min, max, step: 1 });
  const controls = {
    item: element("select", {}, ...choices),
    cut: range(0, nLayers),
    layer: range(1, nLayers),
    head: element("select", {}, ...heads),
    map: element("select", {},
      element("option", { value: "attention" }, "attention"),
      element("option", { value: "cam" }, "LLaVA-CAM (all heads)")),
  };
  const labels = { item: "Item", cut: "Cut", layer: "Layer", head: "Head", map: "Map" };
  const panel = element("div", { className: "controls" });
  for (const [name, control] of Object.entries(controls)) {
    const value = element("output");
    panel.append(element("label", {}, `${labels[name]} `, control, value));
    control.addEventListener("input", () => {
      state[name] = control.type === "range" ? Number(control.value) : control.value;
      show();
    });
  }

  const picture = element("img", { alt: "" });
  const cells = element("div", { className: "cells", role: "group" });
  const view = element("div", { className: "view" }, picture, cells);
  const question = element("p", { className: "question" });
  const words = element("p", { className: "words", role: "group" });
  const answer = element("p", { className: "answer" });
  const shares = element("p", { className: "shares" });
  const told = element("p", { className: "told", role: "status" });
  root.append(panel, element("div", { className: "stage" }, view,
    element("div", {}, question, answer, words, shares, told)));

  function tell(text) {
    told.textContent = text;
  }
  // one tab stop for all places; arrow keys go from one to the next
  function addPlace(parent, number, text, words) {
    const place = element("span", { textContent: text, tabIndex: number ? -1 : 0 });
    place.setAttribute("role", "img");
    place.setAttribute("aria-label", words);
    place.addEventListener("mouseenter", () => tell(words));
    place.addEventListener("focus", () => tell(words));
    parent.append(place);
    return place;
  }
  for (const parent of [cells, words]) {
    parent.addEventListener("keydown", (event) => {
      const places = [...parent.children];
      const across = parent === cells ? Number(cells.dataset.width) : 1;
      const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: across, ArrowUp: -across };
      const next = places[places.indexOf(document.activeElement) + (steps[event.key] || NaN)];
      if (!next) return;
      event.preventDefault();
      next.focus();
    });
  }

  function show() {
    const item = items.find(({ id }) => id === state.item) || items[0];
    if (unpacked.id !== item.id) {
      unpacked = { id: item.id, attention: unpack(item.attention), text: unpack(item.text) };
      if (item.cam) unpacked.cam = unpack(item.cam);
    }
    const head = state.head === "mean" ? nHeads : Number(state.head);
    const row = (state.layer - 1) * (nHeads + 1) + head;
    const isCam = state.map === "cam" && unpacked.cam;
    const map = isCam ? unpacked.cam : unpacked.attention;
    const [height, width] = map.shape.slice(-2);
    const first = (isCam ? state.layer - 1 : row) * height * width;
    const values = Array.from({ length: height * width }, (_, i) => map.at(first + i));
    const top = Math.max(...values);

    picture.src = `data:image/webp;base64,${item.image}`;
    picture.alt = `The image of ${item.id}`;
    cells.replaceChildren();
    cells.dataset.width = width;
    cells.style.gridTemplateColumns = `repeat(${width}, 1fr)`;
    cells.setAttribute("aria-label", `Map over ${height} by ${width} image tokens`);
    values.forEach((value, i) => {
      const place = `row ${Math.floor(i / width) + 1}, column ${(i % width) + 1}`;
      const amount = isCam ? `${top ? Math.round(100 * value / top) : 0} % of the map's peak`
        : `${(100 * value).toFixed(1)} % of the attention`;
      const cell = addPlace(cells, i, "", `Image token in ${place}: ${amount}`);
      cell.style.setProperty("--share", top ? value / top : 0);
    });
    words.replaceChildren();
    const nWords = item.words.length;
    item.words.forEach((word, i) => {
      const value = unpacked.text.at(row * nWords + i);
      const place = addPlace(words, i, `${word} `, `“${word}”: ${(100 * value).toFixed(1)} % of the attention`);
      place.style.setProperty("--share", value);
    });
    question.textContent = item.question;
    answer.textContent = `${model} answers at cut ${state.cut}: ${item.answers[state.cut]} ` +
      `(intact: ${item.answers[nLayers]}; right: ${item.reference})`;
    const [system, image, user] = item.shares[row].map((share) => (share / 10).toFixed(1));
    shares.textContent = `Layer ${state.layer}, ${state.head === "mean" ? "all heads" : `head ${state.head}`}: ` +
      `system ${system} %, image ${image} %, question ${user} %.` +
      (isCam && !top ? " The gradient map of this layer is zero or undefined." : "");
    for (const [name, control] of Object.entries(controls)) {
      control.value = state[name];
      if (control.type === "range") control.nextSibling.textContent = state[name];
    }
    history.replaceState(null, "", `#${new URLSearchParams(state)}`);
  }

  for (const [name, value] of new URLSearchParams(location.hash.slice(1))) {
    if (!(name in state)) continue;
    const control = controls[name];
    control.value = value; // what is no choice is dropped by the control itself
    state[name] = control.type === "range" ? Number(control.value) : control.value || state[name];
  }
  show();
}

document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll(".explorer").forEach(startExplorer);
});
