// What a bottleneck saves: in the layer that it makes thin, in the whole block, on a real machine.

import { costs } from "../draw/costs.js";
import { volumes } from "../draw/volumes.js";
import { percent, shown, times } from "../format.js";
import { h, write } from "../dom.js";
import { bottleneck } from "../mathematics/blocks.js";
import { choice, integer } from "../state.js";

const MOST = 512;
const SIDES = [7, 14, 28, 56];
const USUAL = 256; // maps of the measured block that is among the proofs

/** As many digits as a measured time has. */
function rough(ratio) {
  return `${ratio.toFixed(1)}×`;
}

/** The measured blocks, C → C/4 → C/4 → C, at this size: how often faster they are than the wide 3×3. */
function measuredAt(side, { rows }) {
  const here = rows.filter((row) => row[1] === side);
  return here.map(([width, , block, wide]) => ({ width, block, wide, ratio: wide / block }));
}

function solve({ inputs, middle, outputs, kernel, side }, data) {
  const usual = bottleneck(USUAL, USUAL / 4, USUAL, 3, side * side);
  return {
    ...bottleneck(inputs, middle, outputs, kernel, side * side),
    measured: measuredAt(side, data.bottleneck),
    counted: usual.wide.macs / usual.block.macs,
  };
}

function proofs({ layers, block, wide, pointwiseShare, measured }, { inputs, outputs, kernel, side }) {
  const ratio = (name, label, value) => ({ name: `bottleneck.${name}`, label, value, text: times(value) });
  const usual = measured.find(({ width }) => width === USUAL);
  return [
    { name: "bottleneck.parameters", value: block.parameters, label: "parameters are in the whole block" },
    ratio("middle", `the thin layer’s parameters are in one ${kernel}×${kernel}, ${inputs} → ${outputs}`, wide.parameters / layers[1].parameters),
    ratio("block", "the whole block’s parameters", wide.parameters / block.parameters),
    ratio("macs", "the block’s multiplications", wide.macs / block.macs),
    { ...ratio("measured", `the block’s time, measured with ${USUAL} maps of ${side}×${side}`, usual.ratio), text: rough(usual.ratio) },
    {
      name: "bottleneck.pointwise",
      value: pointwiseShare,
      text: percent(pointwiseShare),
      label: "of the block’s multiplications are in its two 1×1s",
    },
  ];
}

function named({ inputs, outputs, kernel }) {
  return `${kernel}×${kernel}, ${inputs} → ${outputs}`;
}

/** A number that fits beside an arrow: millions as such. */
function short(value) {
  return value < 1e7 ? shown(value) : `${shown(Math.round(value / 1e6))} M`;
}

/** The three layers, their sum, and what they stand for. */
function costRows({ layers, block, wide }, counted) {
  const row = (label, of, accent) => ({ label, value: of[counted], accent });
  return [
    ...layers.map((layer) => row(named(layer), layer, "channels")),
    row("the block: all three", block, "channels"),
    row(`in its place: ${named(wide)}`, wide),
  ];
}

/** How often faster the measured blocks are, beside what is counted. */
function measuredRows({ measured, counted }) {
  const rows = measured.map(({ width, ratio }) => ({
    label: `${width} → ${width / 4} → ${width / 4} → ${width}`,
    value: ratio,
    text: rough(ratio),
  }));
  return [{ label: "what the multiplications promise", value: counted, text: rough(counted), accent: "channels" }, ...rows];
}

/** The rows of the drawing: the block with its skip, and one convolution. */
function drawn({ layers, wide }, { inputs, middle, outputs, kernel, counted }) {
  const layersOf = (all) => all.map((layer) => ({ name: `${layer.kernel}×${layer.kernel}`, note: short(layer[counted]) }));
  return [
    {
      title: "the bottleneck",
      channels: [inputs, middle, middle, outputs],
      layers: layersOf(layers),
      skip: inputs === outputs ? "the input is added" : "the input is added, by a 1×1 of its own",
    },
    { title: `one ${kernel}×${kernel} in its place`, channels: [inputs, outputs], layers: layersOf([wide]) },
  ];
}

function mount(root, ui) {
  const drawing = volumes();
  const [cost, speed] = [costs(), costs()];
  const heading = h("h3", {});
  const { processor, engine } = ui.data.bottleneck;
  const widths = [["inputs", "maps in"], ["middle", "maps in the middle"], ["outputs", "maps out"]];
  root.append(
    h("figure", {}, drawing.svg),
    h("div", { class: "sliders" }, ...widths.map(([name, label]) => ui.slider(name, label, { accent: "channels" }))),
    h("div", { class: "actions" }, ui.choice("kernel", "kernel in the middle"), ui.choice("side", "positions")),
    h("figure", {}, ui.choice("counted", "what it costs, in"), cost.list),
    h(
      "figure",
      {},
      heading,
      speed.list,
      h(
        "figcaption",
        {},
        `Measured once: ${processor}, one thread, ${engine}, float32, medians of runs in turns. ` +
          "Fewer multiplications are not all: each layer also moves its maps, and a small one does not fill the machine.",
      ),
    ),
  );
  return (state, result) => {
    const positions = `${state.side}×${state.side}`;
    drawing.draw(drawn(result, state), positions);
    write(heading, `Measured at ${positions}: how many times faster than the 3×3 in its place`);
    cost.draw(costRows(result, state.counted));
    speed.draw(measuredRows(result));
  };
}

export const panel = {
  id: "bottleneck",
  question: "Why is a bottleneck cheap?",
  claims: ["1.4", "3.7", "3.8", "3.18"],
  text: [
    'A 3×3 costs nine weights for each pair of <b class="channels">channels</b>: with 256 in and out, more than half a million. ' +
      "A bottleneck lets a 1×1 bring 256 maps down to 64, runs the 3×3 there, and has another 1×1 bring them up again.",
    "“16× cheaper” is said of it, and true of the thin layer. But the two 1×1s cost something, too: the block as a whole is 8.43× cheaper.",
  ],
  state: {
    inputs: integer(256, 1, MOST),
    middle: integer(64, 1, MOST),
    outputs: integer(256, 1, MOST),
    kernel: choice(3, [1, 3, 5, 7].map((kernel) => [kernel, `${kernel}×${kernel}`])),
    side: choice(14, SIDES.map((side) => [side, `${side}×${side}`])),
    counted: choice("parameters", [
      ["parameters", "parameters"],
      ["macs", "multiplications"],
    ]),
  },
  solve,
  proofs,
  mount,
};
