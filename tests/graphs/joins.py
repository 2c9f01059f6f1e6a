"""Draw operators that join or divide values: Concat, Split, sums, gates, broadcasts."""

from __future__ import annotations

from collections.abc import Callable

from .channel import pointwise
from .resize import upsample_to
from .sketch import Sketch, Value
from .space import expand, global_pool, sum_positions

__all__ = [
    "add",
    "broadcast_add",
    "concat",
    "concat_space",
    "fuse",
    "gate",
    "pooled_context",
    "split",
]


def _others(g: Sketch, x: Value, agree: Callable[[Value], bool]) -> list[Value]:
    """Values of x's layout that agree with it; x itself is among them."""
    return [v for v in g.values if v.layout == x.layout and agree(v)]


def _same_but(x: Value, axis: int) -> Callable[[Value], bool]:
    """Equal sizes in every trial, except along `axis`."""
    rest = [a for a in range(x.rank) if a != axis]
    return lambda v: all(v.sizes(a) == x.sizes(a) for a in rest)


def pooled_context(g: Sketch, x: Value) -> Value | None:
    """x pooled to one position, a 1×1, then spread over x again: added, gated or concatenated."""
    pooled = global_pool(g, x) or sum_positions(g, x, [2, 3])
    small = pooled if g.chance(3) else pointwise(g, pooled)
    if small is None or set(small.sizes(2) + small.sizes(3)) != {1}:
        return None
    g.mark("pooled context")
    if g.chance(2) and small.channels == x.channels:
        g.mark("broadcast add")
        node = g.node("Add", [x.name, small.name])
        return x.becomes(node, bound=x.bound + small.bound, bits=max(x.bits, small.bits))
    large = expand(g, small, x)
    return large and _stacked(g, [x, large], 1)


def _stacked(g: Sketch, parts: list[Value], axis: int) -> Value | None:
    sizes = [sum(each) for each in zip(*(p.sizes(axis) for p in parts), strict=True)]
    y = parts[0].sized(axis, sizes)
    if not y.small():
        return None
    written = axis - y.rank if g.chance(4) else axis
    node = g.node("Concat", [p.name for p in parts], axis=written)
    bound, bits = max(p.bound for p in parts), max(p.bits for p in parts)
    return y.becomes(node, bound=bound, bits=bits)


def concat(g: Sketch, x: Value) -> Value | None:
    """Concat of two or three values on the channel axis; a value may come twice."""
    others = _others(g, x, _same_but(x, x.axis))
    parts = [x] + [g.pick(others[::-1]) for _ in range(g.integer(1, 2))]
    g.mark("concat", *(["concat of one value"] if len({p.name for p in parts}) == 1 else []))
    return _stacked(g, parts, x.axis)


def concat_space(g: Sketch, x: Value) -> Value | None:
    """Concat along another axis than the channels'."""
    axis = g.pick([a for a in range(x.rank) if a != x.axis])
    if axis == 0 and g.dynamic:
        return None
    g.mark("concat on space")
    y = _stacked(g, [x, g.pick(_others(g, x, _same_but(x, axis)))], axis)
    return y and y.becomes(y.name, grid=None)


def fuse(g: Sketch, x: Value) -> Value | None:
    """An upsampled x, concatenated with a larger image, then a 1×1: a decoder's head."""
    goals = [
        v
        for v in _others(g, x, lambda v: v.sizes(0) == x.sizes(0))
        if min(v.sizes(2) + v.sizes(3)) >= max(x.sizes(2) + x.sizes(3))
    ]
    goals = goals or [x]
    goal = g.pick(goals)
    large = upsample_to(g, x, goal)
    joined = large and _stacked(g, [large, goal] if g.chance(2) else [goal, large], 1)
    g.mark("concat of upsampled")
    return joined and pointwise(g, joined)


def add(g: Sketch, x: Value) -> Value | None:
    """Add, Sub or Sum of values of one shape; also x with itself."""
    others = _others(g, x, lambda v: v.shapes == x.shapes)
    op = g.pick(["Add", "Sub", "Sum"])
    count = 2 if op == "Sum" and g.chance(2) else 1
    parts = [x] + [g.pick(others[::-1]) for _ in range(count)]
    g.mark("sum of branches")
    node = g.node(op, [p.name for p in parts])
    bits = max(p.bits for p in parts)
    return x.becomes(node, bound=sum(p.bound for p in parts), bits=bits)


def _spread(x: Value) -> Callable[[Value], bool]:
    """Values that broadcast onto x from (N, C, 1, 1) or (1, C, ...)."""

    def agree(v: Value) -> bool:
        sizes = ((v.sizes(a), x.sizes(a)) for a in range(x.rank))
        fits = all(v_size == x_size or set(v_size) == {1} for v_size, x_size in sizes)
        return fits and v.shapes != x.shapes and v.channels == x.channels

    return agree


def broadcast_add(g: Sketch, x: Value) -> Value | None:
    """x + a value with sizes of one that spread over it."""
    others = _others(g, x, _spread(x))
    if not others:
        return None
    v = g.pick(others[::-1])
    inputs = [x.name, v.name] if g.chance(2) else [v.name, x.name]
    g.mark("broadcast add")
    node = g.node(g.pick(["Add", "Sub"]), inputs)
    return x.becomes(node, bound=x.bound + v.bound, bits=max(x.bits, v.bits), grid=None)


def gate(g: Sketch, x: Value) -> Value | None:
    """x · v of two data values (squeeze and excite): not linear in both."""
    others = _others(g, x, _spread(x)) or _others(g, x, lambda v: v.shapes == x.shapes)
    v = g.pick(others[::-1])
    g.mark("gate")
    node = g.node("Mul", [x.name, v.name])
    return x.becomes(node, bound=x.bound * max(v.bound, 1), bits=x.bits + v.bits, grid=None)


def split(g: Sketch, x: Value) -> Value | None:
    """Split (or Slice) of channels; what is not taken stays for others, or unused."""
    if x.channels < 2:
        return None
    first = g.integer(1, x.channels - 1)
    if g.chance(3):
        return _channel_slice(g, x, first)
    sizes = [first, x.channels - first]
    if g.opset < 13:
        node = g.node("Split", [x.name], 2, axis=x.axis, split=sizes)
    else:
        node = g.node("Split", [x.name, g.integers(sizes)], 2, axis=x.axis)
    g.mark("split")
    parts = [x.sized(x.axis, [n] * len(x.shapes)) for n in sizes]
    left, right = (p.becomes(n) for p, n in zip(parts, g.nodes[-1].output, strict=True))
    if g.chance(2):
        g.values.append(right)
    assert left.name == node
    return left


def _channel_slice(g: Sketch, x: Value, start: int) -> Value:
    bounds = [g.integers([n]) for n in (start, x.channels, x.axis)]
    g.mark("channel slice")
    y = x.sized(x.axis, [x.channels - start] * len(x.shapes))
    return y.becomes(g.node("Slice", [x.name, *bounds]))
