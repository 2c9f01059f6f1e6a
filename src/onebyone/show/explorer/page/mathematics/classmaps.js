// A classifier by class maps: convolutions, one map for each class, and what is pooled of each map.

import { convolve, dense, places } from "./convolution.js";
import { pointwise, sum } from "./pointwise.js";

/** The layers, from their bytes and what is told of them: [{ W, b, stride, kernel, outputs }]. */
export function decoded(bytes, { layers }) {
  let at = 0;
  return layers.map(({ shape, stride, exponents, bias }) => {
    const [outputs, inputs, kernel] = shape;
    const size = inputs * kernel * kernel;
    const whole = Int8Array.from(bytes.subarray(at, (at += outputs * size)));
    const W = Float64Array.from(whole, (value, n) => value * 2 ** exponents[Math.floor(n / size)]);
    return { W, b: Float64Array.from(bias), stride, kernel, outputs };
  });
}

/** What all layers but the last make of an image (height, width): { values, shape: [channels, h, w] }. */
export function featuresOf(image, [height, width], layers) {
  let [values, shape] = [image, [1, height, width]];
  for (const { W, b, stride, kernel, outputs } of layers.slice(0, -1)) {
    const padding = (kernel - 1) / 2;
    values = convolve(values, shape, W, [kernel, kernel], { stride, padding, b }).map((value) => Math.max(0, value));
    shape = [outputs, ...shape.slice(1).map((size) => places(size, kernel, stride, padding))];
  }
  return { values, shape };
}

/** One map (positions) for each class, in a row. */
export function mapsOf(features, positions, { W, b }) {
  return pointwise(W, features, positions, b);
}

/** The mean of each map. */
export function means(maps, positions) {
  return Float64Array.from({ length: maps.length / positions }, (_, n) => {
    return sum(maps.subarray(n * positions, (n + 1) * positions)) / positions;
  });
}

/** The last layer, fully connected, on the means of the features. */
export function scoresOfMeans(features, positions, { W, b }) {
  return dense(W, means(features, positions)).map((value, n) => value + b[n]);
}

/** Every map (height, width) with its columns from right to left. */
export function mirrored(maps, width) {
  return maps.map((_, n) => maps[n - (n % width) + (width - 1 - (n % width))]);
}
