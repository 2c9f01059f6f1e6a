// y[o, p] = sum_i W[o, i] x[i, p] + b[o]: the 1x1 convolution, W (out, in), x (in, positions).

/** The products of one output at one position, before they are summed: (in). */
export function products(w, x, position, positions) {
  return Float64Array.from(w, (weight, i) => weight * x[i * positions + position]);
}

/** The sum from left to right, as a loop would have it. */
export function sum(values, start = 0) {
  return values.reduce((total, value) => total + value, start);
}

/** W x + b, (out, positions); b may be left out. Sums run over the inputs in order, the bias last. */
export function pointwise(W, x, positions, b) {
  const inputs = x.length / positions;
  const outputs = W.length / inputs;
  const y = new Float64Array(outputs * positions);
  for (let o = 0; o < outputs; o += 1) {
    const row = y.subarray(o * positions, (o + 1) * positions);
    for (let i = 0; i < inputs; i += 1) {
      const w = W[o * inputs + i];
      const map = x.subarray(i * positions, (i + 1) * positions);
      for (let p = 0; p < positions; p += 1) row[p] += w * map[p];
    }
    if (b) for (let p = 0; p < positions; p += 1) row[p] += b[o];
  }
  return y;
}
