// Figure 4: three products and a bias at one pixel make one number of the map.

import { button } from "../controls.js";
import { css, diverging } from "../draw/colours.js";
import { animate } from "../draw/motion.js";
import { largest, raster, shades } from "../draw/raster.js";
import { divergingScale } from "../draw/scale.js";
import { picker } from "../draw/picker.js";
import { waterfall } from "../draw/waterfall.js";
import { fixed } from "../format.js";
import { figure, h, write } from "../dom.js";
import { pointwise, products, sum } from "../mathematics/pointwise.js";
import { flag, integer, number } from "../state.js";

const HEIGHT = 63;
const WIDTH = 84;
const CHANNELS = ["red", "green", "blue"];
const SLIDE = 3000; // ms from the first position to the last

function solve(state, { picture }) {
  const weights = Float64Array.of(state.red, state.green, state.blue);
  const positions = HEIGHT * WIDTH;
  const position = state.row * WIDTH + state.column;
  const x = CHANNELS.map((_, c) => picture.values[c * positions + position]);
  const terms = products(weights, picture.values, position, positions);
  const map = pointwise(weights, picture.values, positions, [state.bias]);
  return { x, terms, y: sum(terms) + state.bias, map, positions, parameters: weights.length + 1 };
}

function proofs({ y, positions, parameters }) {
  return [
    { name: "pixel.y", value: y, label: "the number that the map has at this pixel" },
    { name: "pixel.parameters", value: parameters, label: "numbers are all that the layer knows" },
    { name: "pixel.positions", value: positions, label: "positions use the same ones" },
  ];
}

/** One row of the sum: name, x, slider of the weight, product, bar. */
function term(name, slider, bar, kind = "") {
  const [x, product] = ["number", "number product"].map((names) => h("span", { class: names }));
  const swatch = h("i", { class: "swatch" });
  const row = h("div", { class: `term ${kind}` }, h("span", { class: "name" }, swatch, name), x, slider, product, bar);
  return { x, product, swatch, row };
}

function channels(text) {
  return h("b", { class: "channels" }, text);
}

function positionsOf(text) {
  return h("b", { class: "positions" }, text);
}

function mount(root, ui) {
  const image = raster(HEIGHT, WIDTH, "A photograph of an astronaut in an orange suit");
  const map = raster(HEIGHT, WIDTH, "The map: orange where it is negative, blue where it is positive");
  const pick = (row, column) => ui.set({ row, column });
  const from = picker(image.canvas, "The pixel of the image. Arrow keys move it.", pick);
  const to = picker(map.canvas, "The same position of the map. Arrow keys move it.", pick);
  const size = `${HEIGHT} × ${WIDTH} positions`;
  const bars = waterfall(5);
  const rows = CHANNELS.map((name, c) =>
    term(name, ui.slider(name, `weight of ${name}`, { accent: "channels" }), bars.rows[c]),
  );
  const bias = term("bias", ui.slider("bias", "bias", { accent: "channels" }), bars.rows[3]);
  const total = term("sum", h("span", {}), bars.rows[4], "total");
  const scale = divergingScale();
  const painted = new Uint8Array(HEIGHT * WIDTH);
  const slide = sliding(ui, painted);
  const pair = h(
    "div",
    { class: "pair" },
    figure(from.box, "in: ", channels("3 channels"), ", ", positionsOf(size)),
    figure(to.box, "out: ", channels("1 channel"), ", the same ", positionsOf("positions"), scale.box),
  );
  const start = button("Slide over the image", slide);
  const actions = h("div", { class: "actions" }, ui.flag("whole", "the whole map"), start);
  const names = ["channel", "x", "w", "x · w", "added up"].map((text) => h("span", {}, text));
  const heads = h("div", { class: "term heads", "aria-hidden": "true" }, ...names);
  const terms = [...rows, bias, total].map(({ row }) => row);
  root.append(pair, actions, h("div", { class: "terms" }, heads, ...terms));

  return (state, { x, terms, y, map: values }) => {
    const n = state.row * WIDTH + state.column;
    painted[n] = 1;
    const bytes = ui.data.picture.bytes;
    const plane = HEIGHT * WIDTH;
    image.paint((p) => [bytes[p], bytes[plane + p], bytes[2 * plane + p]]);
    const most = largest(values);
    const shade = shades(diverging, most);
    map.paint((p) => (state.whole || painted[p] ? shade(values[p]) : undefined));
    scale.draw(most);
    const place = `row ${state.row + 1}, column ${state.column + 1}`;
    const parts = CHANNELS.map((name, c) => `${name} ${fixed(x[c])}`);
    from.show(state.row, state.column, `${place}: ${parts.join(", ")}`);
    to.show(state.row, state.column, `${place}: ${fixed(y)}`);
    rows.forEach((row, c) => {
      write(row.x, fixed(x[c]));
      write(row.product, fixed(terms[c]));
      row.swatch.style.background = css(CHANNELS.map((_, k) => (k === c ? 255 * x[c] : 0)));
    });
    write(bias.product, fixed(state.bias));
    write(total.product, fixed(y));
    total.swatch.style.background = css(shade(y));
    bars.draw([...terms, state.bias]);
  };
}

/** Paints the map position by position, as the filter slides. */
function sliding(ui, painted) {
  return () => {
    let next = 0;
    painted.fill(0);
    animate(SLIDE, (share) => {
      const stop = Math.max(1, Math.round(share * painted.length));
      painted.fill(1, next, stop);
      next = stop;
      ui.set({ row: Math.floor((stop - 1) / WIDTH), column: (stop - 1) % WIDTH, whole: share === 1 });
    });
  };
}

export const panel = {
  id: "pixel",
  question: "What does a 1×1 do at one pixel?",
  claims: ["1.7", "2.17", "2.18", "2.19", "3.1", "3.2", "3.3", "3.4"],
  text: [
    'It multiplies each <b class="channels">channel</b> of the pixel by a weight of that channel, ' +
      "adds the products and a bias: <i>y</i> = Σ<sub>c</sub> <i>x</i><sub>c</sub> <i>w</i><sub>c</sub> + <i>b</i>. " +
      "That is one number, the map’s at this pixel. No other pixel is asked, " +
      "and the weights are the same everywhere.",
    "Drag over the image, or use the arrow keys. With these weights the map tells blue from orange.",
  ],
  state: {
    row: integer(38, 0, HEIGHT - 1),
    column: integer(18, 0, WIDTH - 1),
    red: number(-0.8, -1, 1, 0.05),
    green: number(0.1, -1, 1, 0.05),
    blue: number(0.9, -1, 1, 0.05),
    bias: number(0, -1, 1, 0.05),
    whole: flag(true),
  },
  solve,
  proofs,
  mount,
};
