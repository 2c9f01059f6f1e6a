// A fully connected layer: a strip of inputs, a strip of units, and the lines to one of the units,
// coloured by what they add to it.

import { colours, css, diverging, ramp } from "./colours.js";
import { largest, shades } from "./raster.js";
import { h } from "../dom.js";

const [WIDTH, HEIGHT] = [960, 392]; // of the canvas: half a pixel for each input
const STRIP = 28;
const MARK = 6;

/** A canvas; `draw(x, terms, y, unit)` shows the inputs, the products of one unit and all outputs. */
export function connections(label) {
  const canvas = h("canvas", { width: WIDTH, height: HEIGHT, role: "img", "aria-label": label, class: "connections" });
  const context = canvas.getContext("2d");
  const draw = (x, terms, y, unit) => {
    const { ink, line: faint } = colours();
    const at = (n, count) => ((n + 0.5) / count) * HEIGHT;
    const right = WIDTH - STRIP;
    context.clearRect(0, 0, WIDTH, HEIGHT);
    const line = shades(diverging, largest(terms));
    const join = (n) => {
      context.beginPath();
      context.moveTo(STRIP, at(n, terms.length));
      context.lineTo(right, at(unit, y.length));
      context.stroke();
    };
    context.strokeStyle = css(faint);
    terms.forEach((_, n) => join(n));
    const seen = Array.from(terms.keys()).filter((n) => terms[n]);
    const order = seen.sort((a, b) => Math.abs(terms[a]) - Math.abs(terms[b])); // the strongest on top
    for (const n of order) {
      context.strokeStyle = css(line(terms[n]));
      join(n);
    }
    strip(context, 0, x, ramp);
    strip(context, right, y, shades(diverging, largest(y)));
    context.strokeStyle = css(ink);
    context.lineWidth = 2;
    context.strokeRect(right - 1, at(unit, y.length) - MARK / 2, STRIP, MARK);
    context.lineWidth = 1;
  };
  return { canvas, draw };
}

function strip(context, left, values, colour) {
  const height = HEIGHT / values.length;
  values.forEach((value, n) => {
    context.fillStyle = css(colour(value));
    context.fillRect(left, n * height, STRIP, height + 0.5);
  });
}
