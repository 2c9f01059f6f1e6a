"""ONNX nodes read as layout views: Reshape, Flatten, Squeeze, Unsqueeze, Transpose.

Shapes come from symbolic inference, so a view is recognised with dynamic dimensions too: `h*w`
split into `h` and `w` is a reshape whatever the numbers will be.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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

__all__ = ["dims_of", "headed", "merged", "monomial", "monomials", "view", "view_axis"]


def monomial(size: int | ir.SymbolicDim) -> Dim | None:
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
        symbols += [str(base)] * int(power) if power.is_Integer and power > 0 else [str(factor)]
    return dim(int(coefficient), *symbols)


def dims_of(value: ir.Value | None) -> tuple[Dim, ...] | None:
    """The shape of a value as monomials; None if its rank or one dimension is unknown."""
    return None if value is None or value.shape is None else monomials(value.shape)


def monomials(sizes: Iterable[int | ir.SymbolicDim]) -> tuple[Dim, ...] | None:
    """Dimensions as monomials; None if one is unknown, or nothing is left of a tensor of them."""
    dims = [monomial(d) for d in sizes]
    known = tuple(d for d in dims if d is not None and d[0] > 0)
    return known if len(known) == len(dims) else None


def view(node: ir.Node) -> View | None:
    """What a view node does to its operand's axes; None if a shape is unknown."""
    if node.op_type == "Transpose":
        order = permutation(node)
        return None if order is None else Transpose(order)
    after = dims_of(node.outputs[0])
    return None if after is None else Reshape(after)


def view_axis(node: ir.Node, axis: int) -> int | None:
    """The axis of the operand that stands, whole, as axis `axis` of the view; None if none does."""
    move = view(node)
    if isinstance(move, Transpose):
        return move.permutation[axis]
    before = dims_of(node.inputs[0])
    if move is None or before is None:
        return None
    if node.op_type in ("Squeeze", "Unsqueeze"):
        named = integers(node, 1, "axes")
        # A Squeeze that names no axis would take one of channels too, where they become one.
        return None if named is None else _named_axis(node, axis, named)
    found = channel_axis_after(move.shape, before, axis)
    return None if node.op_type == "Flatten" and not _flattens(node, found, axis) else found


def _named_axis(node: ir.Node, axis: int, named: Sequence[int]) -> int | None:
    """By its number, which tells apart axes of one position that their sizes do not."""
    longer = node.inputs[0] if node.op_type == "Squeeze" else node.outputs[0]
    assert longer is not None
    assert longer.shape is not None
    rank = longer.shape.rank()
    kept = [k for k in range(rank) if k not in {n % rank for n in named}]
    if node.op_type == "Squeeze":
        return kept[axis]
    return kept.index(axis) if axis in kept else None


def _flattens(node: ir.Node, source: int | None, axis: int) -> bool:
    """Whether an axis of the operand is among those that a Flatten merges into `axis`."""
    x = node.inputs[0]
    assert x is not None
    assert x.shape is not None
    start = node.attributes.get_int("axis", 1)
    start += x.shape.rank() if start < 0 else 0
    return source is not None and (source >= start) == (axis == 1)


def merged(node: ir.Node, axis: int, before: int) -> tuple[Array, Array] | None:
    """(outs, sources) where each channel becomes P·Q of the result."""
    dims, after = dims_of(node.inputs[0]), dims_of(node.outputs[0])
    if dims is None or after is None:
        return None
    outer = divide(product(dims[:before]), product(after[:axis]))
    inner = None if outer is None else divide(after[axis], product([outer, dims[before]]))
    if outer is None or inner is None or outer[1] or inner[1] or dims[before][1]:
        return None
    p, c, q = outer[0], dims[before][0], inner[0]
    return (np.arange(p * c * q), np.tile(np.repeat(np.arange(c), q), p)) if c > 1 else None


def headed(node: ir.Node, axis: int, before: int) -> tuple[Array, Array] | None:
    """(outs, sources) where each channel of the result is one of several, P times over."""
    dims, after = dims_of(node.inputs[0]), dims_of(node.outputs[0])
    if dims is None or after is None or dims[before][1] or after[axis][1]:
        return None
    outer = divide(product(after[:axis]), product(dims[:before]))
    inner = None if outer is None else divide(dims[before], product([outer, after[axis]]))
    if outer is None or inner is None or outer[1] or inner[1] or after[axis][0] == 1:
        return None
    if inner[0] == 1:  # the last part is what a head consists of
        return None
    heads = np.repeat(np.arange(after[axis][0]), inner[0])
    return np.tile(heads, outer[0]), np.arange(dims[before][0])
