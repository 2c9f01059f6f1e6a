// A cloud of points in a square: one small dot each.

import { colours, css } from "./colours.js";
import { h } from "../dom.js";

const SIDE = 480; // of the canvas
const DOT = 7;

/** A canvas of dots; `paint(x, y, colour)` puts the n-th at (x[n], y[n]) in [0, 1], in colour(n). */
export function cloud(label) {
  const canvas = h("canvas", { role: "img", "aria-label": label, class: "cloud", width: SIDE, height: SIDE });
  const context = canvas.getContext("2d");
  const paint = (x, y, colour) => {
    context.fillStyle = css(colours().paper);
    context.fillRect(0, 0, SIDE, SIDE);
    x.forEach((across, n) => {
      context.fillStyle = css(colour(n));
      context.fillRect(across * (SIDE - DOT), (1 - y[n]) * (SIDE - DOT), DOT, DOT);
    });
  };
  return { canvas, paint };
}
