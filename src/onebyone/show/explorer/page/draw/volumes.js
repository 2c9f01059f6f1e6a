// Feature maps as boxes in a row, with the layers between them: a box is as long as it has channels,
// and its end is its positions.

import { s, widthOf } from "../dom.js";

const [HIGH, LOW] = [96, 64]; // of a box, in pixels, where there is room and where there is little
const NARROW = 520;
const [SLANT, RISE] = [0.34, 0.24]; // of the height: how far the end goes right and up
const LONGEST = 0.55; // pixels a channel
const ARC = 26;
const LINE = 18;

function corners(points) {
  return points.map((point) => point.join()).join(" ");
}

/** A box of `length` whose front's lower left corner is (x, y). */
function box(x, y, length, high) {
  const [dx, dy] = [SLANT * high, RISE * high];
  const [right, top] = [x + length, y - high];
  return s(
    "g",
    {},
    s("rect", { class: "front", x, y: top, width: length, height: high }),
    s("polygon", { class: "top", points: corners([[x, top], [x + dx, top - dy], [right + dx, top - dy], [right, top]]) }),
    s("polygon", { class: "end", points: corners([[right, top], [right + dx, top - dy], [right + dx, y - dy], [right, y]]) }),
  );
}

function text(x, y, content, attributes = {}) {
  return s("text", { x, y, "text-anchor": "middle", ...attributes }, content);
}

/** From one box to the next: an arrow in the middle of the gap, with the name of the layer above. */
function arrow(from, to, y, { name, note }) {
  const middle = (from + to) / 2;
  return [
    s("path", { class: "arrow", d: `M${from} ${y}H${to}m-5 -4l5 4l-5 4` }),
    text(middle, y - 10, name, { class: "layer" }),
    note ? text(middle, y + 20, note, { class: "number" }) : "",
  ];
}

/** What the number under the first box counts, and what its end is. */
function units(x, y, positions) {
  const part = (name, words) => s("tspan", { class: name }, words);
  return s("text", { x, y }, part("channels", "maps"), part("", " of "), part("positions", `${positions} positions`));
}

/** Boxes of `row.channels` with the layers `row.layers` between, from (left, y) on. */
function drawRow(row, left, y, { unit, high, gap, notes, positions }) {
  const slant = SLANT * high;
  const parts = [];
  let x = left;
  const ends = row.channels.map((channels, n) => {
    const length = Math.max(2, channels * unit);
    parts.push(box(x, y, length, high), text(x + length / 2, y + LINE, String(channels), { class: "channels" }));
    if (!n) parts.push(units(x, y + 2 * LINE, positions));
    const end = x + length + slant;
    if (n < row.layers.length) {
      const layer = { ...row.layers[n], note: notes ? row.layers[n].note : "" };
      parts.push(...arrow(end + 4, end + gap - 4, y - high / 2 - (RISE * high) / 2, layer));
    }
    x = end + gap;
    return end;
  });
  return { parts, end: ends.at(-1), first: ends[0] };
}

/** The skip: over the boxes, from the first to the last. */
function arc(from, to, top, label) {
  const above = top - ARC;
  return [
    s("path", { class: "arrow", d: `M${from} ${top - 4}V${above}H${to}V${top - 4}m-4 -5l4 5l4 -5` }),
    text((from + to) / 2, above - 6, label),
  ];
}

/**
 * An SVG drawing; `draw(rows, positions)` puts rows { channels: [256, 64], layers: [{ name, note }],
 * title, skip? } below each other, on one scale.
 */
export function volumes() {
  const svg = s("svg", { class: "volumes", role: "img" });
  const draw = (rows, positions) => {
    const width = widthOf(svg);
    const notes = width > NARROW;
    const [high, gap] = notes ? [HIGH, 84] : [LOW, 40];
    const fixed = ({ channels, layers }) => channels.length * SLANT * high + layers.length * gap;
    const units = rows.map((row) => (width - fixed(row) - 4) / row.channels.reduce((a, b) => a + b));
    const unit = Math.min(LONGEST, ...units);
    const [above, below] = [RISE * high, 68];
    let y = 0;
    const parts = rows.flatMap((row) => {
      const title = text(0, y + 14, row.title, { class: "title", "text-anchor": "start" });
      const top = y + 24 + (row.skip ? ARC + 24 : 12) + above;
      y = top + high + below;
      const drawn = drawRow(row, 2, top + high, { unit, high, gap, notes, positions });
      const slant = SLANT * high;
      const over = row.skip ? arc(slant, drawn.end - slant / 2, top - above, row.skip) : [];
      return [title, ...drawn.parts, ...over];
    });
    svg.setAttribute("height", y - 26);
    svg.setAttribute("aria-label", `${rows.map(({ channels }) => channels.join(" → ")).join("; ")} channels, ${positions} positions`);
    svg.replaceChildren(...parts);
  };
  return { svg, draw };
}
