// An image becomes a vector: its rows move behind one another.

import { css } from "./colours.js";
import { h } from "../dom.js";

const HEIGHT = 112; // of the canvas, which is as wide as the vector is long
const STRIP = 48; // height of the vector

/** A canvas; `draw(x, rows, colour, share)` shows x on its way from an image of `rows` rows to a vector. */
export function reshape(length, label) {
  const attributes = { width: length, height: HEIGHT, role: "img", "aria-label": label, class: "reshape" };
  const canvas = h("canvas", attributes);
  const context = canvas.getContext("2d");
  const draw = (x, rows, colour, share) => {
    const columns = x.length / rows;
    const cell = HEIGHT / rows;
    const top = (HEIGHT - STRIP) / 2;
    const eased = share * share * (3 - 2 * share);
    const between = (from, to) => from + (to - from) * eased;
    context.clearRect(0, 0, length, HEIGHT);
    x.forEach((value, n) => {
      const [row, column] = [Math.floor(n / columns), n % columns];
      context.fillStyle = css(colour(value));
      const [left, height] = [between(column * cell, n), between(cell, STRIP)];
      context.fillRect(left, between(row * cell, top), between(cell, 1) + 0.5, height);
    });
  };
  return { canvas, draw };
}
