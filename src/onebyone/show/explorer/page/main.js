// The page: panels one below the other, each drawn anew when its state changes.

import { PANELS } from "./panels/index.js";
import { claimsOf } from "./claims.js";
import { forgetColours } from "./draw/colours.js";
import { controls } from "./controls.js";
import { hashOf, holdsState, parsed } from "./state.js";
import { h, rich, write } from "./dom.js";
import { load } from "./data.js";
import { quiz } from "./quiz.js";
import { shown } from "./format.js";

const WAIT_BEFORE_HASH = 200; // ms; browsers refuse an address that changes with every move of a drag

const data = load(document);
let { at, states } = parsed(location.hash, PANELS);
let waiting = 0;

function keep(id) {
  at = id;
  clearTimeout(waiting);
  waiting = setTimeout(() => history.replaceState(null, "", hashOf(at, states, PANELS)), WAIT_BEFORE_HASH);
}

/** The numbers that prove a panel's point; the first is the large one. */
function proofs(panel) {
  const list = h("dl", { class: "proofs" });
  const cells = new Map();
  const draw = (found) => {
    for (const { name, value, label, text } of found) {
      if (!cells.has(name)) {
        const cell = h("dd", { class: "number", "data-proof": name });
        list.append(h("div", {}, h("dt", {}, label), cell));
        cells.set(name, cell);
      }
      cells.get(name).dataset.value = value;
      write(cells.get(name), text ?? shown(value));
      write(cells.get(name).previousSibling, label);
    }
  };
  return { list, draw };
}

/** A panel's section, and the function that draws it. */
function section(panel, index) {
  const set = (changes) => {
    const changed = { ...states[panel.id], ...changes };
    states[panel.id] = panel.settle ? panel.settle(changed, states[panel.id]) : changed;
    draw();
    keep(panel.id);
  };
  const bound = controls(panel.state, set);
  const play = h("div", { class: "play" });
  const proof = proofs(panel);
  const title = h("h2", { id: `${panel.id}-title` }, h("span", { class: "count" }, `${index + 1}`), panel.question);
  const text = h("div", { class: "prose" }, title, ...panel.text.map((line) => rich("p", {}, line)));
  const root = h("section", { id: panel.id, "aria-labelledby": title.id }, text, play, proof.list);
  root.append(claimsOf(panel, data));
  const ui = { ...bound, set, data, state: () => states[panel.id], result: () => result };
  let paint;
  let result;
  function draw() {
    const state = states[panel.id];
    result = panel.solve(state, data);
    paint ??= panel.mount(play, ui);
    bound.follow(state);
    paint(state, result);
    proof.draw(panel.proofs(result, state));
  }
  return { root, draw };
}

function contents(panel) {
  return h("li", {}, h("a", { href: `#${panel.id}` }, panel.question));
}

const sections = PANELS.map(section);
document.getElementById("contents").append(...PANELS.map(contents));
document.getElementById("essay").append(...sections.map(({ root }) => root), quiz(data));

function drawAll() {
  sections.forEach(({ draw }) => draw());
}

function scrollTo(id) {
  document.getElementById(id)?.scrollIntoView();
}

/** The panel that is looked at, then the others, each in a turn of its own: the page answers in between. */
async function first() {
  const root = document.documentElement;
  const target = Math.max(0, PANELS.findIndex(({ id }) => id === at));
  const order = sections.map((_, index) => index).sort((a, b) => Math.abs(a - target) - Math.abs(b - target));
  let moved = false;
  for (const kind of ["wheel", "touchmove", "keydown"]) addEventListener(kind, () => (moved = true), { once: true });
  for (const index of order) {
    sections[index].draw();
    if (at && !moved) scrollTo(at);
    root.dataset.ready ??= performance.now(); // ms since the page was asked for
    await new Promise((next) => setTimeout(next));
  }
  root.dataset.complete = performance.now();
}

function theme() {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const button = document.getElementById("theme");
  const dark = () => (root.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
  const show = () => {
    write(button, dark() ? "Light" : "Dark");
    forgetColours();
  };
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    show();
    drawAll();
  });
  system.addEventListener("change", () => {
    show();
    drawAll();
  });
  show();
}

addEventListener("hashchange", () => {
  if (!holdsState(location.hash)) return;
  ({ at, states } = parsed(location.hash, PANELS));
  drawAll();
  scrollTo(at);
});

let resized = 0;
addEventListener("resize", () => {
  clearTimeout(resized);
  resized = setTimeout(drawAll, WAIT_BEFORE_HASH);
});

theme();
first();
