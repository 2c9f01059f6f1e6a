// Figure 2: a small network at every place is a convolution; without neighbours, any order will do.

import { bars } from "../draw/bars.js";
import { cloud } from "../draw/cloud.js";
import { colours, diverging } from "../draw/colours.js";
import { largest, raster, shades } from "../draw/raster.js";
import { picker } from "../draw/picker.js";
import { fixed } from "../format.js";
import { figure, h, write } from "../dom.js";
import { difference } from "../mathematics/convolution.js";
import { once, order, reordered, slid, under } from "../mathematics/sliding.js";
import { uniform } from "../mathematics/seed.js";
import { choice, flag, integer } from "../state.js";

const [CHANNELS, HEIGHT, WIDTH] = [3, 63, 84];
const SHAPE = [CHANNELS, HEIGHT, WIDTH];
const POSITIONS = HEIGHT * WIDTH;
const HIDDEN = 4;
const SEED = 1359; // of those up to 1500 its maps are the clearest
const EVERY = 3; // of the pixels one is a point of the cloud

/** [W, b, v] of the network with a window of kernel × kernel. */
function networkOf(kernel) {
  const inputs = CHANNELS * kernel * kernel;
  const numbers = uniform(SEED, HIDDEN * (inputs + 2), kernel * 1000);
  const ends = [0, HIDDEN * inputs, HIDDEN * (inputs + 1), numbers.length];
  return [0, 1, 2].map((n) => numbers.subarray(ends[n], ends[n + 1]));
}

const known = new Map();

/** The network's maps of the picture as it is and shuffled, computed once. */
function mapsOf(kernel, values) {
  if (!known.has(kernel)) {
    const [network, places] = [networkOf(kernel), order(SEED, POSITIONS)];
    const shuffled = reordered(values, places);
    const [plain, other] = [values, shuffled].map((x) => slid(x, SHAPE, kernel, ...network));
    const maps = { plain, shuffled: other };
    const change = difference(maps.shuffled, reordered(maps.plain, places));
    known.set(kernel, { network, values, shuffled, places, maps, change });
  }
  return known.get(kernel);
}

function solve(state, { picture }) {
  const found = mapsOf(state.kernel, picture.values);
  const x = state.shuffled ? found.shuffled : found.values;
  const map = state.shuffled ? found.maps.shuffled : found.maps.plain;
  const window = under(x, SHAPE, state.kernel, state.row, state.column);
  const { units, y } = once(window, ...found.network);
  const apart = Math.abs(y - map[state.row * WIDTH + state.column]);
  const [one, three] = [1, 3].map((kernel) => mapsOf(kernel, picture.values).change);
  return { ...found, x, map, window, units, y, apart, one, three };
}

function proofs({ y, apart, one, three, network }) {
  return [
    { name: "slide.one", value: one, label: "is all that shuffling changes in the map of the 1×1s" },
    { name: "slide.three", value: three, label: "is what it changes with a window of 3×3" },
    { name: "slide.apart", value: apart, label: "between the map and the network on this window alone" },
    { name: "slide.y", value: y, label: "is what the network gives here" },
    { name: "slide.inputs", value: network[0].length / HIDDEN, label: "numbers under the window" },
  ];
}

/** What happens at one place: the window, the hidden units, the output. */
function inside() {
  const patch = raster(3, 3, "What is under the window");
  const hidden = bars("The hidden units");
  const [numbers, output] = [h("span", {}), h("b", { class: "number" })];
  const root = h(
    "div",
    { class: "network" },
    figure(patch.canvas, numbers),
    figure(hidden.canvas, `${HIDDEN} hidden units: a ReLU lets the blue ones on`),
    figure(h("p", { class: "output" }, output), "one number, the map’s at this place"),
  );
  const draw = ({ kernel }, { window, units, y }) => {
    const taps = kernel * kernel;
    patch.resize(kernel, kernel);
    patch.paint((n) => [0, 1, 2].map((c) => 255 * window[c * taps + n]));
    write(numbers, `${window.length} numbers under the window`);
    hidden.paint(units, Math.max(2, largest(units)));
    write(output, fixed(y));
  };
  return { root, draw };
}

/** The pixels as points of red, green and blue. */
function pointsOf() {
  const points = cloud("The pixels as a cloud of points, each coloured by the network");
  const told = h("span", {});
  const draw = ({ kernel }, { x, map }) => {
    const chosen = Array.from({ length: POSITIONS / EVERY }, (_, n) => n * EVERY);
    const shade = shades(diverging, largest(map));
    const grey = colours().line;
    const [red, blue] = [0, 2].map((c) => chosen.map((p) => x[c * POSITIONS + p]));
    points.paint(red, blue, (n) => (kernel === 1 ? shade(map[chosen[n]]) : grey));
    write(
      told,
      kernel === 1
        ? "the same pixels as points, red to the right, blue up: the same network on each, in any order"
        : "points have no neighbours: a window of 3×3 has nothing to slide over here",
    );
  };
  return { root: figure(points.canvas, told), draw };
}

function mount(root, ui) {
  const image = raster(HEIGHT, WIDTH, "The photograph, or its pixels in another order");
  const map = raster(HEIGHT, WIDTH, "The map of the network: orange below zero, blue above");
  const pick = (row, column) => ui.set({ row, column });
  const from = picker(image.canvas, "The window. Arrow keys move it.", pick);
  const to = picker(map.canvas, "The same place of the map. Arrow keys move it.", pick);
  const [here, points] = [inside(), pointsOf()];
  const pictures = [
    figure(from.box, "in: the network sees what is in the window"),
    figure(to.box, "out: its number at every place"),
    points.root,
  ];
  const actions = h("div", { class: "actions" }, ui.flag("shuffled", "shuffle the positions"), ui.choice("kernel", "window"));
  root.append(actions, h("div", { class: "sliding" }, ...pictures), here.root);

  return (state, result) => {
    image.paint((p) => [0, 1, 2].map((c) => 255 * result.x[c * POSITIONS + p]));
    const shade = shades(diverging, largest(result.map));
    map.paint((p) => shade(result.map[p]));
    const place = `row ${state.row + 1}, column ${state.column + 1}: ${fixed(result.y)}`;
    from.show(state.row, state.column, place, [HEIGHT, WIDTH], state.kernel);
    to.show(state.row, state.column, place);
    here.draw(state, result);
    points.draw(state, result);
  };
}

export const panel = {
  id: "slide",
  question: "How does a small network slide?",
  claims: ["2.11", "2.12", "2.13", "2.14"],
  text: [
    "A small network looks at the numbers under a window and gives one. At every place of the image it makes a map: " +
      "that is a convolution, and with a hidden layer a network in network.",
    'If the window is one pixel, the network is a stack of 1×1s. No <b class="positions">position</b> knows its ' +
      "neighbours, so they may stand in any order, or in none: on the points of a cloud it is PointNet’s shared MLP.",
    "Drag the window; shuffle the pixels; then do the same with the other window.",
  ],
  state: {
    row: integer(45, 0, HEIGHT - 1),
    column: integer(20, 0, WIDTH - 1),
    kernel: choice(1, [
      [1, "1×1"],
      [3, "3×3"],
    ]),
    shuffled: flag(false),
  },
  solve,
  proofs,
  mount,
};
