// Turns a contact sheet into a scrubber: one large picture and a slider that goes through all of
// them, by keyboard too. Without this script the sheet is all there is, and nothing is missing.
"use strict";

function addScrubber(sheet) {
  const frames = [...sheet.querySelectorAll(".frame")];
  const stage = document.createElement("div");
  const view = document.createElement("div");
  const told = document.createElement("p");
  const slider = document.createElement("input");

  stage.className = "stage";
  view.className = "view";
  told.className = "told";
  Object.assign(slider, { type: "range", min: 0, max: frames.length - 1, step: 1 });
  slider.autocomplete = "off"; // a reload begins at the start again
  slider.setAttribute("aria-label", sheet.dataset.label);

  function show(number) {
    const frame = frames[number];
    view.replaceChildren(frame.firstElementChild.cloneNode(true));
    told.textContent = frame.dataset.words;
    slider.value = number;
    slider.setAttribute("aria-valuetext", frame.dataset.words);
    frames.forEach((other) => other.classList.toggle("shown", other === frame));
  }

  slider.addEventListener("input", () => show(Number(slider.value)));
  frames.forEach((frame, number) => frame.addEventListener("click", () => show(number)));
  stage.append(view, slider, told);
  sheet.prepend(stage);
  show(0);
}

document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll("figure.scrubber").forEach(addScrubber);
});
