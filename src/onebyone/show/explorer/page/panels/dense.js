// Figures 1, 3 and 6: a fully connected layer is a convolution with one large kernel for each unit, or
// a 1x1 on the image made a vector. Without that reshape, a 1x1 is something else.

import { connections } from "../draw/connections.js";
import { diverging, ramp } from "../draw/colours.js";
import { raster, shades } from "../draw/raster.js";
import { picker } from "../draw/picker.js";
import { fixed, shown } from "../format.js";
import { h, write } from "../dom.js";
import { convolve, dense, difference } from "../mathematics/convolution.js";
import { pointwise, products } from "../mathematics/pointwise.js";
import { uniform } from "../mathematics/seed.js";
import { choice, integer } from "../state.js";

const SIDE = 28;
const PIXELS = SIDE * SIDE;
const UNITS = PIXELS;
const SEED = 5;

let weights; // 784 x 784
const layers = new Map();

/** What the layer makes of a digit in each of its forms, computed once. */
function layerOf(digit, digits) {
  weights ??= uniform(SEED, UNITS * PIXELS);
  if (!layers.has(digit)) {
    const x = Float64Array.from(digits.bytes.subarray(digit * PIXELS, (digit + 1) * PIXELS), (byte) => byte / 255);
    const y = dense(weights, x);
    const kernel = convolve(x, [1, SIDE, SIDE], weights, [SIDE, SIDE]);
    const flat = pointwise(weights, x, 1);
    const most = Math.max(difference(y, kernel), difference(y, flat));
    // One weight for each unit: the image has one channel, so the 1x1 sees one pixel at a time.
    const wrong = pointwise(weights.subarray(0, UNITS), x, PIXELS);
    layers.set(digit, { x, y, kernel, flat, difference: most, wrong });
  }
  return layers.get(digit);
}

function solve({ digit, unit }, { digits }) {
  const layer = layerOf(digit, digits);
  const w = weights.subarray(unit * PIXELS, (unit + 1) * PIXELS);
  return { ...layer, w, products: products(w, layer.x, 0, 1), weights: weights.length };
}

function proofs({ y, weights: all, difference: most, wrong }, { unit }) {
  return [
    { name: "dense.difference", value: most, label: "is the largest difference between the outputs of the three forms" },
    { name: "dense.weights", value: all, label: "weights in each form" },
    { name: "dense.y", value: y[unit], label: `is the output of unit ${unit + 1}` },
    { name: "dense.wrong", value: wrong.length, label: "numbers come out without the reshape: 784 maps of 28×28, from 784 weights" },
  ];
}

function step(drawing, ...caption) {
  return h("figure", {}, drawing, h("figcaption", {}, ...caption));
}

/** The three rasters of the digit, the unit's weights and their products, as `height` x `width`. */
function trio(height, width, names) {
  const parts = names.map((name) => raster(height, width, name));
  const paint = ({ x, w, products: terms }) => {
    parts[0].paint((n) => ramp(x[n]));
    const shade = shades(diverging, 1);
    parts[1].paint((n) => shade(w[n]));
    parts[2].paint((n) => shade(terms[n]));
  };
  return { canvases: parts.map(({ canvas }) => canvas), paint };
}

function denseForm() {
  const lines = connections("784 pixels, each with a line to one unit");
  const root = step(lines.canvas, "All pixels below each other at the left, all units at the right. Each unit has a weight for each pixel; here those of one.");
  return { root, draw: ({ products: terms, x, y }, { unit }) => lines.draw(x, terms, y, unit) };
}

function kernelForm() {
  const { canvases, paint } = trio(SIDE, SIDE, ["The digit", "The kernel of the unit", "Their products"]);
  const names = ["the image, 28×28", "the unit’s kernel, 28×28", "their products, which are added"];
  const root = h("div", { class: "trio" }, ...canvases.map((canvas, n) => step(canvas, names[n])));
  return { root, draw: paint };
}

function flatForm() {
  const { canvases, paint } = trio(1, PIXELS, ["The digit as a vector", "The weights of the unit", "Their products"]);
  const names = ["the image, reshaped: one position, 784 channels", "the unit’s 784 kernels of 1×1", "their products, which are added"];
  const root = h("div", { class: "strips" }, ...canvases.map((canvas, n) => step(canvas, names[n])));
  return { root, draw: paint };
}

function wrongForm() {
  const [image, map] = ["The digit", "What the unit makes of it"].map((name) => raster(SIDE, SIDE, name));
  const weight = h("b", { class: "number" });
  const root = h(
    "div",
    { class: "trio" },
    step(image.canvas, "the image, 28×28, one channel"),
    h("p", {}, "times the unit’s one weight, ", weight, ", at each position"),
    step(map.canvas, "a map of 28×28 where one number was wanted: each sees one pixel"),
  );
  const draw = ({ x, wrong }, { unit }) => {
    const made = wrong.subarray(unit * PIXELS, (unit + 1) * PIXELS);
    image.paint((n) => ramp(x[n]));
    const shade = shades(diverging, 1);
    map.paint((n) => shade(made[n]));
    write(weight, fixed(weights[unit]));
  };
  return { root, draw };
}

function mount(root, ui) {
  const sheet = raster(SIDE, 10 * SIDE, "Ten handwritten digits");
  const choose = picker(sheet.canvas, "The digit. Arrow keys choose another.", (_, digit) => ui.set({ digit }));
  const forms = { dense: denseForm(), kernel: kernelForm(), flat: flatForm(), wrong: wrongForm() };
  const stage = h("div", { class: "stage" });
  const told = h("p", { class: "told" });
  const { bytes } = ui.data.digits;
  root.append(
    ui.choice("form", "as"),
    stage,
    told,
    h("div", { class: "sliders" }, h("div", {}, h("span", { class: "small" }, "the digit"), choose.box), ui.slider("unit", "the unit", { accent: "channels", show: (unit) => `${shown(unit + 1)} of 784` })),
  );
  return (state, result) => {
    const { root: drawing, draw } = forms[state.form];
    if (stage.firstChild !== drawing) stage.replaceChildren(drawing);
    draw(result, state);
    sheet.paint((n) => {
      const [row, column] = [Math.floor(n / (10 * SIDE)), n % (10 * SIDE)];
      return ramp(bytes[Math.floor(column / SIDE) * PIXELS + row * SIDE + (column % SIDE)] / 255);
    });
    choose.show(0, state.digit, String(state.digit), [1, 10]);
    const value = { dense: result.y, kernel: result.kernel, flat: result.flat }[state.form]?.[state.unit];
    write(told, value === undefined ? `unit ${state.unit + 1}:  784 numbers, each of one pixel` : `unit ${state.unit + 1}:  Σ of 784 products = ${fixed(value, 12)}`);
  };
}

export const panel = {
  id: "dense",
  question: "How is a fully connected layer a convolution?",
  claims: ["2.1", "2.2", "2.3", "2.15", "2.16", "2.27", "2.28", "2.29"],
  text: [
    "A unit of a fully connected layer adds all 784 pixels of a 28×28 image, each by a weight of its own. So does a convolution whose kernel is as large " +
      "as the image: it has one place to go. And so does a 1×1, if the image is first made a vector: <b class=\"channels\">784 channels</b> " +
      "at <b class=\"positions\">one position</b>. With 784 units, all three have the same 614,656 weights and the same outputs.",
    "Without the reshape, a 1×1 is something else. See for yourself.",
  ],
  state: {
    form: choice("dense", [
      ["dense", "fully connected"],
      ["kernel", "28×28 kernel"],
      ["flat", "reshape and 1×1"],
      ["wrong", "1×1 without the reshape"],
    ]),
    digit: integer(3, 0, 9),
    unit: integer(405, 0, UNITS - 1),
  },
  solve,
  proofs,
  mount,
};
