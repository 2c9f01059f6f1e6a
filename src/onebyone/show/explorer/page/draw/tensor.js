// A feature map as its positions, a grid, and its channels, a bar: both to scale.

import { s } from "../dom.js";

const CELL = 11; // pixels from one position to the next
const BAR = 14;
const [GAP, LINE] = [10, 18];

/**
 * An SVG drawing of `side` x `side` positions, of which `read(row, column)` are solid, and of `channels` on a
 * scale of `perChannel` pixels; those behind `full` are zeros, and hollow. `draw({ side, channels, ... })`.
 */
export function tensor() {
  const svg = s("svg", { class: "tensor", role: "img" });
  const draw = ({ side, channels, full = channels, perChannel, read = () => true }) => {
    const grid = Array.from({ length: side * side }, (_, n) => {
      const [row, column] = [Math.floor(n / side), n % side];
      return s("rect", {
        class: read(row, column) ? "position" : "position unread",
        x: column * CELL + 1,
        y: row * CELL + 1,
        width: CELL - 2,
        height: CELL - 2,
      });
    });
    const y = side * CELL + GAP + LINE;
    const [length, solid] = [channels * perChannel, full * perChannel];
    svg.setAttribute("height", y + BAR + LINE + 4);
    svg.setAttribute("width", Math.max(length, side * CELL, 120) + 2);
    svg.setAttribute("aria-label", `${channels} channels, ${side}×${side} positions`);
    svg.replaceChildren(
      ...grid,
      s("text", { class: "positions", x: 1, y: y - GAP + 2 }, `${side}×${side} positions`),
      s("rect", { class: "channel", x: 1, y, width: Math.max(solid, 1), height: BAR }),
      full < channels ? s("rect", { class: "channel zeros", x: solid + 1, y, width: length - solid, height: BAR }) : "",
      s("text", { class: "channels", x: 1, y: y + BAR + LINE - 2 }, channelsText(channels, full)),
    );
  };
  return { svg, draw };
}

function channelsText(channels, full) {
  return full < channels ? `${full} channels, ${channels - full} of zeros` : `${channels} channels`;
}
