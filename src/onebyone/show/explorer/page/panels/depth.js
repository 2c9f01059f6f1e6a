// How many maps come out is how many rows the weight has: any number will do.

import { button } from "../controls.js";
import { costs } from "../draw/costs.js";
import { shown, times } from "../format.js";
import { h, write } from "../dom.js";
import { parameters } from "../mathematics/count.js";
import { choice, flag, integer } from "../state.js";
import { weightDrawing } from "../draw/weights.js";

const MOST = 512;

function solve({ inputs, outputs, kernel, groups, bias }) {
  return {
    layer: parameters(inputs, outputs, kernel, groups, bias),
    back: parameters(outputs, inputs, kernel, groups, bias),
    square: parameters(inputs, inputs, 1, 1, bias),
    three: parameters(inputs, inputs, 3, 1, bias),
  };
}

function named(inputs, outputs, kernel) {
  return `${kernel}×${kernel}, ${inputs} → ${outputs}`;
}

function proofs({ layer, back, square, three }, { inputs, outputs }) {
  return [
    { name: "depth.layer", value: layer, label: `parameters take ${inputs} maps to ${outputs}` },
    { name: "depth.back", value: back, label: `take ${outputs} to ${inputs}` },
    { name: "depth.square", value: square, label: `a 1×1 from ${inputs} to ${inputs}` },
    { name: "depth.three", value: three, label: "a 3×3 in its place" },
    { name: "depth.ratio", value: three / square, label: "as many", text: times(three / square) },
  ];
}

function mount(root, ui) {
  const drawing = weightDrawing();
  const chart = costs();
  const caption = h("figcaption", {});
  const swap = button("Swap in and out", () => {
    const { inputs, outputs } = ui.state();
    ui.set({ inputs: outputs, outputs: inputs });
  });
  const sliders = [
    ui.slider("inputs", "maps in, C_in", { accent: "channels" }),
    ui.slider("outputs", "maps out, C_out", { accent: "channels" }),
  ];
  root.append(
    h("figure", {}, drawing.box, caption),
    h("div", { class: "sliders" }, ...sliders),
    h("div", { class: "actions" }, ui.choice("kernel", "kernel"), ui.choice("groups", "groups")),
    h("div", { class: "actions" }, ui.flag("bias", "bias"), swap),
    chart.list,
  );
  return (state, result) => {
    const { inputs, outputs, kernel, groups, bias } = state;
    const { layer, back, square, three } = result;
    drawing.draw(state);
    const one = groups > 1 ? ` in ${groups} groups` : "";
    const taps = kernel > 1 ? `${kernel * kernel} matrices, one for each place of the kernel` : "the weight";
    const alone = groups > 1 ? ", and sees its group alone" : "";
    write(caption, `${taps}, to scale; a row is a filter${alone}${bias ? "; at the right, the biases" : ""}`);
    chart.draw([
      { label: `this layer: ${named(inputs, outputs, kernel)}${one}`, value: layer, accent: "channels" },
      { label: `the way back: ${named(outputs, inputs, kernel)}${one}`, value: back, accent: "channels" },
      { label: named(inputs, inputs, 1), value: square },
      { label: named(inputs, inputs, 3), value: three },
    ]);
  };
}

/** Channels are whole multiples of the groups: the next one in the direction in which they were moved. */
function settle(state, before = state) {
  const { groups } = state;
  const fitting = (name) => {
    const moved = Math.sign(state[name] - before[name]);
    const round = { "-1": Math.floor, 0: Math.round, 1: Math.ceil }[moved];
    return Math.max(groups, groups * round(state[name] / groups));
  };
  return { ...state, inputs: fitting("inputs"), outputs: fitting("outputs") };
}

export const panel = {
  id: "depth",
  question: "How can 256 maps become 64, and 64 become 256?",
  claims: ["1.5", "1.8", "2.8", "2.9", "2.21", "3.5", "3.6"],
  text: [
    "With as many filters as there shall be maps. A filter is a row of the weight, with an entry for each map " +
      "that comes in; how many rows there are is free. With a bias there are " +
      "(<i>C</i><sub>in</sub> + 1)·<i>C</i><sub>out</sub> parameters, down or up.",
    "A larger kernel has one such matrix for each of its places: a 3×3 nine. Groups leave only blocks of it.",
  ],
  state: {
    inputs: integer(256, 1, MOST),
    outputs: integer(64, 1, MOST),
    kernel: choice(1, [
      [1, "1×1"],
      [3, "3×3"],
      [5, "5×5"],
    ]),
    groups: choice(1, [1, 2, 4, 8, 16, 32, 64].map((groups) => [groups, String(groups)])),
    bias: flag(true),
  },
  settle,
  solve,
  proofs,
  mount,
};
