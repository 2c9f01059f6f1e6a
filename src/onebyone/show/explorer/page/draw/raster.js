// A canvas that shows one pixel for each number or each triple of numbers.

import { colours } from "./colours.js";
import { h } from "../dom.js";

/** A canvas of `height` rows and `width` columns, and `paint(colour)`, colour(n) => [r, g, b] or undefined. */
export function raster(height, width, label) {
  const canvas = h("canvas", { width, height, role: "img", "aria-label": label, class: "raster" });
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const paint = (colour) => {
    const { paper } = colours();
    for (let n = 0; n < height * width; n += 1) {
      image.data.set(colour(n) ?? paper, 4 * n);
      image.data[4 * n + 3] = 255;
    }
    context.putImageData(image, 0, 0);
  };
  return { canvas, paint };
}

/** diverging() at 511 levels, for rasters of many numbers. */
export function levels(scale) {
  const table = Array.from({ length: 511 }, (_, n) => scale((n - 255) / 255));
  return (t) => table[Math.round(255 * Math.max(-1, Math.min(1, t))) + 255];
}
