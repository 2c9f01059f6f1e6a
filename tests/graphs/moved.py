"""Draw operators that move, pick or skip: channels in another order, positions nobody asks for."""

from __future__ import annotations

from .channel import convolution, depthwise, pointwise
from .opaque import elementwise
from .sketch import Sketch, Value
from .space import max_pool

__all__ = ["bottleneck", "gather", "joined", "shuffled_unit", "stepped", "subsample"]


def _picked(x: Value, name: str, channels: int) -> Value:
    return x.sized(x.axis, [channels] * len(x.shapes)).becomes(name, grid=None)


def gather(g: Sketch, x: Value) -> Value | None:
    """Gather of channels: a permutation, or any choice with negative and repeated indices."""
    if g.chance(3):
        chosen = [g.integer(-x.channels, x.channels - 1) for _ in range(g.integer(1, 6))]
    else:
        chosen = [int(c) for c in g.rng.permutation(x.channels)][: g.integer(1, 8)]
    g.mark("gather of channels", *(["repeated channel"] if len({*chosen}) < len(chosen) else []))
    return _picked(x, g.node("Gather", [x.name, g.integers(chosen)], axis=x.axis), len(chosen))


def stepped(g: Sketch, x: Value) -> Value | None:
    """Slice of channels by twos, or backwards, or a stretch of the middle."""
    start, end, step = g.pick([(0, 99, 2), (-1, -99, -1), (1, -1, 1), (1, 99, 2)])
    count = len(range(x.channels)[start:end:step] if start >= 0 else range(x.channels))
    if not count:
        return None
    bounds = [g.integers([n]) for n in (start, end, x.axis, step)]
    g.mark("stepped channels")
    return _picked(x, g.node("Slice", [x.name, *bounds]), count)


def shuffled_unit(g: Sketch, x: Value) -> Value | None:
    """Halves of x: one goes on as it is, one through a branch; joined and shuffled (ShuffleNet)."""
    half, axis = x.channels // 2, x.axis
    if x.channels % 2 or not half:
        return None
    if g.opset < 13:
        g.node("Split", [x.name], 2, axis=axis, split=[half, half])
    else:
        g.node("Split", [x.name, g.integers([half, half])], 2, axis=axis)
    left, right = (_picked(x, name, half) for name in g.nodes[-1].output)
    branch = elementwise(g, right) if g.chance(2) else pointwise(g, right)
    if branch is None or branch.shapes != right.shapes:
        return None
    together = g.node("Concat", [left.name, branch.name], axis=axis)
    parts = g.node("Reshape", [together, g.extents([0, 2, half, (x, 2, 4)])])
    turned = g.node("Transpose", [parts], perm=[0, 2, 1, 3, 4])
    name = g.node("Reshape", [turned, g.extents([0, x.channels, (x, 2, 4)])])
    g.mark("shuffled unit")
    return x.becomes(
        name, bound=max(x.bound, branch.bound), bits=max(x.bits, branch.bits), grid=None
    )


def subsample(g: Sketch, x: Value) -> Value | None:
    """A pool with windows of one position and a stride."""
    stride = [g.integer(1, 2) for _ in range(x.rank - 2)]
    op = g.pick(["AveragePool", "MaxPool"])
    name = g.node(op, [x.name], kernel_shape=[1] * len(stride), strides=stride)
    g.mark("subsample")
    y = x
    for axis, s in enumerate(stride, start=2):
        y = y.sized(axis, [(n - 1) // s + 1 for n in x.sizes(axis)])
    return y.becomes(name, grid=None)


def _maker(g: Sketch, x: Value) -> Value | None:
    return g.pick([convolution, depthwise, pointwise, max_pool])(g, x)


def joined(g: Sketch, x: Value) -> Value:
    """x plus, times or beside another value of its shape."""
    others = [v for v in g.values if v.layout == x.layout and v.shapes == x.shapes]
    if not others or g.chance(2):
        return x
    v = g.pick(others[::-1])
    op = g.pick(["Add", "Max", "Sub"])
    bound, bits = x.bound + v.bound, max(x.bits, v.bits)
    return x.becomes(g.node(op, [x.name, v.name]), bound=bound, bits=bits, grid=None)


def bottleneck(g: Sketch, x: Value) -> Value | None:
    """What computes, a nonlinearity, perhaps a residual, then one or two strided readers."""
    made = _maker(g, x)
    active = made and elementwise(g, made)
    if active is None or not active.small() or not active.exact():
        return None
    whole = joined(g, active)
    if g.chance(3):
        g.values.append(whole)  # others may read it whole
    g.mark("strided after a nonlinearity")
    first = subsample(g, whole) if g.chance(4) else _strided(g, whole)
    if first is not None and g.chance(3):
        g.values.append(first)
        return _strided(g, whole)
    return first


def _strided(g: Sketch, x: Value) -> Value | None:
    """A 1×1 of stride two along some axis."""
    name, weight = g.weight(g.integer(1, 5), x.channels, *[1] * (x.rank - 2))
    strides = [2, *(g.pick([2, 2, 1]) for _ in range(x.rank - 3))]
    y = x.sized(1, [len(weight)] * len(x.shapes))
    for axis, s in enumerate(strides, start=2):
        y = y.sized(axis, [(n - 1) // s + 1 for n in x.sizes(axis)])
    bound = float(abs(weight).reshape(len(weight), -1).sum(1).max()) * x.bound
    return y.becomes(g.node("Conv", [x.name, name], strides=strides), bound=bound, grid=None)
