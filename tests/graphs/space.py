"""Draw operators that act on positions, the same way in every channel."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

import numpy as np

from .channel import convolution
from .sketch import Sizes, Sketch, Value

__all__ = [
    "average_pool",
    "expand",
    "global_pool",
    "max_pool",
    "mean_bits",
    "pad",
    "pooled_kernel",
    "reduce",
    "slice_space",
    "sum_positions",
]


def _windows(n: int, kernel: int, stride: int, pads: int, ceil_mode: bool) -> int:
    """Output size of a pooling, as ONNX defines it (ceil_mode drops a window that starts in the
    end padding; it cannot arise here since pads < kernel <= 2 and pads are only given then)."""
    span = (n + pads - kernel) / stride
    return (ceil(span) if ceil_mode else int(span // 1)) + 1


def _pooled(x: Value, kernel: list[int], stride: list[int], pads: list[int], up: bool) -> Value:
    y = x
    for i, k in enumerate(kernel):
        total = pads[i] + pads[i + len(kernel)]
        sizes = [_windows(n, k, stride[i], total, up) for n in x.sizes(i + 2)]
        y = y.sized(i + 2, sizes)
    return y


def _fits(x: Value, kernel: list[int], pads: list[int]) -> bool:
    spans = zip(range(2, x.rank), kernel, pads, pads[len(kernel) :], strict=False)
    return all(n + a + b >= k for axis, k, a, b in spans for n in x.sizes(axis))


def average_pool(g: Sketch, x: Value) -> Value | None:
    """AveragePool with windows of one, two or four, so that every divisor is a power of two."""
    spatial = x.rank - 2
    plain = g.chance(4)
    kernel = [g.pick([2, 1, 4] if plain else [2, 2, 1]) for _ in range(spatial)]
    stride = [g.integer(1, k) for k in kernel]
    padded = not plain and g.chance(2)
    pads = [
        g.integer(0, 1) if padded and kernel[i % spatial] == 2 else 0 for i in range(2 * spatial)
    ]
    up = not plain and max(pads) == 0 and g.chance(3)
    include = g.chance(2)
    y = _pooled(x, kernel, stride, pads, up) if _fits(x, kernel, pads) else None
    if y is None or not y.small():
        return None
    attributes = {"pads": pads, "ceil_mode": +up, "count_include_pad": +include}
    node = g.node("AveragePool", [x.name], kernel_shape=kernel, strides=stride, **attributes)
    g.mark("average pool", *(["pool counts padding"] if include and max(pads) else []))
    g.mark(*(["pool ceil"] if up else []))
    return y.becomes(node, bits=x.bits + sum(k.bit_length() - 1 for k in kernel), grid=None)


def pooled_kernel(g: Sketch, x: Value) -> Value | None:
    """A K×K, then an average pool, mostly of stride two and inside the map."""
    y = convolution(g, x)
    if y is None or not _fits(y, [2] * (y.rank - 2), [0] * 2 * (y.rank - 2)):
        return y
    if g.chance(4):
        return average_pool(g, y)
    twos = [2] * (y.rank - 2)
    node = g.node("AveragePool", [y.name], kernel_shape=twos, strides=twos)
    g.mark("pooled kernel")
    after = _pooled(y, twos, twos, [0] * 2 * len(twos), False)
    return after.becomes(node, bits=y.bits + len(twos), grid=None)


def max_pool(g: Sketch, x: Value) -> Value | None:
    """MaxPool: nothing linear passes it."""
    kernel = [g.integer(1, 3) for _ in range(x.rank - 2)]
    pads = [0] * (2 * len(kernel))
    if not _fits(x, kernel, pads):
        return None
    stride = [g.integer(1, 2) for _ in kernel]
    node = g.node("MaxPool", [x.name], kernel_shape=kernel, strides=stride)
    g.mark("max pool")
    return _pooled(x, kernel, stride, pads, False).becomes(node, grid=None)


def _positions(x: Value, axes: list[int]) -> Sizes:
    return tuple(int(np.prod([shape[a] for a in axes])) for shape in x.shapes)


def mean_bits(counts: Sizes) -> int | None:
    """log2 of the largest count; None unless all are powers of two."""
    if any(n & (n - 1) for n in counts):
        return None
    return max(counts).bit_length() - 1


def global_pool(g: Sketch, x: Value) -> Value | None:
    """GlobalAveragePool over a power of two of positions (or the maximum: opaque)."""
    axes = list(range(2, x.rank))
    bits = mean_bits(_positions(x, axes))
    if bits is None:
        return None
    op = "GlobalMaxPool" if g.chance(6) else "GlobalAveragePool"
    y = x
    for axis in axes:
        y = y.sized(axis, [1] * len(x.shapes))
    g.mark("global pool" if op == "GlobalAveragePool" else "global max pool")
    return y.becomes(g.node(op, [x.name]), bits=x.bits + bits, grid=None)


def _reduced(g: Sketch, x: Value, op: str, axes: list[int], since: int, keep: bool) -> Value:
    written = [a - x.rank for a in axes] if g.chance(3) else axes
    node = g.with_axes(op, x.name, written, since, keepdims=+keep)
    g.mark(op.lower())
    y = x
    for axis in axes:
        y = y.sized(axis, [1] * len(x.shapes))
    y = y.becomes(node, grid=None)
    return y if keep else _as_vector(y)


def sum_positions(g: Sketch, x: Value, axes: list[int], keep: bool = True) -> Value:
    """ReduceSum over these axes."""
    most = max(_positions(x, axes))
    return replace(_reduced(g, x, "ReduceSum", axes, 13, keep), bound=x.bound * most)


def reduce(g: Sketch, x: Value) -> Value | None:
    """ReduceMean or ReduceSum over one or all positions' axes, mostly keeping them."""
    axes = [a for a in range(1, x.rank) if a != x.axis]
    axes = [g.pick(axes)] if g.chance(3) else axes
    bits = mean_bits(_positions(x, axes))
    keep = len(axes) < x.rank - 2 or not g.chance(3)
    if bits is None or g.chance(3):
        return sum_positions(g, x, axes, keep)
    return replace(_reduced(g, x, "ReduceMean", axes, 18, keep), bits=x.bits + bits)


def _as_vector(y: Value) -> Value:
    return replace(y, layout="vector", shapes=tuple((s[0], s[y.axis]) for s in y.shapes))


def pad(g: Sketch, x: Value) -> Value | None:
    """Pad of positions: zero, another constant, reflect, edge."""
    mode = g.pick(["constant", "reflect", "edge"])
    begins, ends = ([0] * x.rank for _ in range(2))
    for axis in range(2, x.rank):
        most = min(2, min(x.sizes(axis)) - 1) if mode == "reflect" else 2
        begins[axis], ends[axis] = g.integer(0, most), g.integer(0, most)
    value = g.pick([0.0, 1.0, 3.0]) if mode == "constant" else 0.0
    fill = [g.constant(np.array(value, np.float32))] if value or g.chance(2) else []
    node = g.node("Pad", [x.name, g.integers(begins + ends), *fill], mode=mode)
    g.mark(f"pad {mode}", *(["pad nonzero"] if value else []))
    y = x
    for axis in range(2, x.rank):
        grow = begins[axis] + ends[axis]
        y = y.sized(axis, [n + grow for n in x.sizes(axis)])
    return y.becomes(node, bound=max(x.bound, value), grid=None)


def slice_space(g: Sketch, x: Value) -> Value | None:
    """Slice of positions: a stride, a crop, a flip, or all of these at once."""
    axes = [a for a in range(1, x.rank) if a != x.axis]
    axes = axes[: g.integer(1, len(axes))] if g.chance(2) else axes
    kind = g.pick(["stride", "crop", "flip"])
    starts, ends, steps = [], [], []
    y = x
    for axis in axes:
        start, end, step = _interval(g, kind, min(x.sizes(axis)))
        starts, ends, steps = [*starts, start], [*ends, end], [*steps, step]
        sizes = [len(range(n)[start:end:step]) for n in x.sizes(axis)]
        y = y.sized(axis, sizes)
    if not y.small():
        return None
    inputs = [g.integers(v) for v in (starts, ends, axes, steps)]
    g.mark(f"slice {kind}")
    return y.becomes(g.node("Slice", [x.name, *inputs]), grid=None)


def _interval(g: Sketch, kind: str, smallest: int) -> tuple[int, int, int]:
    """start, end, step as Python and ONNX both read them."""
    if kind == "stride":
        return g.integer(0, min(1, smallest - 1)), 2**31 - 1, g.integer(2, 3)
    if kind == "flip":
        return -1, -(2**31), -1
    return g.integer(0, (smallest - 1) // 2), g.pick([2**31 - 1, -1, smallest]), 1


def expand(g: Sketch, x: Value, goal: Value | None = None) -> Value | None:
    """Expand or Tile of a value with one position, to those of `goal`, some image, or a few."""
    if set(_positions(x, [2, 3])) != {1}:
        return None
    op = g.pick(["Expand", "Tile"])
    g.mark(f"pooled {op.lower()}")
    goals = [v for v in g.values if v.layout == "image" and max(_positions(v, [2, 3])) > 1]
    if goal is None and goals:
        goal = g.pick(goals)
    if goal is not None:
        target = g.extents([1, 1, (goal, 2, 4)])
        y = x.sized(2, goal.sizes(2)).sized(3, goal.sizes(3))
    else:
        target = g.integers([1, 1, 3, 2])
        y = x.sized(2, [3] * len(x.shapes)).sized(3, [2] * len(x.shapes))
    return y.becomes(g.node(op, [x.name, target]), grid=None)
