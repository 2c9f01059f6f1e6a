"""Draw what takes some positions of a value: crops and picks, behind what computes all of them."""

from __future__ import annotations

import numpy as np

from .channel import convolution, linear, pointwise
from .marked import indices
from .moved import joined
from .opaque import clip, elementwise
from .sketch import Sketch, Value
from .space import slice_space

__all__ = ["attended", "gathered", "pick", "taken"]


def pick(g: Sketch, x: Value) -> Value | None:
    """Gather of positions, the first or last of them, a crop by Pad, or a piece of a Split."""
    axis = g.pick([a for a in range(1, x.rank) if a != x.axis])
    least = min(x.sizes(axis))
    kind = g.pick(["gather", "one", "pad", "piece"])
    if kind == "one":
        return _one(g, x, axis)
    if kind == "gather":
        chosen = [g.integer(-least, least - 1) for _ in range(g.integer(1, 4))]
        node = g.node("Gather", [x.name, g.integers(chosen)], axis=axis)
        sizes = [len(chosen)] * len(x.shapes)
    elif kind == "pad":
        before, after = g.integer(0, (least - 1) // 2), g.integer(0, (least - 1) // 2)
        pads = [0] * (2 * x.rank)
        pads[axis], pads[axis + x.rank] = -before, -after
        node = g.node("Pad", [x.name, g.integers(pads)])
        sizes = [n - before - after for n in x.sizes(axis)]
    else:
        return _piece(g, x, axis)
    g.mark("pick", f"pick {kind}")
    return x.sized(axis, sizes).becomes(node, grid=None)


def _one(g: Sketch, x: Value, axis: int) -> Value | None:
    """One position, whose axis goes and comes back: x[:, 0][:, None]."""
    index = g.constant(g.rng.integers(-1, 1, ()))  # the last or the first
    node = g.with_axes("Unsqueeze", g.node("Gather", [x.name, index], axis=axis), [axis], 13)
    g.mark("pick", "pick one")
    return x.sized(axis, [1] * len(x.shapes)).becomes(node, grid=None)


def _piece(g: Sketch, x: Value, axis: int) -> Value | None:
    whole = x.sizes(axis)[0]
    if g.dynamic or whole < 2:
        return None
    first = g.integer(1, whole - 1)
    sizes = [first, whole - first]
    if g.opset < 13:
        g.node("Split", [x.name], 2, axis=axis, split=sizes)
    else:
        g.node("Split", [x.name, g.integers(sizes)], 2, axis=axis)
    which = g.integer(0, 1)
    g.mark("pick", "pick piece")
    return x.sized(axis, [sizes[which]]).becomes(g.nodes[-1].output[which], grid=None)


def gathered(g: Sketch, x: Value) -> Value | None:
    """Tokens by any indices: a table of them, or for each of the batch its own, maybe expanded."""
    y = _gathered(g, x)
    return y if y is None or g.chance(3) else linear(g, y)


def _gathered(g: Sketch, x: Value) -> Value | None:
    least, count = min(x.sizes(1)), g.integer(1, 12)
    fixed = [] if g.dynamic or g.opset < 12 else ["named", "elements"]
    kind = g.pick(["table", *fixed, *["computed"] * (not g.rough and x.exact())])
    if max(x.sizes(1)) < count:
        g.mark("gather of more")
    if kind == "computed":
        return _computed(g, x, least)
    if kind == "table":
        shape: tuple[int, ...] = (2, count)
        index = g.constant(g.rng.integers(-least, least, shape))
        name = g.node("Gather", [x.name, index], axis=1)
        shapes = tuple((n, *shape, c) for n, _, c in x.shapes)
        g.mark("gather by a table")
        return x.becomes(name, layout="nhwc", shapes=shapes, grid=None)
    picks = g.rng.integers(0, least, (x.shapes[0][0], count, 1))
    if kind == "named":
        name = g.node("GatherND", [x.name, g.constant(picks)], batch_dims=1)
    else:
        op = g.pick(["Expand", "Tile"])
        spread = g.node(op, [g.constant(picks), g.integers([1, 1, x.channels])])
        name = g.node("GatherElements", [x.name, spread], axis=1)
    g.mark(f"gather {kind}")
    return x.sized(1, [count]).becomes(name, grid=None)


def _computed(g: Sketch, x: Value, least: int) -> Value:
    """By as many integers as there are tokens, each from the end or the beginning."""
    low, high = (g.constant(np.array(n, np.float32)) for n in (-least, least - 1))
    inside = g.node("Clip", [x.name, low, high])
    g.mark("gather by what is computed")
    named = indices(g, x.becomes(inside), [0, 2])
    return x.becomes(g.node("Gather", [x.name, named], axis=1), grid=None)


def taken(g: Sketch, x: Value) -> Value | None:
    """What computes, a nonlinearity, perhaps a residual, then one or two that take a part."""
    maps = {"image": [pointwise, convolution], "sequence": [pointwise, convolution]}
    made = g.pick(maps.get(x.layout, [linear]))(g, x)
    active = made and elementwise(g, made)
    if active is None or not active.small() or not active.exact():
        return None
    whole = joined(g, active)
    if g.chance(4):
        g.values.append(whole)  # others may read all of it
    g.mark("taken after a nonlinearity")
    first = _some(g, whole)
    if first is not None and g.chance(3):
        g.values.append(first)
        return _some(g, whole)
    return first


def _some(g: Sketch, x: Value) -> Value | None:
    return slice_space(g, x) if g.chance(2) else pick(g, x)


def attended(g: Sketch, x: Value) -> Value | None:
    """max(q kᵀ, 0) v of tokens, added to them; of the result some tokens are taken."""
    query, key = linear(g, x), linear(g, x)
    if query is None or key is None or query.channels != key.channels:
        return None
    low, high = clip(g, query), clip(g, key)
    if low is None or high is None:
        return None
    turned = g.node("Transpose", [high.name], perm=[0, 2, 1])
    scores = g.node("Relu", [g.node("MatMul", [low.name, turned])])
    mixed = g.node("MatMul", [scores, x.name])
    most = max(x.sizes(1)) * low.bound * high.bound * low.channels * x.bound
    bits = low.bits + high.bits + x.bits
    whole = x.becomes(g.node("Add", [mixed, x.name]), bound=most + x.bound, bits=bits)
    if not whole.exact():
        return None
    g.mark("attention")
    return _some(g, whole)
