// A small network slid over positions: y[p] = v · relu(W x[window of p] + b), what is outside being zero.

import { convolve, dense } from "./convolution.js";
import { pointwise, sum } from "./pointwise.js";
import { uniform } from "./seed.js";

function relu(values) {
  return values.map((value) => Math.max(0, value));
}

/** The map (H·W) of a network of one window, kernel × kernel, over x, whose `shape` is [C, H, W]. */
export function slid(x, shape, kernel, W, b, v) {
  const padding = (kernel - 1) / 2;
  const hidden = relu(convolve(x, shape, W, [kernel, kernel], { padding, b }));
  return pointwise(v, hidden, shape[1] * shape[2]);
}

/** What is under the window around (row, column), channel by channel, row by row. */
export function under(x, [channels, height, width], kernel, row, column) {
  const reach = (kernel - 1) / 2;
  const values = [];
  for (let c = 0; c < channels; c += 1) {
    for (let r = row - reach; r <= row + reach; r += 1) {
      for (let k = column - reach; k <= column + reach; k += 1) {
        const inside = r >= 0 && r < height && k >= 0 && k < width;
        values.push(inside ? x[(c * height + r) * width + k] : 0);
      }
    }
  }
  return Float64Array.from(values);
}

/** The same network on one window: its hidden units before their ReLU, and its output. */
export function once(values, W, b, v) {
  const units = dense(W, values).map((total, unit) => total + b[unit]);
  return { units, y: sum(relu(units).map((value, unit) => v[unit] * value)) };
}

/** An order of `count` positions: those of the numbers of a seed, sorted. */
export function order(seed, count) {
  const keys = uniform(seed, count);
  return Uint32Array.from(keys.keys()).sort((a, b) => keys[a] - keys[b]);
}

/** Every map of x (C, positions) with its positions in another order. */
export function reordered(x, places) {
  const count = places.length;
  return Float64Array.from(x, (_, n) => x[n - (n % count) + places[n % count]]);
}
