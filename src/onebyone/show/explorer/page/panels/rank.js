// 256 maps from 64 are combinations of 64; a bias adds the constant, a ReLU makes them independent.

import { button } from "../controls.js";
import { spectrum } from "../draw/spectrum.js";
import { h } from "../dom.js";
import { pointwise } from "../mathematics/pointwise.js";
import { uniform } from "../mathematics/seed.js";
import { rank, singularValues, threshold } from "../mathematics/spectrum.js";
import { flag, integer } from "../state.js";

const INPUTS = 64;
const OUTPUTS = 256;
const POSITIONS = 272; // 16 x 17, more than there are maps
const SEEDS = 99;

const known = new Map();

/** The singular values of the maps at all positions, (256, 272), computed once for each setting. */
function spectrumOf(seed, bias, relu) {
  const key = `${seed} ${bias} ${relu}`;
  if (!known.has(key)) {
    const b = bias ? uniform(3 * seed + 2, OUTPUTS) : undefined;
    const y = pointwise(uniform(3 * seed, OUTPUTS * INPUTS), uniform(3 * seed + 1, INPUTS * POSITIONS), POSITIONS, b);
    const maps = relu ? y.map((value) => Math.max(0, value)) : y;
    const values = singularValues(maps, OUTPUTS, POSITIONS);
    known.set(key, { values, least: threshold(values, OUTPUTS, POSITIONS), rank: rank(values, OUTPUTS, POSITIONS) });
  }
  return known.get(key);
}

/** The rank of the weights alone and of the weights beside the bias, [W | b]. */
function ranksOf(seed) {
  const [W, b] = [uniform(3 * seed, OUTPUTS * INPUTS), uniform(3 * seed + 2, OUTPUTS)];
  const wide = new Float64Array(OUTPUTS * (INPUTS + 1));
  b.forEach((value, o) => wide.set([...W.subarray(o * INPUTS, (o + 1) * INPUTS), value], o * (INPUTS + 1)));
  const of = (matrix, columns) => rank(singularValues(matrix, OUTPUTS, columns), OUTPUTS, columns);
  return [of(W, INPUTS), of(wide, INPUTS + 1)];
}

function solve({ seed, bias, relu }) {
  const [linear, biased] = ranksOf(seed);
  return { now: spectrumOf(seed, bias, relu), linear, biased, lifted: spectrumOf(seed, bias, true).rank };
}

function proofs({ now, linear, biased, lifted }) {
  return [
    { name: "rank.rank", value: now.rank, label: `of ${OUTPUTS} maps are independent` },
    { name: "rank.linear", value: linear, label: "is the rank of the weights" },
    { name: "rank.biased", value: biased, label: "of the weights and the bias: the constant is one more" },
    { name: "rank.lifted", value: lifted, label: "of what a ReLU makes of the maps" },
  ];
}

function mount(root, ui) {
  const drawing = spectrum();
  const other = button("Other weights", () => ui.set({ seed: (ui.state().seed % SEEDS) + 1 }));
  const told = "The singular values of the 256 maps, beside the largest. As many maps are independent as are not zero.";
  const actions = h("div", { class: "actions" }, ui.flag("bias", "bias"), ui.flag("relu", "ReLU behind"), other);
  root.append(actions, h("figure", {}, drawing.svg, h("figcaption", {}, told)));
  return (state, { now }) => drawing.draw(now.values, now.least, now.rank);
}

export const panel = {
  id: "rank",
  question: "Are the new maps redundant?",
  claims: ["1.9", "1.10", "1.11", "3.1", "3.9", "3.17"],
  text: [
    "A 1×1 from 64 maps to 256 makes 256 combinations of the same 64. At most 64 of them are independent; " +
      "the others could be had from those, and their singular values are zero but for rounding. " +
      "A bias adds the constant to what can be combined: 65.",
    "Put a ReLU behind, and no map is a combination of the others any more. " +
      "It is the nonlinearity that makes new maps, not the 1×1.",
  ],
  state: { bias: flag(false), relu: flag(false), seed: integer(1, 1, SEEDS) },
  solve,
  proofs,
  mount,
};
