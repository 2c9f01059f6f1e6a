// Numbers that only have to be some numbers, the same as in Python's seed.py, bit for bit:
//   h(n) = a 32-bit mix of n and the seed      u(n) = h(n) / 2^31 - 1, in [-1, 1)

const SPREAD = 0x9e3779b9;

function mixed(n) {
  let x = n >>> 0;
  x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
  x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
  return (x ^ (x >>> 16)) >>> 0;
}

/** `count` numbers in [-1, 1), from the `start`-th on, of the sequence of `seed`. */
export function uniform(seed, count, start = 0) {
  const first = Math.imul(seed, SPREAD) + start;
  return Float64Array.from({ length: count }, (_, n) => mixed(first + n) / 2 ** 31 - 1);
}
