// Bars from a line in the middle, one a row, as high as the raster beside them.

import { colours, css } from "./colours.js";
import { h } from "../dom.js";

const WIDTH = 320;
const HEIGHT = 512; // about that of the canvas: a whole number of pixels for each bar
const GAP = 0.2; // of a row is left free

/** A canvas of bars; `paint(values, most, chosen)` draws them, -most at the left, and marks one. */
export function bars(label) {
  const canvas = h("canvas", { role: "img", "aria-label": label, class: "bars", width: WIDTH });
  const context = canvas.getContext("2d");
  const paint = (values, most, chosen) => {
    const { channels, positions, ink, line } = colours();
    const step = Math.max(4, Math.round(HEIGHT / values.length));
    canvas.height = step * values.length;
    const gap = Math.max(0.5, Math.round((GAP * step) / 2));
    const middle = WIDTH / 2;
    context.fillStyle = css(line);
    context.fillRect(middle - 1, 0, 2, canvas.height);
    values.forEach((value, row) => {
      const length = (value / most) * (middle - 2);
      context.fillStyle = css(row === chosen ? ink : value < 0 ? positions : channels);
      context.fillRect(Math.min(middle, middle + length), step * row + gap, Math.abs(length), step - 2 * gap);
    });
  };
  return { canvas, paint };
}
