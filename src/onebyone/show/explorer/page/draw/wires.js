// Who sees whom: channels as dots, a line for each weight between two of them.

import { s, widthOf } from "../dom.js";

const CHANNELS = 8; // that are drawn of however many there are
const [STEP, RADIUS, SIDE, TOP] = [22, 4, 24, 26];

/** An SVG drawing; `draw([{ name, full }])` has a layer for each: all to all if `full`, else each to its own. */
export function wires() {
  const svg = s("svg", { class: "wires", role: "img", height: TOP + STEP * CHANNELS });
  const draw = (layers) => {
    const width = widthOf(svg);
    const x = (n) => SIDE + (n / layers.length) * (width - 2 * SIDE);
    const y = (channel) => TOP + STEP * (channel + 0.5);
    const each = Array.from({ length: CHANNELS }, (_, channel) => channel);
    const lines = layers.flatMap(({ full }, n) =>
      each.flatMap((from) =>
        (full ? each : [from]).map((to) => s("line", { x1: x(n), y1: y(from), x2: x(n + 1), y2: y(to), class: full ? "thin" : "thick" })),
      ),
    );
    const dots = Array.from({ length: layers.length + 1 }, (_, n) => each.map((channel) => s("circle", { cx: x(n), cy: y(channel), r: RADIUS })));
    const names = layers.map(({ name }, n) => s("text", { x: (x(n) + x(n + 1)) / 2, y: 14, "text-anchor": "middle" }, name));
    svg.setAttribute("aria-label", layers.map(({ name, full }) => `${name}: ${full ? "each sees all" : "each sees itself"}`).join("; "));
    svg.replaceChildren(...lines, ...dots.flat(), ...names);
  };
  return { svg, draw };
}
