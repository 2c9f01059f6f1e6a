// Singular values: Householder reflections make a matrix bidiagonal, B; the singular values of B are
// the positive eigenvalues of the tridiagonal matrix with zeros on its diagonal and B's numbers, d1 e1
// d2 e2 ..., beside it (Golub and Kahan, 1965). Each is found by bisection, counting those below a bound.

const EPSILON = 2 ** -52;

/** Reflect the vector v[from..] onto its first entry; return [that entry, the factor of the reflection]. */
function reflector(v, from) {
  let norm = 0;
  for (let k = from; k < v.length; k += 1) norm = Math.hypot(norm, v[k]);
  if (norm === 0) return [0, 0];
  const first = v[from] > 0 ? -norm : norm;
  v[from] -= first;
  return [first, -1 / (first * v[from])];
}

/** a -= factor (v·a) v, for the entries from `from` on. */
function reflect(a, v, factor, from) {
  let dot = 0;
  for (let k = from; k < v.length; k += 1) dot += v[k] * a[k];
  dot *= factor;
  for (let k = from; k < v.length; k += 1) a[k] -= dot * v[k];
}

/** The same for the rows of `columns`, from row `top` on: v runs over the columns from `from` on. */
function reflectRows(columns, v, factor, from, top) {
  const dots = new Float64Array(columns[0].length);
  for (let j = from; j < columns.length; j += 1) {
    const [column, weight] = [columns[j], v[j]];
    for (let i = top; i < column.length; i += 1) dots[i] += weight * column[i];
  }
  for (let j = from; j < columns.length; j += 1) {
    const [column, weight] = [columns[j], factor * v[j]];
    for (let i = top; i < column.length; i += 1) column[i] -= weight * dots[i];
  }
}

/** d1 e1 d2 e2 ... of a matrix given as `columns`, no fewer rows than columns; they are written over. */
function bidiagonal(columns) {
  const found = [];
  const n = columns.length;
  for (let j = 0; j < n; j += 1) {
    const [d, factor] = reflector(columns[j], j);
    found.push(d);
    for (let k = j + 1; k < n; k += 1) reflect(columns[k], columns[j], factor, j);
    if (j + 1 === n) break;
    const row = Float64Array.from(columns, (column) => column[j]);
    const [e, factorOfRow] = reflector(row, j + 1);
    found.push(e);
    reflectRows(columns, row, factorOfRow, j + 1, j + 1);
  }
  return found;
}

/** How many eigenvalues of the tridiagonal matrix are below x (Sturm's count); `squares` of its numbers. */
function below(squares, x, least) {
  let count = 0;
  let pivot = -x;
  for (let k = 0; ; k += 1) {
    if (Math.abs(pivot) < least) pivot = -least;
    if (pivot < 0) count += 1;
    if (k === squares.length) return count;
    pivot = -x - squares[k] / pivot;
  }
}

/** The singular values of a matrix (rows, columns) given row by row, largest first. */
export function singularValues(matrix, rows, columns) {
  const tall = rows >= columns;
  const [m, n] = tall ? [rows, columns] : [columns, rows];
  const at = tall ? (i, j) => matrix[i * columns + j] : (i, j) => matrix[j * columns + i];
  const parts = Array.from({ length: n }, (_, j) => Float64Array.from({ length: m }, (_, i) => at(i, j)));
  const numbers = bidiagonal(parts).map(Math.abs);
  const squares = numbers.map((value) => value * value);
  // Gershgorin: no eigenvalue is larger than two neighbours together.
  const bound = numbers.reduce((most, value, k) => Math.max(most, value + (numbers[k + 1] ?? 0)), 0);
  const least = Math.max(2 ** -1000, bound * bound * 2 ** -200);
  const found = new Float64Array(n);
  bisect(0, bound * (1 + EPSILON), n, 0);
  return found;

  // The eigenvalues numbered n - low .. n - high from the largest lie between `a` and `b`.
  function bisect(a, b, many, few) {
    if (many === few) return;
    const middle = (a + b) / 2;
    if (b - a <= EPSILON * bound * 0.25 || middle === a || middle === b) {
      found.fill(middle, few, many);
      return;
    }
    const above = 2 * n - below(squares, middle, least);
    bisect(middle, b, Math.min(above, many), few);
    bisect(a, middle, many, Math.max(above, few));
  }
}

/** The size below which a singular value may be a zero that was rounded, as algebra/rank.py has it. */
export function threshold(values, rows, columns) {
  const norm = Math.hypot(...values);
  return 2 ** -53 * norm + Math.max(rows, columns) * EPSILON * values[0];
}

/** How many singular values are no zeros that were rounded. */
export function rank(values, rows, columns) {
  const least = threshold(values, rows, columns);
  return values.filter((value) => value > least).length;
}
