// The law of commuting: a 1x1 and what acts on positions, in both orders, on a real image.

import { costs } from "../draw/costs.js";
import { diverging } from "../draw/colours.js";
import { largest, raster, shades } from "../draw/raster.js";
import { shown } from "../format.js";
import { h, write } from "../dom.js";
import { SPACES } from "../mathematics/space.js";
import { bothOrders, refusal } from "../mathematics/swap.js";
import { choice, flag, integer } from "../state.js";

const SIZE = [63, 84];
const NAMES = {
  average: "average pool",
  bilinear: "bilinear resize",
  nearest: "nearest resize",
  stride: "stride",
  crop: "crop",
  padding: "zero padding",
  maximum: "max pool",
};
const DONE = {
  average: "the average of each 2×2",
  bilinear: "twice the size, bilinear",
  nearest: "twice the size, nearest",
  stride: "each second position",
  crop: "the middle",
  padding: "8 zeros on each side",
  maximum: "the largest of each 2×2",
};
const WHY = {
  maximum:
    "Refused: a maximum is no sum. With a weight of −1 over (1, 2), the 1×1 after the maximum gives −2, the maximum after the 1×1 −1.",
  bias: "Refused: the zeros at the border get the bias in one order and not in the other. With a bias of 0 both agree.",
  relu: "Refused: of (1, −1), the ReLU of the mean is 0, and the mean of the ReLUs ½. Only what copies positions passes a ReLU.",
  zeros: "Refused: only what copies positions passes any nonlinearity, and zeros are no copies. A ReLU leaves a zero as it is, though.",
};
const WITH_RELU = "f(W S x) = S f(W x)";
const LUCK = " With these numbers it happens to make no difference.";

function solve({ space, red, green, blue, bias, relu }, { picture }) {
  // Bytes and whole numbers, windows of two by two: in float64 nothing is rounded, and equal means 0.
  const x = Float64Array.from(picture.bytes);
  const found = bothOrders(space, x, SIZE, Float64Array.of(red, green, blue), bias, relu);
  return { ...found, reason: refusal(space, bias, relu) };
}

function proofs({ gaps, worst, differing, macs, reason }, { space }) {
  const promised = reason ? "no" : "yes";
  return [
    { name: "swap.difference", value: Math.abs(gaps[worst]), label: "is the largest difference of the two orders" },
    { name: "swap.differing", value: differing, label: `of ${shown(gaps.length)} positions differ` },
    { name: "swap.promised", value: reason ? 0 : 1, text: promised, label: "does the law promise that none will?" },
    { name: "swap.first", value: macs[0], label: "MACs of the 1×1, if it comes first" },
    { name: "swap.second", value: macs[1], label: `if the ${NAMES[space]} comes first` },
  ];
}

/** Why the two orders are one, in words. */
function holds({ bias, relu, space }) {
  const name = NAMES[space];
  if (SPACES[space].selects) {
    const passing = [bias ? "a bias" : "", relu ? "a ReLU" : ""].filter(Boolean).join(" and ");
    return `Holds: the 1×1 adds over channels, the ${name} copies positions${passing ? `, and lets ${passing} pass` : ""}.`;
  }
  const constant = bias ? ", with weights that add up to one (S 1 = 1), so that a bias passes" : "";
  return `Holds: the 1×1 adds over channels, the ${name} over positions${constant}.`;
}

/** Why the law does not promise it, in words. */
function refused(reason, space, most) {
  if (reason === "relu" && space === "padding") return WHY.zeros;
  return WHY[reason] + (most ? "" : LUCK);
}

/** A drawing of maps to scale, with what it is. */
function step(label, area) {
  const image = raster(1, 1, label);
  const caption = h("figcaption", {});
  const frame = h("div", { class: "framed" }, image.canvas);
  const root = h("figure", { class: area }, caption, frame);
  const draw = ([height, width], widest, text, colour) => {
    image.resize(height, width);
    image.paint(colour);
    frame.style.width = `${(100 * width) / widest}%`;
    write(caption, text);
  };
  return { root, frame, draw };
}

function mount(root, ui) {
  const steps = {
    x: step("The image", "x"),
    mixed: step("What the 1×1 makes of the image", "mixed"),
    moved: step("What the space map makes of the image", "moved"),
    first: step("The 1×1 first, then the space map", "first"),
    second: step("The space map first, then the 1×1", "second"),
    gap: step("The difference of the two", "gap"),
  };
  const mark = h("div", { class: "mark" });
  steps.gap.frame.append(mark);
  const equation = h("b", { class: "number" });
  const lawful = h("span", { class: "quiet" });
  const [verdict, example] = [h("p", {}), h("p", { class: "told" })];
  const chart = costs();
  const weights = ["red", "green", "blue", "bias"].map((name) =>
    ui.slider(name, name === "bias" ? "bias, b" : `weight of ${name}`, { accent: "channels" }),
  );
  root.append(
    ui.choice("space", "beside the 1×1"),
    h("div", { class: "orders" }, ...Object.values(steps).map((one) => one.root)),
    h("div", { class: "law" }, h("p", {}, equation, " ", lawful), verdict, example),
    h("div", { class: "sliders" }, ...weights),
    ui.flag("relu", "a ReLU behind the 1×1"),
    h("figure", {}, chart.list, h("figcaption", {}, "multiplications of the 1×1: it belongs where there are fewer positions")),
  );

  return (state, result) => {
    const { after, mixed, moved, outputs, gaps, worst, macs, reason } = result;
    const widest = Math.max(SIZE[1], after[1]);
    const shade = shades(diverging, Math.max(largest(mixed), largest(outputs[1])));
    const layer = state.relu ? "1×1 and ReLU" : "1×1";
    const photograph = (values, plane) => (n) => [values[n], values[plane + n], values[2 * plane + n]];
    const bytes = ui.data.picture.bytes;
    steps.x.draw(SIZE, widest, "the image, x", photograph(bytes, SIZE[0] * SIZE[1]));
    steps.mixed.draw(SIZE, widest, `first the ${layer}`, (n) => shade(mixed[n]));
    steps.moved.draw(after, widest, `first the ${NAMES[state.space]}`, photograph(moved, after[0] * after[1]));
    steps.first.draw(after, widest, `then ${DONE[state.space]}`, (n) => shade(outputs[0][n]));
    steps.second.draw(after, widest, `then the ${layer}`, (n) => shade(outputs[1][n]));
    const most = Math.abs(gaps[worst]);
    const gapShade = shades(diverging, most || 1);
    steps.gap.draw(after, widest, most ? `their difference, up to ${shown(most)}` : "their difference: 0 everywhere", (n) => gapShade(gaps[n]));
    place(mark, worst, after, most);
    const told = state.relu ? WITH_RELU : ui.data.laws.commute.equation;
    write(equation, told.replace("=", most ? "≠" : "="));
    const between = state.relu ? " with a ReLU, f," : "";
    write(lawful, `the law “commute”${between} ${reason ? "makes no promise here" : "holds"}`);
    const [first, second] = outputs.map((output) => shown(output[worst]));
    write(example, most ? `where it is marked:  1×1 first ${first},  ${NAMES[state.space]} first ${second}` : "");
    write(verdict, reason ? refused(reason, state.space, most) : holds(state));
    chart.draw([
      { label: "the 1×1 first", value: macs[0], accent: "positions" },
      { label: `the ${NAMES[state.space]} first`, value: macs[1], accent: "positions" },
    ]);
  };
}

/** The mark frames the position of the largest difference, if there is one. */
function place(mark, worst, [height, width], most) {
  mark.hidden = !most;
  mark.style.left = `${(100 * (worst % width)) / width}%`;
  mark.style.top = `${(100 * Math.floor(worst / width)) / height}%`;
  mark.style.width = `${100 / width}%`;
  mark.style.height = `${100 / height}%`;
}

export const panel = {
  id: "swap",
  question: "May they be swapped?",
  claims: ["3.12", "3.18"],
  text: [
    'A 1×1 mixes <b class="channels">channels</b> and leaves positions alone. Pooling, resizing, striding, cropping move ' +
      '<b class="positions">positions</b> and leave channels alone. So neither minds which comes first, and the 1×1 costs less ' +
      "where there are fewer positions.",
    "Some things only look as if they belonged here. Try the max pool, zero padding with a bias, and a ReLU. " +
      "Bytes, whole weights and windows of two are computed without rounding: equal is 0.",
  ],
  state: {
    space: choice("average", Object.keys(SPACES).map((name) => [name, NAMES[name]])),
    red: integer(-4, -4, 4),
    green: integer(1, -4, 4),
    blue: integer(3, -4, 4),
    bias: integer(60, -200, 200),
    relu: flag(false),
  },
  solve,
  proofs,
  mount,
};
