// A weight to scale: a matrix for each place of the kernel, a row for each map that goes out. Its numbers
// are cut from one large matrix of some numbers, which is painted once.

import { colours, css, diverging } from "./colours.js";
import { raster, shades } from "./raster.js";
import { shown } from "../format.js";
import { h, widthOf, write } from "../dom.js";
import { uniform } from "../mathematics/seed.js";

const MOST = 512; // rows and columns of the large matrix
const HEIGHT = 288; // pixels that the matrices may take
const SIDE = 104; // pixels at the right for the label of a row
const GAP = 6;
const EDGE = 2; // around everything, so that the frame of a row is not cut
const SHIFT = 37; // rows and columns between what two places of the kernel show
const SEED = 3;

/** The largest power of two of pixels for a weight by which all fit. */
function scaleOf(width, height, room) {
  return 2 ** Math.floor(Math.log2(Math.min(room / width, HEIGHT / height)));
}

/** The blocks of one matrix at (x, y), one for each group, and a frame around its first row. */
function drawMatrix(context, numbers, [x, y], { inputs, outputs, groups }, unit, shift) {
  const [w, t] = [inputs / groups, outputs / groups];
  const { line, paper, ink } = colours();
  context.fillStyle = css(paper);
  context.fillRect(x, y, inputs * unit, outputs * unit);
  context.strokeStyle = css(line);
  context.strokeRect(x - 0.5, y - 0.5, inputs * unit + 1, outputs * unit + 1);
  for (let g = 0; g < groups; g += 1) {
    const [left, top] = [(shift + g * w) % (MOST - w + 1), (shift + g * t) % (MOST - t + 1)];
    context.drawImage(numbers, left, top, w, t, x + g * w * unit, y + g * t * unit, w * unit, t * unit);
  }
  context.strokeStyle = css(ink);
  context.strokeRect(x - 0.5, y - 0.5, w * unit + 1, Math.max(unit, 1) + 1);
}

/** A drawing; `draw({ inputs, outputs, kernel, groups, bias })` fills it. */
export function weightDrawing() {
  const canvas = h("canvas", { role: "img" });
  const context = canvas.getContext("2d");
  const [above, beside] = [h("b", { class: "channels" }), h("b", { class: "channels" })];
  const row = h("p", { class: "row" }, "one filter", h("br"), "of ", beside);
  const box = h("div", { class: "weights" }, h("p", {}, above, " in"), canvas, row);
  const large = raster(MOST, MOST, "");
  const numbers = uniform(SEED, MOST * MOST);
  let painted;

  function paintOnce() {
    if (painted === colours()) return;
    painted = colours();
    const shade = shades(diverging, 1);
    large.paint((n) => shade(numbers[n]));
  }

  const draw = (layer) => {
    paintOnce();
    const { inputs, outputs, kernel, bias } = layer;
    const unit = scaleOf(inputs * kernel, outputs * kernel, widthOf(box) - SIDE - GAP * (kernel + 1));
    const [w, t] = [inputs * unit + GAP, outputs * unit + GAP];
    const column = Math.max(unit, 2);
    canvas.width = kernel * w - GAP + 2 * EDGE + (bias ? GAP + column : 0);
    canvas.height = Math.max(kernel * t - GAP, 1) + 2 * EDGE;
    context.imageSmoothingEnabled = unit < 1;
    for (let tap = 0; tap < kernel * kernel; tap += 1) {
      const corner = [EDGE + (tap % kernel) * w, EDGE + Math.floor(tap / kernel) * t];
      drawMatrix(context, large.canvas, corner, layer, unit, tap * SHIFT);
    }
    context.fillStyle = css(colours().ink);
    if (bias) context.fillRect(EDGE + kernel * w, EDGE, column, outputs * unit);
    write(above, `${shown(inputs)} maps`);
    write(beside, shown(outputs));
    canvas.setAttribute("aria-label", `${kernel * kernel} matrices of ${outputs} rows and ${inputs} columns`);
  };
  return { box, draw };
}
