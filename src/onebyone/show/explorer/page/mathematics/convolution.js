// Convolutions of any kernel, as networks mean them (cross-correlations), channels first.

/** How many places a window of `kernel` has along an axis of `size`. */
export function places(size, kernel, stride = 1, padding = 0) {
  return Math.floor((size + 2 * padding - kernel) / stride) + 1;
}

/** The places [first, end) at which tap `tap` of a window lies inside of an axis of `size`. */
function inside(tap, size, count, stride, padding) {
  const first = Math.max(0, Math.ceil((padding - tap) / stride));
  return [first, Math.min(count, Math.floor((size - 1 + padding - tap) / stride) + 1)];
}

/**
 * y (O, H', W') of x (C, H, W) under `weight` (O, C, rows, columns), row by row; b (O) may be left out.
 * `shape` is [C, H, W], `kernel` [rows, columns]; what is outside x is zero. Tap by tap, over all places at once: the
 * loop inside is as long as a row of y, and sums are added up in the order of the filter's numbers all the same.
 */
export function convolve(x, [channels, height, width], weight, kernel, { stride = 1, padding = 0, b } = {}) {
  const [rows, columns] = kernel;
  const [high, wide] = [places(height, rows, stride, padding), places(width, columns, stride, padding)];
  const outputs = weight.length / (channels * rows * columns);
  const y = new Float64Array(outputs * high * wide);
  weight.forEach((value, n) => {
    const [column, row] = [n % columns, Math.floor(n / columns) % rows];
    const plane = Math.floor(n / (rows * columns));
    const [channel, output] = [plane % channels, Math.floor(plane / channels)];
    const [top, bottom] = inside(row, height, high, stride, padding);
    const [left, right] = inside(column, width, wide, stride, padding);
    for (let i = top; i < bottom; i += 1) {
      const from = (channel * height + i * stride + row - padding) * width + column - padding;
      const to = (output * high + i) * wide;
      for (let j = left; j < right; j += 1) y[to + j] += value * x[from + j * stride];
    }
  });
  return b ? y.map((value, n) => value + b[Math.floor(n / (high * wide))]) : y;
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
