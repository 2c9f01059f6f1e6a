// Figures 1, 3 and 6: a fully connected layer is a convolution with one large kernel for each unit, or
// a 1x1 on the image made a vector. Without that reshape, a 1x1 is something else.

import { connections } from "../draw/connections.js";
import { diverging, ramp } from "../draw/colours.js";
import { animate } from "../draw/motion.js";
import { raster, shades } from "../draw/raster.js";
import { picker } from "../draw/picker.js";
import { reshape } from "../draw/reshape.js";
import { fixed, shown } from "../format.js";
import { figure, h, write } from "../dom.js";
import { convolve, dense, difference } from "../mathematics/convolution.js";
import { pointwise, products } from "../mathematics/pointwise.js";
import { uniform } from "../mathematics/seed.js";
import { choice, integer } from "../state.js";

const SIDE = 28;
const PIXELS = SIDE * SIDE;
const UNITS = PIXELS;
const SEED = 5;
const DIGITS = 10;
const RESHAPED = 1500; // ms
const [ROWS, COLUMNS] = [3, 6]; // of the maps that are shown of the 784
const STEP = SIDE + 2; // from one of them to the next

let weights; // 784 x 784
const layers = new Map();

/** What the layer makes of a digit in each of its forms, computed once. */
function layerOf(digit, digits) {
  weights ??= uniform(SEED, UNITS * PIXELS);
  if (!layers.has(digit)) {
    const bytes = digits.bytes.subarray(digit * PIXELS, (digit + 1) * PIXELS);
    const x = Float64Array.from(bytes, (byte) => byte / 255);
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

function proofs(result, { unit }) {
  const without = "numbers come out without the reshape: 784 maps of 28×28, from 784 weights";
  return [
    {
      name: "dense.difference",
      value: result.difference,
      label: "is the largest difference between the outputs of the three forms",
    },
    { name: "dense.weights", value: result.weights, label: "weights in each form" },
    { name: "dense.y", value: result.y[unit], label: `is the output of unit ${unit + 1}` },
    { name: "dense.wrong", value: result.wrong.length, label: without },
  ];
}

function denseForm() {
  const lines = connections("784 pixels, each with a line to one unit");
  const root = figure(
    lines.canvas,
    "At the left all pixels, one below the other; at the right all units. " +
      "Each unit has a weight for each pixel: here those of one.",
  );
  return { root, draw: ({ products: terms, x, y }, { unit }) => lines.draw(x, terms, y, unit) };
}

function kernelForm() {
  const names = ["the image, 28×28", "the unit’s kernel, 28×28", "their products, which are added"];
  const parts = names.map((name) => raster(SIDE, SIDE, name));
  const root = h("div", { class: "trio" }, ...parts.map(({ canvas }, n) => figure(canvas, names[n])));
  const draw = ({ x, w, products: terms }) => {
    const shade = shades(diverging, 1);
    parts[0].paint((n) => ramp(x[n]));
    parts[1].paint((n) => shade(w[n]));
    parts[2].paint((n) => shade(terms[n]));
  };
  return { root, draw };
}

function flatForm() {
  const image = reshape(PIXELS, "The digit as a vector");
  const [kernels, terms] = ["The weights of the unit", "Their products"].map((name) => raster(1, PIXELS, name));
  const root = h(
    "div",
    { class: "strips" },
    figure(image.canvas, "the image, its 28 rows one behind the other: one position, 784 channels"),
    figure(kernels.canvas, "the unit’s 784 kernels of 1×1"),
    figure(terms.canvas, "their products, which are added"),
  );
  const draw = ({ x, w, products: made }, state, entered) => {
    const shade = shades(diverging, 1);
    kernels.paint((n) => shade(w[n]));
    terms.paint((n) => shade(made[n]));
    if (entered) animate(RESHAPED, (share) => image.draw(x, SIDE, ramp, share));
    else image.draw(x, SIDE, ramp, 1);
  };
  return { root, draw };
}

/** The colour of a pixel of the sheet of maps, of which the first is that of `unit`; between them, none. */
function mapsFrom(wrong, unit, shade) {
  return (n) => {
    const [row, column] = [Math.floor(n / (COLUMNS * STEP)), n % (COLUMNS * STEP)];
    const map = unit + Math.floor(row / STEP) * COLUMNS + Math.floor(column / STEP);
    const [r, c] = [row % STEP, column % STEP];
    const inside = r < SIDE && c < SIDE && map < UNITS;
    return inside ? shade(wrong[map * PIXELS + r * SIDE + c]) : undefined;
  };
}

function wrongForm() {
  const image = raster(SIDE, SIDE, "The digit");
  const maps = raster(ROWS * STEP, COLUMNS * STEP, "Maps that the units make of it");
  const caption = h("span", {});
  const one = figure(image.canvas, "the image, 28×28, is one channel");
  const root = h("div", { class: "wrong" }, one, figure(maps.canvas, caption));
  const draw = ({ x, wrong }, { unit }) => {
    image.paint((n) => ramp(x[n]));
    maps.paint(mapsFrom(wrong, unit, shades(diverging, 1)));
    const last = Math.min(unit + ROWS * COLUMNS, UNITS);
    write(
      caption,
      `units ${unit + 1} to ${last} of 784: each makes a map, the image times its one weight ` +
        `(the first: ${fixed(weights[unit])}). No number sees more than one pixel.`,
    );
  };
  return { root, draw };
}

/** The ten digits in a row. */
function paintDigits(sheet, bytes) {
  sheet.paint((n) => {
    const [row, column] = [Math.floor(n / (DIGITS * SIDE)), n % (DIGITS * SIDE)];
    return ramp(bytes[Math.floor(column / SIDE) * PIXELS + row * SIDE + (column % SIDE)] / 255);
  });
}

function mount(root, ui) {
  const sheet = raster(SIDE, DIGITS * SIDE, "Ten handwritten digits");
  const choose = picker(sheet.canvas, "The digit. Arrow keys choose another.", (_, digit) => ui.set({ digit }));
  const forms = { dense: denseForm(), kernel: kernelForm(), flat: flatForm(), wrong: wrongForm() };
  const stage = h("div", { class: "stage" });
  const told = h("p", { class: "told" });
  const unit = ui.slider("unit", "the unit", { accent: "channels", show: (n) => `${shown(n + 1)} of ${UNITS}` });
  const digit = h("div", {}, h("span", { class: "small" }, "the digit"), choose.box);
  root.append(ui.choice("form", "as"), stage, told, h("div", { class: "sliders" }, digit, unit));
  return (state, result) => {
    const { root: drawing, draw } = forms[state.form];
    const entered = stage.firstChild !== drawing;
    if (entered) stage.replaceChildren(drawing);
    draw(result, state, entered);
    paintDigits(sheet, ui.data.digits.bytes);
    choose.show(0, state.digit, String(state.digit), [1, DIGITS]);
    const outputs = { dense: result.y, kernel: result.kernel, flat: result.flat }[state.form];
    const unitNumber = `unit ${state.unit + 1}`;
    const sum = outputs && `${unitNumber}:  Σ of 784 products = ${fixed(outputs[state.unit], 12)}`;
    write(told, sum ?? `${unitNumber}:  784 numbers, where one was wanted`);
  };
}

export const panel = {
  id: "dense",
  question: "How is a fully connected layer a convolution?",
  claims: ["2.1", "2.2", "2.3", "2.15", "2.16", "2.27", "2.28", "2.29"],
  text: [
    "A unit of a fully connected layer adds all 784 pixels of a 28×28 image, each by a weight of its own. " +
      "So does a convolution whose kernel is as large as the image: it has one place to go. " +
      'And so does a 1×1, if the image is first made a vector: <b class="channels">784 channels</b> ' +
      'at <b class="positions">one position</b>. With 784 units, all three have the same 614,656 weights ' +
      "and the same outputs.",
    "Without the reshape, a 1×1 is something else. See for yourself.",
  ],
  state: {
    form: choice("dense", [
      ["dense", "fully connected"],
      ["kernel", "28×28 kernel"],
      ["flat", "reshape and 1×1"],
      ["wrong", "1×1 without the reshape"],
    ]),
    digit: integer(3, 0, DIGITS - 1),
    unit: integer(405, 0, UNITS - 1),
  },
  solve,
  proofs,
  mount,
};
