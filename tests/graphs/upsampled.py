"""Draw K×Ks behind nearest upsamplings, with what may stand between."""

from __future__ import annotations

import numpy as np

from .channel import convolution, pointwise
from .sketch import MAX_SIZE, Sketch, Value

__all__ = ["upsampled_kernel"]

# Formulas of nearest, and factors for which they copy each position in turn.
_IN_TURN = (("half_pixel", "round_prefer_floor"), ("asymmetric", "floor"))


def upsampled_kernel(g: Sketch, x: Value) -> Value | None:
    """x by a nearest upsampling, by a Resize or by axes of its own; a concat; padding; a K×K."""
    factors = [g.pick([2, 3]), g.pick([2, 3])]
    if g.chance(3):
        factors[g.integer(0, 1)] = 1
    if max(n * f for k, f in enumerate(factors, 2) for n in x.sizes(k)) > MAX_SIZE:
        return None
    up = (_by_axes if not g.dynamic and g.chance(3) else _by_copies)(g, x, factors)
    if g.chance(3):
        up = _beside(g, up)
    if g.chance(4):
        mode, pads = g.pick(["edge", "reflect", "constant"]), g.integers([0, 0, 1, 0, 0, 0, 1, 1])
        if mode != "reflect" or min(min(up.sizes(k)) for k in (2, 3)) > 1:
            node = g.node("Pad", [up.name, pads], mode=mode)
            up = up.becomes(node, grid=None)
            for axis, more in ((2, 2), (3, 1)):
                up = up.sized(axis, [n + more for n in up.sizes(axis)])
    g.mark("upsampled kernel")
    return convolution(g, up) if up.small() else None


def _beside(g: Sketch, up: Value) -> Value:
    """Concatenated with what a 1×1 makes of it, before or behind."""
    other = pointwise(g, up)
    if other is None or [s[2:] for s in other.shapes] != [s[2:] for s in up.shapes]:
        return up
    parts = [up, other] if g.chance(2) else [other, up]
    joined = up.becomes(
        g.node("Concat", [part.name for part in parts], axis=1),
        bound=max(part.bound for part in parts),
        bits=max(part.bits for part in parts),
        grid=None,
    )
    return joined.sized(1, [up.channels + other.channels] * len(up.shapes))


def _grown(x: Value, name: str, factors: list[int]) -> Value:
    y = x.becomes(name, grid=None)
    for axis, factor in enumerate(factors, start=2):
        y = y.sized(axis, [n * factor for n in x.sizes(axis)])
    return y


def _by_copies(g: Sketch, x: Value, factors: list[int]) -> Value:
    coordinate, rounding = g.pick(_IN_TURN)
    none = "" if g.opset >= 13 else g.constant(np.zeros(0, np.float32))
    scales = g.constant(np.array([1, 1, *factors], np.float32))
    attributes = {"coordinate_transformation_mode": coordinate, "nearest_mode": rounding}
    node = g.node("Resize", [x.name, none, scales], mode="nearest", **attributes)
    return _grown(x, node, factors)


def _by_axes(g: Sketch, x: Value, factors: list[int]) -> Value:
    n, c, h, w = x.shapes[0]
    a, b = factors
    apart = g.node("Reshape", [x.name, g.integers([n, c, h, 1, w, 1])])
    copies = g.node("Expand", [apart, g.integers([1, 1, 1, a, 1, b])])
    return _grown(x, g.node("Reshape", [copies, g.integers([n, c, h * a, w * b])]), factors)
