// Convolutions of any kernel, as networks mean them (cross-correlations), channels first.

/** How many places a window of `kernel` has along an axis of `size`. */
export function places(size, kernel, stride = 1, padding = 0) {
  return Math.floor((size + 2 * padding - kernel) / stride) + 1;
}

/** The sum of one filter over the window whose corner is (top, left); what is outside x is zero. */
function windowSum(x, [channels, height, width], filter, rows, columns, top, left) {
  let total = 0;
  for (let c = 0; c < channels; c += 1) {
    for (let r = Math.max(0, -top); r < Math.min(rows, height - top); r += 1) {
      const from = (c * height + top + r) * width + left;
      const weight = (c * rows + r) * columns;
      const end = Math.min(columns, width - left);
      for (let k = Math.max(0, -left); k < end; k += 1) total += filter[weight + k] * x[from + k];
    }
  }
  return total;
}

/**
 * y (O, H', W') of x (C, H, W) under `weight` (O, C, rows, columns), row by row; b (O) may be left out.
 * `shape` is [C, H, W], `kernel` [rows, columns].
 */
export function convolve(x, shape, weight, kernel, { stride = 1, padding = 0, b } = {}) {
  const [rows, columns] = kernel;
  const high = places(shape[1], rows, stride, padding);
  const wide = places(shape[2], columns, stride, padding);
  const size = shape[0] * rows * columns;
  const outputs = weight.length / size;
  const y = new Float64Array(outputs * high * wide);
  for (let o = 0; o < outputs; o += 1) {
    const filter = weight.subarray(o * size, (o + 1) * size);
    for (let p = 0; p < high * wide; p += 1) {
      const top = Math.floor(p / wide) * stride - padding;
      const left = (p % wide) * stride - padding;
      y[o * high * wide + p] = windowSum(x, shape, filter, rows, columns, top, left) + (b ? b[o] : 0);
    }
  }
  return y;
}

/** W x, a fully connected layer: W (units, inputs), x (inputs). */
export function dense(W, x) {
  const inputs = x.length;
  return Float64Array.from({ length: W.length / inputs }, (_, unit) => {
    let total = 0;
    for (let i = 0; i < inputs; i += 1) total += W[unit * inputs + i] * x[i];
    return total;
  });
}

/** The largest difference of two arrays. */
export function difference(a, b) {
  return a.reduce((most, value, n) => Math.max(most, Math.abs(value - b[n])), 0);
}
