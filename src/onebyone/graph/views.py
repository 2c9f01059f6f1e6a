"""ONNX nodes read as layout views: Reshape, Flatten, Squeeze, Unsqueeze, Transpose.

Shapes come from symbolic inference, so a view is recognised with dynamic dimensions too: `h*w`
split into `h` and `w` is a reshape whatever the numbers will be.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onebyone.algebra.layout import (
    Dim,
    Reshape,
    Transpose,
    View,
    channel_axis_after,
    divide,
    product,
)
from onebyone.algebra.weights import Array
from onebyone.graph.axes import integers, permutation
from onebyone.graph.symbolic import monomials
from onebyone.graph.values import rank_of, shape_of

__all__ = ["dims_of", "headed", "merged", "view", "view_axis"]


def dims_of(value: ir.Value | None) -> tuple[Dim, ...] | None:
    """The shape of a value as monomials; None if its rank or one dimension is unknown."""
    shape = shape_of(value)
    if shape is None:
        return None
    return monomials(shape)


def view(node: ir.Node) -> View | None:
    """What a view node does to its operand's axes; None if a shape is unknown."""
    if node.op_type == "Transpose":
        order = permutation(node)
        if order is None:
            return None
        return Transpose(order)
    after = dims_of(node.outputs[0])
    if after is None:
        return None
    return Reshape(after)


def view_axis(node: ir.Node, axis: int) -> int | None:
    """The axis of the operand that stands, whole, as axis `axis` of the view; None if none does."""
    move, before = view(node), dims_of(node.inputs[0])
    if isinstance(move, Transpose):
        return move.permutation[axis]
    if move is None or before is None:
        return None
    if node.op_type in ("Squeeze", "Unsqueeze"):
        return _named_axis(node, axis)
    source = channel_axis_after(move.shape, before, axis)
    if source is None or node.op_type != "Flatten":
        return source
    # Where sizes of 1 stand beside it, only the number tells on which side of the cut an axis is.
    start = node.attributes.get_int("axis", 1)
    if start < 0:
        start += len(before)
    if (source >= start) != (axis == 1):
        return None
    return source


def _named_axis(node: ir.Node, axis: int) -> int | None:
    """By its number, which tells apart axes of one position that their sizes do not."""
    named = integers(node, 1, "axes")
    squeezes = node.op_type == "Squeeze"
    rank = rank_of(node.inputs[0] if squeezes else node.outputs[0])
    # A Squeeze that names no axis would take one of channels too, where they become one.
    if named is None or rank is None:
        return None
    kept = [k for k in range(rank) if k not in {n % rank for n in named}]
    if squeezes:
        return kept[axis]
    if axis in kept:
        return kept.index(axis)
    return None


def merged(node: ir.Node, axis: int, before: int) -> tuple[Array, Array] | None:
    """(outs, sources) where a view merges axis `before` with others: P·C·Q become its `axis`.

    Channel c of the operand is at all places p·C·Q + c·Q + q of the result.
    """
    dims, after = dims_of(node.inputs[0]), dims_of(node.outputs[0])
    if dims is None or after is None:
        return None
    p = divide(product(dims[:before]), product(after[:axis]))
    q = p and divide(after[axis], product([p, dims[before]]))
    if not p or not q or any(d[1] for d in (p, q, dims[before])):
        return None
    c = dims[before][0]
    if c == 1:
        return None
    sources = np.tile(np.repeat(np.arange(c), q[0]), p[0])
    return np.arange(len(sources)), sources


def headed(node: ir.Node, axis: int, before: int) -> tuple[Array, Array] | None:
    """(outs, sources) where a view cuts axis `before` into heads: P·C·Q, of which C is its `axis`.

    Channel c of the result holds all places p·C·Q + c·Q + q of the operand.
    """
    dims, after = dims_of(node.inputs[0]), dims_of(node.outputs[0])
    if dims is None or after is None or dims[before][1] or after[axis][1]:
        return None
    p = divide(product(after[:axis]), product(dims[:before]))
    q = p and divide(dims[before], product([p, after[axis]]))
    if not p or not q or p[1] or q[1]:
        return None
    c = after[axis][0]
    # With Q = 1 the last part is what a head consists of, not the heads.
    if c == 1 or q[0] == 1:
        return None
    return np.tile(np.repeat(np.arange(c), q[0]), p[0]), np.arange(dims[before][0])
