"""ONNX nodes read as layout views: Reshape, Flatten, Squeeze, Unsqueeze, Transpose.

Shapes come from symbolic inference, so a view is recognised with dynamic dimensions too: `h*w`
split into `h` and `w` is a reshape whatever the numbers will be.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import numpy as np
import onnx_ir as ir
import sympy

from onebyone.algebra.layout import (
    Dim,
    Reshape,
    Transpose,
    View,
    channel_axis_after,
    dim,
    divide,
    product,
)
from onebyone.algebra.weights import Array
from onebyone.graph.axes import integers, permutation
from onebyone.graph.dimensions import parsed
from onebyone.graph.values import Size, all_known, rank_of, shape_of

__all__ = ["dims_of", "headed", "merged", "monomial", "monomials", "view", "view_axis"]


def monomial(size: Size) -> Dim | None:
    """A dimension as a monomial, None if it is unknown.

    >>> monomial(6), monomial(ir.SymbolicDim("h*w")), monomial(ir.SymbolicDim("2*h + 2"))
    ((6, ()), (1, ('h', 'w')), (2, ('h + 1',)))
    """
    if isinstance(size, int):
        return dim(size)
    return None if size.value is None else _parse(size.value)


@lru_cache(maxsize=65536)
def _parse(text: str) -> Dim:
    if text.isidentifier():
        return dim(1, text)
    expression = parsed(text)
    if expression is None:
        return dim(1, text)
    coefficient, factors = sympy.factor_terms(expression).as_coeff_mul()
    if not coefficient.is_Integer:
        return dim(1, text)
    symbols: list[str] = []
    for factor in factors:
        base, power = factor.as_base_exp()
        # h² is h·h, so that it divides by h; what is no whole power is a symbol of its own.
        if power.is_Integer and power > 0:
            symbols += [str(base)] * int(power)
        else:
            symbols.append(str(factor))
    return dim(int(coefficient), *symbols)


def dims_of(value: ir.Value | None) -> tuple[Dim, ...] | None:
    """The shape of a value as monomials; None if its rank or one dimension is unknown."""
    shape = shape_of(value)
    return None if shape is None else monomials(shape)


def monomials(sizes: Iterable[Size]) -> tuple[Dim, ...] | None:
    """Dimensions as monomials; None if one is unknown, or nothing is left of a tensor of them."""
    dims = all_known(map(monomial, sizes))
    if dims is None or any(d[0] <= 0 for d in dims):
        return None
    return dims


def view(node: ir.Node) -> View | None:
    """What a view node does to its operand's axes; None if a shape is unknown."""
    if node.op_type == "Transpose":
        order = permutation(node)
        return None if order is None else Transpose(order)
    after = dims_of(node.outputs[0])
    return None if after is None else Reshape(after)


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
    return kept.index(axis) if axis in kept else None


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
