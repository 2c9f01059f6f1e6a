"""Sizes that are computed when a model runs although they are known.

Exporters cut channels in half with Shape → Gather → Div → Slice, also where the number of channels
is fixed. Integers are evaluated here as the engine would. Floating-point numbers are followed only
where they are on their way from sizes to sizes, as in `math.ceil(height / 2)`, through operators
whose result IEEE 754 determines to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx_ir as ir

from onebyone.algebra.weights import Array
from onebyone.graph.constants import constant
from onebyone.graph.ops import operator_of
from onebyone.graph.ops.call import call_of
from onebyone.graph.ops.sizes import shape_span
from onebyone.graph.values import all_known, made_by, rank_of, size

__all__ = ["known_numbers"]

MAX_ELEMENTS = 64
"""Sizes and bounds are short; anything longer is data."""

_INTEGERS = {ir.DataType.INT64, ir.DataType.INT32}
_FLOATS: dict[ir.DataType | None, np.dtype[Any]] = {
    ir.DataType.FLOAT: np.dtype(np.float32),
    ir.DataType.DOUBLE: np.dtype(np.float64),
}


def known_numbers(node: ir.Node, known: dict[ir.Value, Array], version: int) -> Array | None:
    """The numbers that a node computes; None if they are not known, no sizes, or many.

    Args:
        node: the shapes of its operands are inferred.
        known: what the nodes before it compute.
        version: of the standard operators.
    """
    array = _computed(node, known, version)
    if array is None or array.size > MAX_ELEMENTS:
        return None
    return array


def _computed(node: ir.Node, known: dict[ir.Value, Array], version: int) -> Array | None:
    if node.domain != "" or len(node.outputs) != 1:
        return None
    kind, row = node.outputs[0].dtype, operator_of(node)
    if kind not in _INTEGERS and not (kind in _FLOATS and row.on_sizes == "any"):
        return None
    if node.op_type == "Shape":
        return None if rank_of(node.inputs[0]) is None else _sizes(node, _axes(node))
    if node.op_type == "Gather" and made_by(node.inputs[0], "Shape") is not None:
        return _entry(node, known)
    if not row.on_sizes or row.value is None:
        return None
    inputs = all_known(_array(value, known) for value in node.inputs)
    if inputs is None or not all(map(_is_size, inputs)):
        return None
    if node.op_type == "ConstantOfShape" and not _is_short(inputs[0]):
        return None
    call = call_of(node, version, _FLOATS.get(kind, np.dtype(np.float64)))
    try:
        with np.errstate(all="raise"):
            array = np.asarray(row.value(call, *inputs))
    except (ArithmeticError, LookupError, ValueError):
        return None  # the engine shall say what it does there, if it ever comes to it
    # The square root of 64 tokens by Pow is 8 in any library; of 65 it may be one bit off.
    if node.op_type == "Pow" and (array != np.rint(array)).any():
        return None
    return array


def _is_size(array: Array) -> bool:
    known = array.dtype.kind in "iu" or array.dtype in _FLOATS.values()
    return known and array.size <= MAX_ELEMENTS


def _is_short(shape: Array) -> bool:
    """Whether a tensor of this shape may be made at all."""
    return all(0 <= int(n) <= MAX_ELEMENTS for n in shape) and len(shape) < 3


def _array(value: ir.Value | None, known: dict[ir.Value, Array]) -> Array | None:
    if value is not None and value in known:
        return known[value]
    return constant(value)


def _sizes(shape_node: ir.Node, axes: Iterable[int]) -> Array | None:
    """These of the sizes of a Shape node's operand, where they are fixed; others may be free."""
    sizes = all_known(size(shape_node.inputs[0], axis) for axis in axes)
    if sizes is None:
        return None
    return np.array(sizes, np.int64)


def _axes(shape_node: ir.Node) -> range:
    """The axes that a Shape node gives the sizes of; none where the rank is unknown."""
    return range(rank_of(shape_node.inputs[0]) or 0)[shape_span(shape_node)]


def _entry(node: ir.Node, known: dict[ir.Value, Array]) -> Array | None:
    """Some entries of a shape, of which others may be free."""
    shape_node, index = made_by(node.inputs[0], "Shape"), _array(node.inputs[1], known)
    if shape_node is None or index is None:
        return None
    axes = _axes(shape_node)
    if not all(-len(axes) <= k < len(axes) for k in index.reshape(-1)):
        return None  # the engine refuses it, if it ever comes to it
    sizes = _sizes(shape_node, [axes[int(k)] for k in index.reshape(-1)])
    if sizes is None:
        return None
    return sizes.reshape(index.shape)
