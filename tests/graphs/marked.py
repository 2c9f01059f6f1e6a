"""Draw one-hot vectors: of indices that are constant or computed, inside and outside of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from onnx import TensorProto

from .channel import linear, pointwise
from .sketch import Sketch, Value

__all__ = ["indices", "one_hot"]


def one_hot(g: Sketch, x: Value) -> Value | None:
    """A vector for each position of x, which most often is mapped: rows of a table."""
    named = _indices(g, x)
    if named is None:
        return None
    depth = g.integer(1, 6)
    y = _compared(g, x, named, depth) if g.chance(3) else _written(g, x, named, depth)
    if g.chance(4):
        return y
    return (pointwise if y.layout in ("image", "sequence") else linear)(g, y)


def _indices(g: Sketch, x: Value) -> str | None:
    """Integers of x without its channels; of real numbers a rounding could make others."""
    if g.rough or not x.exact():
        if g.dynamic:
            return None
        shape = [n for axis, n in enumerate(x.shapes[0]) if axis != x.axis]
        g.mark("constant indices")
        return g.constant(g.rng.integers(-9, 9, shape))
    if g.chance(3):
        g.mark("indices of maxima")
        return g.node("ArgMax", [x.name], axis=x.axis, keepdims=0)
    return indices(g, x, [x.axis])


def indices(g: Sketch, x: Value, axes: list[int]) -> str:
    """The largest numbers along some axes, as integers; x is exact."""
    largest = g.with_axes("ReduceMax", x.name, axes, 18, keepdims=0)
    return g.node("Cast", [largest], to=TensorProto.INT64)


def _written(g: Sketch, x: Value, named: str, depth: int) -> Value:
    off, on = (float(g.rng.integers(-2, 3)) for _ in range(2))
    count = np.array(depth)
    if g.chance(3):
        count = count[None]
        g.mark("depth as a list")
    marks = g.constant(np.array([off, on], np.float32))
    node = g.node("OneHot", [named, g.constant(count), marks], axis=x.axis)
    g.mark("one-hot vectors")
    return _of(x, node, depth, max(abs(off), abs(on)))


def _compared(g: Sketch, x: Value, named: str, depth: int) -> Value:
    apart = g.with_axes("Unsqueeze", named, [x.axis], 13)
    shape = [1] * x.rank
    shape[x.axis] = depth
    equal = g.node("Equal", [apart, g.constant(np.arange(depth).reshape(shape))])
    g.mark("one-hot vectors", "one-hot by comparison")
    return _of(x, g.node("Cast", [equal], to=TensorProto.FLOAT), depth, 1.0)


def _of(x: Value, node: str, depth: int, bound: float) -> Value:
    y = replace(x, name=node, bound=bound, bits=0, grid=None)
    return y.sized(x.axis, [depth] * len(x.shapes))
