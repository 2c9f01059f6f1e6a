// Figure 5: one map for each class, of which each position says how much of that class it sees.

import { bars } from "../draw/bars.js";
import { diverging, ramp } from "../draw/colours.js";
import { clamped, picker } from "../draw/picker.js";
import { largest, raster, shades } from "../draw/raster.js";
import { divergingScale } from "../draw/scale.js";
import { fixed, percent } from "../format.js";
import { figure, h, write } from "../dom.js";
import { decoded, featuresOf, mapsOf, means, mirrored, scoresOfMeans } from "../mathematics/classmaps.js";
import { difference } from "../mathematics/convolution.js";
import { sum } from "../mathematics/pointwise.js";
import { uniform } from "../mathematics/seed.js";
import { choice, integer } from "../state.js";

const [HEIGHT, WIDTH] = [56, 84];
const SIDE = 28;
const CLASSES = 10;
const CORNER = [6, 8]; // of the digit that stays
const [ROWS, COLUMNS] = [14, 21]; // of the maps
const SEED = 7;
const ROUNDING = 1e-12;
const NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];

let layers;

/** A field with the digit that stays, and the other one with its corner at (row, column). */
function fieldOf({ first, second, row, column }, bytes) {
  const field = new Float64Array(HEIGHT * WIDTH);
  for (const [digit, top, left] of [[first, ...CORNER], [second, row, column]]) {
    for (let n = 0; n < SIDE * SIDE; n += 1) {
      const at = (top + Math.floor(n / SIDE)) * WIDTH + left + (n % SIDE);
      field[at] = Math.max(field[at], bytes[digit * SIDE * SIDE + n] / 255);
    }
  }
  return field;
}

/** The map of a class. */
function mapOf(maps, number) {
  return maps.subarray(number * ROWS * COLUMNS, (number + 1) * ROWS * COLUMNS);
}

/** How far scores move if left and right are swapped in all features: those of means, and one with weights for each place. */
function changes(values, last, scores) {
  const turned = mirrored(values, COLUMNS);
  const weights = uniform(SEED, values.length);
  const output = (x) => sum(x.map((value, n) => value * weights[n]));
  const positions = ROWS * COLUMNS;
  return {
    tied: difference(scores, means(mapsOf(turned, positions, last), positions)),
    untied: Math.abs(output(values) - output(turned)),
  };
}

function solve(state, { digits, weights, classifier }) {
  layers ??= decoded(weights.bytes, classifier);
  const last = layers[layers.length - 1];
  const field = fieldOf(state, digits.bytes);
  const { values } = featuresOf(field, [HEIGHT, WIDTH], layers);
  const positions = ROWS * COLUMNS;
  const maps = mapsOf(values, positions, last);
  const [scores, dense] = [means(maps, positions), scoresOfMeans(values, positions, last)];
  const place = state.down * COLUMNS + state.across;
  const pools = {
    mean: scores,
    sum: scores.map((score) => score * positions),
    one: scores.map((_, number) => mapOf(maps, number)[place]),
  };
  return { field, maps, scores, dense, pooled: pools[state.pool], ...changes(values, last, scores), right: classifier.right };
}

/** The text of a number that is 0 over the reals; none where it is more than rounding. */
function unlessRounding(value) {
  return value < ROUNDING ? "0" : undefined;
}

function proofs({ scores, dense, tied, untied, maps, right }, { number }) {
  const apart = difference(scores, dense);
  const name = NAMES[number];
  return [
    {
      name: "classes.apart",
      value: apart,
      text: unlessRounding(apart),
      label: "between the means of ten maps and a dense layer on the features’ means, but for rounding",
    },
    {
      name: "classes.tied",
      value: tied,
      text: unlessRounding(tied),
      label: "is what the scores change by, if left and right are swapped in all features, but for rounding",
    },
    {
      name: "classes.untied",
      value: untied,
      label: "is what a dense layer with weights of its own for each place changes by then",
    },
    { name: "classes.score", value: scores[number], label: `is the mean ${name}ishness: the score of ${number}` },
    { name: "classes.dense", value: dense[number], label: "is what the dense layer gives for it" },
    { name: "classes.numbers", value: maps.length, label: "numbers: ten maps of 14 × 21 positions" },
    { name: "classes.right", value: right, text: percent(right), label: "of 1,000 digits that it never saw are right" },
  ];
}

/** A class map to pick a position of. */
function heatMap(pick) {
  const map = raster(ROWS, COLUMNS, "A class map: blue where the class is seen, orange where it is not");
  const chosen = picker(map.canvas, "A position of the class map. Arrow keys move it.", pick);
  const scale = divergingScale();
  const name = h("b", {});
  const draw = (values, most, title, { down, across }) => {
    const shade = shades(diverging, most);
    map.paint((n) => shade(values[n]));
    scale.draw(most);
    write(name, title);
    chosen.show(down, across, `row ${down + 1}, column ${across + 1}: ${fixed(values[down * COLUMNS + across])}`);
  };
  return { root: figure(chosen.box, name, scale.box), draw };
}

/** The ten scores as bars with their digits. */
function scoreBars() {
  const drawn = bars("The ten scores");
  const values = NAMES.map(() => h("span", { class: "number value" }));
  const digits = NAMES.map((_, number) => h("span", { class: "number digit" }, `${number}`));
  const root = h("div", { class: "scores" }, drawn.canvas, ...digits.flatMap((digit, n) => [digit, values[n]]));
  const draw = (scores, best) => {
    drawn.paint(scores, largest(scores), best);
    scores.forEach((score, n) => write(values[n], fixed(score, 3)));
  };
  return { root, draw };
}

function mount(root, ui) {
  const field = raster(HEIGHT, WIDTH, "Two handwritten digits on a field");
  const corner = (middle, size) => clamped(middle - SIDE / 2, size - SIDE + 1);
  const move = (row, column) => ui.set({ row: corner(row, HEIGHT), column: corner(column, WIDTH) });
  const moved = picker(field.canvas, "The second digit. Arrow keys move it.", move);
  const pick = (down, across) => ui.set({ down, across });
  const [map, other] = [heatMap(pick), heatMap(pick)];
  const scores = scoreBars();
  const caption = h("span", {});
  const sliders = h(
    "div",
    { class: "sliders" },
    ui.slider("first", "first digit"),
    ui.slider("second", "second digit", { accent: "positions" }),
    ui.slider("number", "map of class", { accent: "channels" }),
    ui.slider("other", "and of class", { accent: "channels" }),
  );
  const pictures = [figure(moved.box, "drag the second digit, or move it with the arrow keys"), map.root, other.root];
  root.append(sliders, h("div", { class: "trio maps" }, ...pictures), ui.choice("pool", "scores: of each map"));
  root.append(figure(scores.root, caption));

  return (state, { field: ink, maps, pooled }) => {
    field.paint((n) => ramp(ink[n]));
    moved.show(state.row + SIDE / 2, state.column + SIDE / 2, `row ${state.row + 1}, column ${state.column + 1}`, [HEIGHT, WIDTH], SIDE);
    const shown = [state.number, state.other].map((number) => mapOf(maps, number));
    const most = Math.max(...shown.map(largest));
    map.draw(shown[0], most, `${NAMES[state.number]}ishness`, state);
    other.draw(shown[1], most, `${NAMES[state.other]}ishness`, state);
    const best = pooled.reduce((most, score, n) => (score > pooled[most] ? n : most), 0);
    scores.draw(pooled, best);
    const kind = { mean: "the mean", sum: "the sum", one: "the number at the place marked" }[state.pool];
    write(caption, `${kind} of each class map; the largest is that of ${best}`);
  };
}

export const panel = {
  id: "classes",
  question: "What are class maps?",
  claims: ["2.22", "2.23", "2.24", "2.25", "2.26"],
  text: [
    "The last layer of this small network is a 1×1 with ten filters: one map for each digit. At each " +
      '<b class="positions">position</b> the map of 1 says how much of a one is seen there, its oneishness.',
    "The mean of a map is the score of its class. Averaging first and then mixing the " +
      '<b class="channels">channels</b> gives the same: a fully connected layer whose weights are tied over positions. ' +
      "One with weights of its own for each place is no mean of maps.",
  ],
  state: {
    first: integer(1, 0, CLASSES - 1),
    second: integer(2, 0, CLASSES - 1),
    row: integer(22, 0, HEIGHT - SIDE),
    column: integer(50, 0, WIDTH - SIDE),
    number: integer(1, 0, CLASSES - 1),
    other: integer(2, 0, CLASSES - 1),
    down: integer(5, 0, ROWS - 1),
    across: integer(5, 0, COLUMNS - 1),
    pool: choice("mean", [
      ["mean", "the mean"],
      ["sum", "the sum"],
      ["one", "one position"],
    ]),
  },
  solve,
  proofs,
  mount,
};
