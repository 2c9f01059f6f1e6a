// Terms that add up: each bar begins where the one before ended, the last runs from zero to the sum.

import { s } from "../dom.js";

const WIDTH = 240;
const HEIGHT = 24;
const BOX = { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none" };

function scaleOf(ends) {
  const most = Math.max(1, ...ends.map(Math.abs));
  return 2 ** Math.ceil(Math.log2(most));
}

/** `count` bars, one a row of a table, and `draw(terms)`; the last bar is the sum of the terms. */
export function waterfall(count) {
  const rows = Array.from({ length: count }, () => {
    const bar = s("rect", { y: 4, height: HEIGHT - 8 });
    const from = s("line", { y1: 0, y2: HEIGHT, class: "from" });
    const zero = s("line", { x1: WIDTH / 2, x2: WIDTH / 2, y1: 0, y2: HEIGHT, class: "zero" });
    const svg = s("svg", { ...BOX, class: "waterfall", "aria-hidden": "true" }, zero, bar, from);
    return { svg, bar, from };
  });
  const draw = (terms) => {
    const ends = [0];
    for (const term of terms) ends.push(ends.at(-1) + term);
    const scale = scaleOf(ends);
    const x = (value) => WIDTH / 2 + (value / scale) * (WIDTH / 2 - 2);
    rows.forEach(({ bar, from }, n) => {
      const [a, b] = n < terms.length ? [ends[n], ends[n + 1]] : [0, ends.at(-1)];
      bar.setAttribute("x", Math.min(x(a), x(b)));
      bar.setAttribute("width", Math.max(0.5, Math.abs(x(b) - x(a))));
      bar.setAttribute("class", b < a ? "negative" : "positive");
      from.setAttribute("x1", x(b));
      from.setAttribute("x2", x(b));
    });
  };
  return { rows: rows.map(({ svg }) => svg), draw };
}
