// The question: n2 filters on n1 maps make n1 n2 products, and each filter adds its own.

import { bars } from "../draw/bars.js";
import { diverging } from "../draw/colours.js";
import { animate } from "../draw/motion.js";
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
  const filters = Array.from({ length: outputs }, (_, o) => W.subarray(o * inputs, (o + 1) * inputs));
  const rows = filters.map((filter) => products(filter, x, 0, 1));
  const y = rows.map((row) => sum(row));
  const multiplications = rows.reduce((count, row) => count + row.length, 0);
  const maps = summed ? y.length : multiplications;
  return { rows, y, maps, multiplications, w: filters[row][column], x: x[column] };
}

function proofs({ rows, y, maps, multiplications }, { summed, row }) {
  return [
    { name: "maps.maps", value: maps, label: summed ? "maps, one for each filter" : "maps, if nothing were added" },
    { name: "maps.multiplications", value: multiplications, label: "multiplications a pixel, either way" },
    { name: "maps.filters", value: rows.length, label: "filters" },
    { name: "maps.kernels", value: rows[0].length, label: "1×1 kernels in each filter" },
    { name: "maps.sum", value: y[row], label: `is the sum of filter ${row + 1}` },
  ];
}

function mount(root, ui) {
  const grid = raster(1, 1, "The products of one pixel: a row for each filter, a column for each map");
  const chart = bars("The sum of each filter");
  const pick = (row, column) => ui.set({ row, column });
  const cell = picker(grid.canvas, "One product. Arrow keys move to the next.", pick);
  const [mapsIn, filters, mapsOut] = Array.from({ length: 3 }, () => h("b", { class: "channels" }));
  const told = h("p", { class: "told" });
  const drawing = h(
    "div",
    { class: "folding" },
    h("p", { class: "above" }, mapsIn, " come in, a column each"),
    h("p", { class: "beside" }, filters, ", a row each"),
    cell.box,
    h("p", { class: "after" }, mapsOut),
    chart.canvas,
  );
  const sliders = h(
    "div",
    { class: "sliders" },
    ui.slider("inputs", "maps in, n₁", { accent: "channels" }),
    ui.slider("outputs", "filters, n₂", { accent: "channels" }),
  );
  root.append(ui.flag("summed", "each filter adds its products"), drawing, told, sliders);
  let before;

  function paint({ inputs, outputs, row }, { rows, y }, share) {
    const added = Math.round(share * inputs);
    const most = Math.max(...rows.map(largest));
    const [bright, faded] = [1, FADED].map((part) => shades((t) => diverging(part * t), CLIP * most));
    grid.resize(outputs, inputs);
    grid.paint((n) => (n % inputs < added ? faded : bright)(rows[Math.floor(n / inputs)][n % inputs]));
    const sums = share === 1 ? y : rows.map((terms) => sum(terms.subarray(0, added)));
    chart.paint(sums, largest(y), added ? row : -1);
  }

  function sofar(share) {
    paint(ui.state(), ui.result(), ui.state().summed ? share : 0);
  }

  return (state, result) => {
    const { inputs, outputs, summed, row, column } = state;
    const { rows, y, w, x } = result;
    write(mapsIn, `${shown(inputs)} maps`);
    write(filters, `${shown(outputs)} filters`);
    write(mapsOut, summed ? `${shown(outputs)} maps go out` : "nothing is added");
    const place = `filter ${row + 1} · map ${column + 1}`;
    const product = `${place}:  ${fixed(w)} · ${fixed(x)} = ${fixed(rows[row][column])}`;
    const total = `one of ${shown(inputs)} that add up to ${fixed(y[row])}`;
    write(told, summed ? `${product}  —  ${total}` : product);
    if (summed && before && !before.summed) animate(SWEEP, sofar);
    else paint(state, result, summed ? 1 : 0);
    cell.show(row, column, product);
    before = state;
  };
}

/** The product that is looked at is one of those that there are. */
function settle(state) {
  const { row, column, outputs, inputs } = state;
  return { ...state, row: Math.min(row, outputs - 1), column: Math.min(column, inputs - 1) };
}

export const panel = {
  id: "maps",
  question: "n₂ maps, or n₁·n₂?",
  claims: ["1.1", "1.2", "1.3", "1.6", "1.12", "1.13", "1.15", "2.7", "2.20"],
  text: [
    "Each of <i>n</i>₂ filters has a weight for each of the <i>n</i>₁ maps that come in. " +
      "So there are <i>n</i>₁·<i>n</i>₂ products at each pixel, and one might expect as many maps. " +
      "But a filter is not done when it has multiplied: it adds its own <i>n</i>₁ products, and gives one map.",
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
