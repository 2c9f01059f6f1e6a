"""Sizes that are computed when a model runs although they are known.

Exporters cut channels in half with Shape → Gather → Div → Slice, also where the number of channels
is fixed. Integers are evaluated here as the engine would. Floating-point numbers are followed only
where they are on their way from sizes to sizes, as in `math.ceil(height / 2)`, through operators
whose result IEEE 754 determines to the last bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from onebyone.algebra.weights import Array
from onebyone.graph.constants import constant
from onebyone.graph.ops import operator_of
from onebyone.graph.ops.call import call_of

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
    return array if array is not None and array.size <= MAX_ELEMENTS else None


def _computed(node: ir.Node, known: dict[ir.Value, Array], version: int) -> Array | None:
    if node.domain != "" or len(node.outputs) != 1:
        return None
    kind, row = node.outputs[0].dtype, operator_of(node)
    if kind not in _INTEGERS and not (kind in _FLOATS and row.on_sizes == "any"):
        return None
    if node.op_type == "Shape":
        return _sizes(node, range(*_span(node)))
    if node.op_type == "Gather" and _shape_of(node.inputs[0]) is not None:
        return _entry(node, known)
    if not row.on_sizes or row.value is None:
        return None
    inputs = [_array(value, known) for value in node.inputs]
    if not all(array is not None and _is_size(array) for array in inputs):
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
    return None if node.op_type == "Pow" and (array != np.rint(array)).any() else array


def _is_size(array: Array) -> bool:
    known = array.dtype.kind in "iu" or array.dtype in _FLOATS.values()
    return known and array.size <= MAX_ELEMENTS


def _is_short(shape: Array | None) -> bool:
    """Whether a tensor of this shape may be made at all."""
    return shape is not None and all(0 <= int(n) <= MAX_ELEMENTS for n in shape) and len(shape) < 3


def _array(value: ir.Value | None, known: dict[ir.Value, Array]) -> Array | None:
    return None if value is None else known.get(value, constant(value))


def _shape_of(value: ir.Value | None) -> ir.Node | None:
    node = None if value is None else value.producer()
    return node if node is not None and node.op_type == "Shape" and node.domain == "" else None


def _span(node: ir.Node) -> tuple[int, int]:
    """The axes [start, end) that a Shape node gives the sizes of."""
    shape = None if node.inputs[0] is None else node.inputs[0].shape
    rank = 0 if shape is None else shape.rank()
    bounds = slice(node.attributes.get_int("start", 0), node.attributes.get_int("end", rank))
    return bounds.indices(rank)[:2]


def _sizes(node: ir.Node, axes: range) -> Array | None:
    shape = None if node.inputs[0] is None else node.inputs[0].shape
    found = [] if shape is None else [shape[k] for k in axes]
    whole = shape is not None and all(isinstance(n, int) for n in found)
    return np.array(found, np.int64) if whole else None


def _entry(node: ir.Node, known: dict[ir.Value, Array]) -> Array | None:
    """Some entries of a shape, of which others may be free."""
    maker, index = _shape_of(node.inputs[0]), _array(node.inputs[1], known)
    if maker is None or index is None:
        return None
    axes = range(*_span(maker))
    picked = [axes[int(k)] for k in index.reshape(-1) if -len(axes) <= k < len(axes)]
    shape = None if maker.inputs[0] is None else maker.inputs[0].shape
    sizes = [] if shape is None else [shape[k] for k in picked]
    if len(sizes) < index.size or not all(isinstance(n, int) for n in sizes):
        return None
    return np.array(sizes, np.int64).reshape(index.shape)
