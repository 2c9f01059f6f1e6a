// The question: n2 filters on n1 maps make n1 n2 products, and each filter adds its own.

import { bars } from "../draw/bars.js";
import { diverging } from "../draw/colours.js";
import { largest, raster, shades } from "../draw/raster.js";
import { picker } from "../draw/picker.js";
import { fixed, shown } from "../format.js";
import { h, write } from "../dom.js";
import { products, sum } from "../mathematics/pointwise.js";
import { uniform } from "../mathematics/seed.js";
import { flag, integer } from "../state.js";

const SWEEP = 1200; // ms in which the products are added, column by column
const CLIP = 0.5; // of the largest product has the full colour already: few are so large
const FADED = 0.45; // of the colour of a product that was added

function solve({ inputs, outputs, summed, row, column }) {
  const W = uniform(1, outputs * inputs);
  const x = uniform(2, inputs);
  const rows = Array.from({ length: outputs }, (_, o) => products(W.subarray(o * inputs, (o + 1) * inputs), x, 0, 1));
  const y = rows.map((row) => sum(row));
  const multiplications = rows.reduce((count, row) => count + row.length, 0);
  return { rows, y, maps: summed ? y.length : multiplications, multiplications, w: W[row * inputs + column], x: x[column] };
}

function proofs({ rows, y, maps, multiplications }, { row }) {
  return [
    { name: "maps.maps", value: maps, label: maps === y.length ? "maps, one for each filter" : "maps it would be, if nothing were added" },
    { name: "maps.multiplications", value: multiplications, label: "multiplications a pixel, either way" },
    { name: "maps.filters", value: rows.length, label: "filters" },
    { name: "maps.kernels", value: rows[0].length, label: "1×1 kernels in each filter" },
    { name: "maps.sum", value: y[row], label: `is the sum of filter ${row + 1}` },
  ];
}

/** Runs `draw(share)` from 0 to 1 and then calls nothing more; where motion is unwanted, 1 at once. */
function sweep(draw) {
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) return draw(1);
  const began = performance.now();
  const step = () => {
    const share = Math.min(1, (performance.now() - began) / SWEEP);
    draw(share);
    if (share < 1) requestAnimationFrame(step);
  };
  return step();
}

function mount(root, ui) {
  const grid = raster(1, 1, "The products of one pixel: a row for each filter, a column for each map");
  const sums = bars("The sum of each filter");
  const cell = picker(grid.canvas, "One product. Arrow keys move to the next.", (row, column) => ui.set({ row, column }));
  const labels = { maps: h("b", { class: "channels" }), filters: h("b", { class: "channels" }), out: h("b", { class: "channels" }) };
  const told = h("p", { class: "told" });
  const drawing = h(
    "div",
    { class: "folding" },
    h("p", { class: "above" }, labels.maps, " come in, a column each"),
    h("p", { class: "beside" }, labels.filters, ", a row each"),
    cell.box,
    h("p", { class: "after" }, labels.out),
    sums.canvas,
  );
  const sliders = [ui.slider("inputs", "maps in, n₁", { accent: "channels" }), ui.slider("outputs", "filters, n₂", { accent: "channels" })];
  root.append(ui.flag("summed", "each filter adds its products"), drawing, told, h("div", { class: "sliders" }, ...sliders));
  let before;

  function paint({ inputs, outputs, row }, { rows, y }, share) {
    const added = Math.round(share * inputs);
    const most = Math.max(...rows.map(largest));
    const [bright, faded] = [1, FADED].map((part) => shades((t) => diverging(part * t), CLIP * most));
    grid.resize(outputs, inputs);
    grid.paint((n) => (n % inputs < added ? faded : bright)(rows[Math.floor(n / inputs)][n % inputs]));
    const sofar = share === 1 ? y : rows.map((row) => sum(row.subarray(0, added)));
    sums.paint(sofar, largest(y), added ? row : -1);
  }

  return (state, result) => {
    const { inputs, outputs, summed, row, column } = state;
    const { rows, y, w, x } = result;
    write(labels.maps, `${shown(inputs)} maps`);
    write(labels.filters, `${shown(outputs)} filters`);
    write(labels.out, summed ? `${shown(outputs)} maps go out` : "nothing is added");
    const product = `filter ${row + 1} · map ${column + 1}:  ${fixed(w)} · ${fixed(x)} = ${fixed(rows[row][column])}`;
    write(told, summed ? `${product}  —  one of ${shown(inputs)} that add up to ${fixed(y[row])}` : product);
    if (summed && before && !before.summed) sweep((share) => paint(ui.state(), ui.result(), ui.state().summed ? share : 0));
    else paint(state, result, summed ? 1 : 0);
    cell.show(row, column, product);
    before = state;
  };
}

/** The product that is looked at is one of those that there are. */
function settle(state) {
  return { ...state, row: Math.min(state.row, state.outputs - 1), column: Math.min(state.column, state.inputs - 1) };
}

export const panel = {
  id: "maps",
  question: "n₂ maps, or n₁·n₂?",
  claims: ["1.1", "1.2", "1.3", "1.6", "1.12", "1.13", "1.15", "2.7", "2.20"],
  text: [
    "Each of <i>n</i>₂ filters has a weight for each of the <i>n</i>₁ maps that come in. So there are <i>n</i>₁·<i>n</i>₂ products at each pixel, " +
      "and one might expect as many maps. But a filter is not done when it has multiplied: it adds its own <i>n</i>₁ products, and gives one map.",
    "Switch the sum off and on. The multiplications are the same.",
  ],
  state: {
    summed: flag(true),
    inputs: integer(256, 1, 256),
    outputs: integer(64, 1, 256),
    row: integer(20, 0, 255),
    column: integer(70, 0, 255),
  },
  settle,
  solve,
  proofs,
  mount,
};
