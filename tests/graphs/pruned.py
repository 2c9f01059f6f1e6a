"""Draw what pruning leaves behind: filters of zeros, and what their channels meet next."""

from __future__ import annotations

import numpy as np

from .channel import convolution, linear, pointwise, transposed
from .joins import split
from .layout import to_vector
from .moved import gather
from .opaque import elementwise
from .sketch import Sketch, Value

__all__ = ["depth_to_space", "heads", "whole", "zeroed"]


def _killed(g: Sketch, shape: tuple[int, ...], dead: np.ndarray, axis: int) -> np.ndarray:
    """Small integers, zero at some places of an axis."""
    array = g.rng.integers(-1, 2, shape).astype(np.float32)
    np.moveaxis(array, axis, 0)[dead] = 0
    return array


def zeroed(g: Sketch, x: Value) -> Value | None:
    """A 1×1 with filters of zeros, a function, then what cuts, picks, groups, spreads or flattens,
    and a 1×1 or a linear layer."""
    c_out = g.pick([4, 6, 8, 3])
    dead = g.rng.random(c_out) < 0.5
    weight = _killed(g, (c_out, x.channels, *[1] * (x.rank - 2)), dead, 0)
    bias = g.rng.integers(-2, 3, c_out) * (~dead if g.chance(2) else 1)
    names = [g.constant(array) for array in (weight, bias.astype(np.float32))]
    bound = float(np.abs(weight).reshape(c_out, -1).sum(1).max()) * x.bound + 2
    made = x.becomes(g.node("Conv", [x.name, *names]), bound=bound, grid=None)
    made = made.sized(1, [c_out] * len(x.shapes))
    active = made if g.chance(3) else elementwise(g, made)
    how = g.pick([split, gather, transposed, convolution, to_vector, depth_to_space])
    behind = active and how(g, active)
    if behind is None:
        return None
    g.mark("filters of zeros")
    return linear(g, behind) if behind.layout == "vector" else pointwise(g, behind)


def whole(g: Sketch, x: Value) -> Value | None:
    """A branch that ends in zeros and a bias: added to x, a gate of it, or beside it."""
    inner = pointwise(g, x)
    if inner is None or [s[2:] for s in inner.shapes] != [s[2:] for s in x.shapes]:
        return inner
    zeros = np.zeros((x.channels, inner.channels, *[1] * (x.rank - 2)), np.float32)
    bias = g.rng.integers(-1, 2, x.channels).astype(np.float32)
    node = g.node("Conv", [inner.name, g.constant(zeros), g.constant(bias)])
    op = g.pick(["Add", "Sub", "Mul", "Concat"])
    parts = [x.name, node] if g.chance(2) else [node, x.name]
    g.mark("a branch of zeros")
    if op != "Concat":
        return x.becomes(g.node(op, parts), bound=x.bound + 1, grid=None)
    y = x.sized(1, [2 * x.channels] * len(x.shapes))
    return pointwise(g, y.becomes(g.node(op, parts, axis=1), bound=max(x.bound, 1.0), grid=None))


def depth_to_space(g: Sketch, x: Value) -> Value | None:
    """(N, 4·C, H, W) -> (N, C, 2·H, 2·W), by both orders of channels."""
    if x.channels % 4 or x.rank != 4:
        return None
    mode = g.pick(["DCR", "CRD"])
    y = x.becomes(g.node("DepthToSpace", [x.name], blocksize=2, mode=mode), grid=None)
    y = y.sized(1, [x.channels // 4] * len(x.shapes))
    for axis in (2, 3):
        y = y.sized(axis, [2 * n for n in y.sizes(axis)])
    g.mark("depth to space")
    return y if y.small() else None


def heads(g: Sketch, x: Value) -> Value | None:
    """An attention without its softmax, of two or three heads, some of whose values are zero."""
    count, depth = g.integer(2, 3), g.integer(1, 2)
    dead = np.repeat(g.rng.random(count) < 0.5, depth)
    parts, bounds = [], []
    for kind in ("query", "key", "value"):
        none = dead if kind == "value" else np.zeros_like(dead)
        weight = _killed(g, (x.channels, count * depth), none, 1)
        bounds.append(float(np.abs(weight).sum(0).max()) * x.bound)
        flat = g.node("MatMul", [x.name, g.constant(weight)])
        cut = g.node("Reshape", [flat, g.integers([0, 0, g.pick([count, -1]), depth])])
        perm = [0, 2, 3, 1] if kind == "key" else [0, 2, 1, 3]
        parts.append(g.node("Transpose", [cut], perm=perm))
    scores = g.node("MatMul", parts[:2])
    if g.chance(2):
        scores = g.node("Relu", [scores])
    joined = g.node("Transpose", [g.node("MatMul", [scores, parts[2]])], perm=[0, 2, 1, 3])
    back = g.integers([0, 0, g.pick([count * depth, -1])])
    g.mark("heads")
    length = max(x.sizes(1))
    bound = depth * bounds[0] * bounds[1] * length * bounds[2]
    y = x.becomes(g.node("Reshape", [joined, back]), bound=max(bound, 1.0), bits=3 * x.bits)
    y = y.sized(2, [count * depth] * len(x.shapes))
    return linear(g, y) if y.exact() else None
