// Space maps: what acts on positions, the same way in every channel, one axis after the other.
//   (S x)[i] = sum_t weight[i, t] x[index[i, t]]
// An axis map is { outputs, taps, index, weight }; index and weight have a row for each output.

const ACROSS = 8; // zeros that padding puts on each side

/** The axis map whose tap t of output i is tap(i, t) => [index, weight]. */
function axisMap(outputs, taps, tap) {
  const pairs = Array.from({ length: outputs * taps }, (_, n) => tap(Math.floor(n / taps), n % taps));
  const [index, weight] = [Int32Array.from(pairs, ([from]) => from), Float64Array.from(pairs, ([, by]) => by)];
  return { outputs, taps, index, weight };
}

/** Each output copies the input at from(i). */
function selection(outputs, from) {
  return axisMap(outputs, 1, (i) => [from(i), 1]);
}

function average(size) {
  return axisMap(Math.floor(size / 2), 2, (i, t) => [2 * i + t, 1 / 2]);
}

/** Twice as many, with the centres of pixels where they were ("half pixel"). */
function bilinear(size) {
  return axisMap(2 * size, 2, (i, t) => {
    const at = (i + 0.5) / 2 - 0.5;
    const low = Math.floor(at);
    const near = Math.max(0, Math.min(size - 1, low + t));
    return [near, t ? at - low : 1 - (at - low)];
  });
}

function crop(size) {
  const cut = Math.floor(size / 4);
  return selection(size - 2 * cut, (i) => i + cut);
}

function padding(size) {
  const inside = (i) => i >= ACROSS && i < ACROSS + size;
  return axisMap(size + 2 * ACROSS, 1, (i) => (inside(i) ? [i - ACROSS, 1] : [0, 0]));
}

/**
 * What may stand beside a 1x1. `axis(size)` is its map along an axis of that size, which the maximum
 * has not: it is not linear. `keepsConstants`: S 1 = 1; `selects`: each output copies one input.
 */
export const SPACES = {
  average: { axis: average, keepsConstants: true, selects: false },
  bilinear: { axis: bilinear, keepsConstants: true, selects: false },
  nearest: { axis: (size) => selection(2 * size, (i) => i >> 1), keepsConstants: true, selects: true },
  stride: { axis: (size) => selection((size + 1) >> 1, (i) => 2 * i), keepsConstants: true, selects: true },
  crop: { axis: crop, keepsConstants: true, selects: true },
  padding: { axis: padding, keepsConstants: false, selects: false },
  maximum: { keepsConstants: true, selects: false },
};

/** x (n, size, step) along its middle axis: (n, outputs, step). */
function along({ outputs, taps, index, weight }, x, size, step) {
  const n = x.length / (size * step);
  const y = new Float64Array(n * outputs * step);
  for (let k = 0; k < n * outputs; k += 1) {
    const [block, i] = [Math.floor(k / outputs), k % outputs];
    for (let t = i * taps; t < (i + 1) * taps; t += 1) {
      const [from, by] = [(block * size + index[t]) * step, weight[t]];
      for (let p = 0; p < step; p += 1) y[k * step + p] += by * x[from + p];
    }
  }
  return y;
}

/** The largest of each window of 2x2. */
function maximum(x, height, width) {
  const [rows, columns] = [height >> 1, width >> 1];
  const channels = x.length / (height * width);
  return Float64Array.from({ length: channels * rows * columns }, (_, n) => {
    const [channel, row] = [Math.floor(n / (rows * columns)), Math.floor(n / columns) % rows];
    const at = (channel * height + 2 * row) * width + 2 * (n % columns);
    return Math.max(x[at], x[at + 1], x[at + width], x[at + width + 1]);
  });
}

/** The [height, width] that the space map `name` makes of that of its input. */
export function sizeAfter(name, [height, width]) {
  const { axis } = SPACES[name];
  return axis ? [axis(height).outputs, axis(width).outputs] : [height >> 1, width >> 1];
}

/** S x for x (channels, height, width): (channels, height', width'). */
export function applySpace(name, x, [height, width]) {
  const { axis } = SPACES[name];
  if (!axis) return maximum(x, height, width);
  const [rows, columns] = [axis(height), axis(width)];
  return along(columns, along(rows, x, height, width), width, 1);
}
