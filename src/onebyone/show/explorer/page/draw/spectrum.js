// Singular values on a logarithmic scale: those that count, and those that are zeros that were rounded.

import { s, widthOf } from "../dom.js";

const HEIGHT = 260;
const LEFT = 44;
const TOP = 8;
const DECADES = 17;
const AT_END = { "text-anchor": "end" };
const ON_BARS = { class: "on" };
const EXPONENTS = [0, -4, -8, -12, -16];

function yOf(share) {
  return TOP + (Math.min(DECADES, -Math.log10(Math.max(share, Number.MIN_VALUE))) / DECADES) * (HEIGHT - TOP);
}

function label(x, y, text, attributes = {}) {
  return s("text", { x, y, ...attributes }, text);
}

/** An SVG drawing; `draw(values, least, rank)` fills it, `least` the size of a rounded zero. */
export function spectrum() {
  const svg = s("svg", { class: "spectrum", role: "img", height: HEIGHT + 24 });
  const draw = (values, least, rank) => {
    const width = widthOf(svg);
    const step = (width - LEFT) / values.length;
    const x = (n) => LEFT + n * step;
    const axis = EXPONENTS.flatMap((exponent) => {
      const y = yOf(10 ** exponent);
      return [
        s("line", { x1: LEFT, x2: width, y1: y, y2: y, class: "axis" }),
        label(LEFT - 6, y + 4, exponent ? `10${superscript(exponent)}` : "1", AT_END),
      ];
    });
    const bars = Array.from(values, (value, n) => {
      const y = yOf(value / values[0]);
      const size = { x: x(n), y, width: Math.max(step - 0.6, 0.5), height: HEIGHT - y };
      return s("rect", { ...size, class: value > least ? "value" : "rounding" });
    });
    const y = yOf(least / values[0]);
    const all = rank === values.length;
    svg.replaceChildren(
      ...axis,
      ...bars,
      s("line", { x1: LEFT, x2: width, y1: y, y2: y, class: "threshold" }),
      label(all ? LEFT + 8 : width, y - 6, "below: zeros, rounded", all ? ON_BARS : AT_END),
      label(LEFT, HEIGHT + 18, "1"),
      label(width, HEIGHT + 18, String(values.length), AT_END),
      all
        ? label(LEFT + 8, yOf(1e-6), `none of the ${rank} is zero`, ON_BARS)
        : label(x(rank) + 8, yOf(0.003), `${rank} are not zero, ${values.length - rank} are`, { class: "told-rank" }),
    );
    svg.setAttribute("aria-label", `${values.length} singular values, of which ${rank} are not zero`);
  };
  return { svg, draw };
}

function superscript(exponent) {
  return String(exponent).replace(/./g, (digit) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(digit)]);
}
