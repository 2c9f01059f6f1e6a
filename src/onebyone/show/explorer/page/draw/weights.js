// A weight to scale: a matrix for each place of the kernel, a row for each map that goes out.

import { s, widthOf } from "../dom.js";
import { shown } from "../format.js";

const HEIGHT = 288; // pixels that the matrices may take
const TOP = 24;
const SIDE = 96; // pixels at the right for the label of a row
const GAP = 6;
const LEAST_ROW = 2; // pixels that a row needs to be seen

/** The largest power of two of pixels for a weight by which all fit. */
function scaleOf(width, height, room) {
  return 2 ** Math.floor(Math.log2(Math.min(room / width, HEIGHT / height)));
}

function rect(x, y, width, height, name) {
  return s("rect", { x, y, width, height, class: name });
}

/** One matrix at (x, y): its blocks, lines between its rows where there is room, one row marked. */
function matrix(x, y, { inputs, outputs, groups }, unit) {
  const [w, t] = [(inputs / groups) * unit, (outputs / groups) * unit];
  const blocks = Array.from({ length: groups }, (_, g) => rect(x + g * w, y + g * t, w, t, "block"));
  const rows = unit < LEAST_ROW ? [] : Array.from({ length: outputs - 1 }, (_, o) => (o + 1) * unit);
  const lines = rows.map((row) => s("line", { x1: x, x2: x + inputs * unit, y1: y + row, y2: y + row, class: "between" }));
  return [rect(x, y, inputs * unit, outputs * unit, "empty"), ...blocks, ...lines, rect(x, y, w, Math.max(unit, 1), "filter")];
}

/** An SVG drawing; `draw({ inputs, outputs, kernel, groups, bias })` fills it. */
export function weightDrawing() {
  const svg = s("svg", { class: "weights", role: "img" });
  const draw = (layer) => {
    const { inputs, outputs, kernel, groups, bias } = layer;
    const room = widthOf(svg) - SIDE - GAP * kernel;
    const unit = scaleOf(inputs * kernel, outputs * kernel, room);
    const [w, t] = [inputs * unit, outputs * unit];
    const parts = [];
    for (let tap = 0; tap < kernel * kernel; tap += 1) {
      const [row, column] = [Math.floor(tap / kernel), tap % kernel];
      parts.push(...matrix(column * (w + GAP), TOP + row * (t + GAP), layer, unit));
    }
    const right = kernel * (w + GAP);
    const column = Math.max(unit, 2);
    if (bias) parts.push(rect(right, TOP, column, t, "bias"));
    const beside = right + (bias ? column : 0) + 8;
    parts.push(
      s("text", { x: 0, y: TOP - 8, class: "channels" }, `${shown(inputs)} maps in`),
      s("text", { x: beside, y: TOP + 10 }, "one filter"),
      s("text", { x: beside, y: TOP + 28, class: "channels" }, `of ${shown(outputs)}`),
    );
    svg.replaceChildren(...parts);
    svg.setAttribute("height", TOP + Math.max(kernel * (t + GAP) - GAP, 40));
    svg.setAttribute("aria-label", `${kernel * kernel} matrices of ${outputs} rows and ${inputs} columns, ${groups} blocks each`);
  };
  return { svg, draw };
}
