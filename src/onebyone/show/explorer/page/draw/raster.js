// A canvas that shows one pixel for each number or each triple of numbers.

import { colours } from "./colours.js";
import { h } from "../dom.js";

/**
 * A canvas of `height` rows and `width` columns. `paint(colour)` asks colour(n) => [r, g, b], or
 * undefined for paper, of each; `resize(height, width)` changes how many there are.
 */
export function raster(height, width, label) {
  const canvas = h("canvas", { role: "img", "aria-label": label, class: "raster" });
  const context = canvas.getContext("2d");
  let image;
  const resize = (rows, columns) => {
    if (image && canvas.height === rows && canvas.width === columns) return;
    canvas.height = rows;
    canvas.width = columns;
    image = context.createImageData(columns, rows);
    image.data.fill(255);
  };
  const paint = (colour) => {
    const { paper } = colours();
    const { data } = image;
    for (let n = 0; 4 * n < data.length; n += 1) {
      const [red, green, blue] = colour(n) ?? paper;
      data[4 * n] = red;
      data[4 * n + 1] = green;
      data[4 * n + 2] = blue;
    }
    context.putImageData(image, 0, 0);
  };
  resize(height, width);
  return { canvas, paint, resize };
}

/** Colours of numbers from -most to most on a scale of t from -1 to 1, looked up. */
export function shades(scale, most) {
  const table = Array.from({ length: 511 }, (_, n) => scale((n - 255) / 255));
  return (value) => table[Math.round(255 * Math.max(-1, Math.min(1, value / most))) + 255];
}

/** The largest size of the numbers, one if all are zero. */
export function largest(values) {
  return values.reduce((most, value) => Math.max(most, Math.abs(value)), 0) || 1;
}
