"""Draw attention of one head: positions averaged by weights that a Softmax makes, exactly."""

from __future__ import annotations

import numpy as np

from .channel import linear, pointwise
from .sketch import Sketch, Value
from .space import mean_bits

__all__ = ["one_head"]

_FAR = -(2.0**14)
"""A score so far below another that its weight is zero, in any precision."""


def one_head(g: Sketch, x: Value) -> Value | None:
    """A linear map, perhaps, then an average of its positions, then perhaps another."""
    mapped = linear if x.layout == "tokens" else pointwise
    value = x if g.chance(4) else mapped(g, x)
    if value is None or not value.exact():
        return None
    along = 3 - x.axis
    if value.sizes(along) != x.sizes(along):  # it strides
        x = value
    found = _equal(g, x, along) if g.dynamic or g.chance(3) else _picking(g, x, along)
    if found is None or not (made := _averaged(g, value, *found, along)).small():
        return None
    return made if g.chance(4) else mapped(g, made)


def _largest(g: Sketch, x: Value, axes: list[int]) -> str:
    return g.with_axes("ReduceMax", x.name, axes, 18, keepdims=1)


def _picking(g: Sketch, x: Value, along: int) -> tuple[str, int, int]:
    """Scores (N, Q, L) of which one in each row is far above the others."""
    count, queries = x.sizes(along)[0], g.integer(1, 8)
    scores = np.full((queries, count), _FAR, np.float32)
    scores[np.arange(queries), g.rng.integers(0, count, queries)] = 0
    g.mark("one head", "one head picks")
    return g.node("Add", [_largest(g, x, [1, 2]), g.constant(scores)]), queries, 0


def _equal(g: Sketch, x: Value, along: int) -> tuple[str, int, int] | None:
    """Scores (N, 1, L) that are all equal, where L is a power of two."""
    bits = mean_bits(x.sizes(along))
    if bits is None:
        return None
    zero = g.constant(np.array(0, np.float32))
    scores = g.node("Clip", [_largest(g, x, [x.axis]), zero, zero])
    if x.layout == "tokens":
        scores = g.node("Transpose", [scores], perm=[0, 2, 1])
    g.mark("one head", "one head of equal scores")
    return scores, 1, bits


def _averaged(g: Sketch, v: Value, scores: str, queries: int, bits: int, along: int) -> Value:
    if v.layout == "tokens":
        node = g.node("MatMul", [g.node("Softmax", [scores], axis=-1), v.name])
    elif g.opset < 13 or g.chance(2):
        weights = g.node("Softmax", [scores], axis=-1)
        node = g.node("MatMul", [v.name, g.node("Transpose", [weights], perm=[0, 2, 1])])
    else:
        turned = g.node("Transpose", [scores], perm=[0, 2, 1])
        node = g.node("MatMul", [v.name, g.node("Softmax", [turned], axis=-2)])
    return v.sized(along, [queries] * len(v.shapes)).becomes(node, bits=v.bits + bits, grid=None)
