// Two more uses: a strided 1×1 that brings a skip to the shape of its block, and the 1×1 behind a
// depthwise convolution, which is nearly all of the pair's cost.

import { costs } from "../draw/costs.js";
import { tensor } from "../draw/tensor.js";
import { wires } from "../draw/wires.js";
import { percent, shown, times } from "../format.js";
import { h, write } from "../dom.js";
import { separable, skip } from "../mathematics/blocks.js";
import { choice, integer } from "../state.js";

const MOST = 512;
const SIDE = 8; // positions of the drawn input, each way
const LONGEST = 160; // pixels for the most channels

function solve({ inputs, outputs, stride, own, kind, from, to, kernel }) {
  const made = skip(kind, inputs, outputs, own, SIDE);
  const side = Math.ceil(SIDE / stride);
  return { made, side, fits: made.channels === outputs && made.side === side, pair: separable(from, to, kernel) };
}

function proofs({ made, pair }, { kind }) {
  const share = pair.pointwise / pair.pair;
  const saving = pair.standard / pair.pair;
  const learns = kind === "projection" || kind === "average";
  return [
    { name: "shortcut.weights", value: made.weights, label: learns ? "weights has the skip’s 1×1" : "weights: the skip learns nothing" },
    { name: "shortcut.read", value: made.read, text: percent(made.read), label: "of the input’s positions are read by the skip" },
    { name: "shortcut.share", value: share, text: percent(share), label: "of the separable pair’s cost is the 1×1" },
    { name: "shortcut.pair", value: pair.pair, label: "multiplications a position in the pair" },
    { name: "shortcut.saving", value: saving, text: times(saving), label: "as many in the convolution that it replaces" },
  ];
}

/** What becomes of the sum. */
function verdict({ made, side, fits }, { outputs }) {
  const [path, other] = [`${outputs} × ${side}×${side}`, `${made.channels} × ${made.side}×${made.side}`];
  return fits ? `${other} = ${path}: they can be added.` : `${other} ≠ ${path}: they cannot be added.`;
}

function step(drawing, caption) {
  return h("figure", {}, caption, drawing.svg);
}

function mountSkip(root, ui) {
  const [input, other, path] = [tensor(), tensor(), tensor()];
  const [named, told] = [h("figcaption", {}), h("p", {})];
  const drawing = h(
    "div",
    { class: "skips" },
    step(input, h("figcaption", {}, "the input; what the skip reads is solid")),
    step(other, named),
    step(path, h("figcaption", {}, "what the block gives")),
  );
  root.append(
    h("h3", {}, "The skip of a residual block"),
    ui.choice("kind", "the skip is"),
    drawing,
    told,
    h("div", { class: "actions" }, ui.choice("stride", "stride of the block"), ui.choice("own", "stride of the skip")),
    h(
      "div",
      { class: "sliders" },
      ui.slider("inputs", "channels in", { accent: "channels" }),
      ui.slider("outputs", "channels out", { accent: "channels" }),
    ),
  );
  return (state, result) => {
    const { made, side } = result;
    const { kind, inputs, outputs, own } = state;
    const perChannel = LONGEST / Math.max(inputs, outputs);
    const read = (row, column) => made.read === 1 || (row % own === 0 && column % own === 0);
    input.draw({ side: SIDE, channels: inputs, perChannel, read });
    const full = kind === "zeros" ? Math.min(inputs, made.channels) : made.channels;
    other.draw({ side: made.side, channels: made.channels, full, perChannel });
    path.draw({ side, channels: outputs, perChannel });
    write(named, `what the skip gives, with ${shown(made.weights)} weights`);
    write(told, verdict(result, state));
  };
}

function mountPair(root, ui) {
  const drawing = wires();
  const chart = costs();
  const [own, mixing] = [h("i", { class: "own" }), h("i", { class: "mixing" })];
  const share = h("figcaption", {});
  root.append(
    h("h3", {}, "A separable convolution"),
    h(
      "div",
      { class: "pair" },
      h("figure", {}, drawing.svg, h("figcaption", {}, "eight channels: depthwise, each alone; the 1×1 mixes them")),
      h(
        "figure",
        {},
        chart.list,
        h("figcaption", {}, "multiplications at each position"),
        h("div", { class: "share" }, own, mixing),
        share,
      ),
    ),
    ui.choice("kernel", "kernel"),
    h(
      "div",
      { class: "sliders" },
      ui.slider("from", "channels in", { accent: "channels" }),
      ui.slider("to", "channels out", { accent: "channels" }),
    ),
  );
  return ({ from, to, kernel }, { pair }) => {
    const window = `${kernel}×${kernel}`;
    drawing.draw([
      { name: `depthwise ${window}`, full: false },
      { name: "1×1", full: true },
    ]);
    own.style.flexGrow = pair.depthwise;
    mixing.style.flexGrow = pair.pointwise;
    write(share, `of the two, ${percent(pair.pointwise / pair.pair)} in the 1×1`);
    chart.draw([
      { label: `depthwise ${window}`, value: pair.depthwise, accent: "positions" },
      { label: `1×1, ${from} → ${to}`, value: pair.pointwise, accent: "channels" },
      { label: `in their place: ${window}, ${from} → ${to}`, value: pair.standard },
    ]);
  };
}

function mount(root, ui) {
  const parts = [mountSkip, mountPair].map((part) => {
    const box = h("div", { class: "half" });
    root.append(box);
    return part(box, ui);
  });
  return (state, result) => parts.forEach((draw) => draw(state, result));
}

/** Zeros can only be added: there are as many channels out as in, or more. */
function settle(state, before = state) {
  if (state.kind !== "zeros" || state.outputs >= state.inputs) return state;
  const moved = state.inputs !== before.inputs;
  return moved ? { ...state, outputs: state.inputs } : { ...state, inputs: state.outputs };
}

export const panel = {
  id: "shortcut",
  question: "What is it for in shortcuts and separable convolutions?",
  claims: ["3.11", "3.12", "3.14", "3.15", "3.16"],
  text: [
    "A residual block adds its input to what it made of it, so both must have one shape. Where the block changes " +
      '<b class="channels">channels</b> or <b class="positions">positions</b>, a 1×1 with the same stride brings the input along.',
    "A separable convolution splits a K×K in two: one filter in each channel alone, then a 1×1 across channels. “At minimal cost” " +
      "is said of that 1×1, and it has nearly all of the pair’s cost.",
  ],
  state: {
    kind: choice("projection", [
      ["identity", "the input itself"],
      ["projection", "a 1×1"],
      ["zeros", "the input and zeros"],
      ["average", "an average, then a 1×1"],
    ]),
    inputs: integer(256, 1, MOST),
    outputs: integer(512, 1, MOST),
    stride: choice(2, [1, 2, 4].map((stride) => [stride, String(stride)])),
    own: choice(2, [1, 2, 4].map((stride) => [stride, String(stride)])),
    from: integer(256, 1, MOST),
    to: integer(256, 1, MOST),
    kernel: choice(3, [3, 5, 7].map((kernel) => [kernel, `${kernel}×${kernel}`])),
  },
  settle,
  solve,
  proofs,
  mount,
};
