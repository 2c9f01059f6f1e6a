"""Ranges: between which numbers the integers of a value lie, whatever the model is given.

By their type, as those of a constant are, or as the nodes say that make them: the place of a
maximum along an axis of 7 is one of 0 … 6.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from onebyone.graph.constants import constant
from onebyone.graph.values import input_at, size

__all__ = ["integer_range"]

Range = tuple[int, int]
"""The least and the largest, both included."""

MAX_DEPTH = 8
"""Nodes that are looked through."""


def integer_range(value: ir.Value | None, depth: int = 0) -> Range | None:
    """The range of the integers of a value; None where it is not of a type of integers.

    >>> x = ir.val("x", ir.DataType.FLOAT, ("n", 7))
    >>> found = ir.node("ArgMax", [x], {"axis": -1})
    >>> found.outputs[0].dtype = ir.DataType.INT64
    >>> integer_range(found.outputs[0])
    (0, 6)
    >>> integer_range(ir.val("byte", ir.DataType.UINT8, (3,)))
    (0, 255)
    """
    if value is None or value.dtype not in _TYPES:
        return None
    whole = _of_type(value.dtype)
    listed = constant(value)
    if listed is not None and listed.size:
        return int(listed.min()), int(listed.max())
    node = value.producer()
    if node is None or node.domain != "" or depth >= MAX_DEPTH or node.outputs[0] is not value:
        return whole
    told = _MADE_BY.get(node.op_type, _unknown)
    return _both(whole, told(node, depth + 1) or whole)


_TYPES = frozenset({
    ir.DataType.INT8, ir.DataType.INT16, ir.DataType.INT32, ir.DataType.INT64,
    ir.DataType.UINT8, ir.DataType.UINT16, ir.DataType.UINT32,
})  # fmt: skip


def _of_type(dtype: ir.DataType) -> Range:
    limits = np.iinfo(dtype.numpy())
    return int(limits.min), int(limits.max)


def _both(a: Range, b: Range) -> Range:
    """What lies in two ranges; the first, where nothing does."""
    low, high = max(a[0], b[0]), min(a[1], b[1])
    if low > high:
        return a
    return low, high


def _unknown(_node: ir.Node, _depth: int) -> None:
    """Of other operators."""


def _place(node: ir.Node, _depth: int) -> Range | None:
    x = node.inputs[0]
    if x is None or x.shape is None or x.shape.rank() == 0:
        return None
    length = size(x, node.attributes.get_int("axis", 0) % x.shape.rank())
    if not length:
        return None
    return 0, length - 1


def _cast(node: ir.Node, depth: int) -> Range | None:
    """Of integers that the new type has, and of truth values; others are cast to anything."""
    x, out = node.inputs[0], node.outputs[0]
    if x is not None and x.dtype == ir.DataType.BOOL:
        return (0, 1)
    found = integer_range(x, depth)
    if found is None or out.dtype not in _TYPES or _both(_of_type(out.dtype), found) != found:
        return None
    return found


def _same(node: ir.Node, depth: int) -> Range | None:
    return integer_range(node.inputs[0], depth)


def _clip(node: ir.Node, depth: int) -> Range | None:
    """Clip by constants, where the least is not above the largest."""
    low, high = (_one(input_at(node, at)) for at in (1, 2))
    found = integer_range(node.inputs[0], depth)
    if found is None or any(input_at(node, at) is not None and bound is None
                            for at, bound in ((1, low), (2, high))):  # fmt: skip
        return None
    least = found[0] if low is None else low
    largest = found[1] if high is None else high
    if least > largest:
        return None
    return least, largest


def _remainder(node: ir.Node, _depth: int) -> Range | None:
    """The remainder by a positive constant, which is not negative."""
    by = _one(input_at(node, 1))
    as_in_c: int = node.attributes.get_int("fmod", 0)  # with the sign of what is divided
    if by is None or by <= 0 or as_in_c:
        return None
    return (0, by - 1)


def _one(value: ir.Value | None) -> int | None:
    listed = constant(value)
    if listed is None or listed.size != 1:
        return None
    return int(listed.reshape(-1)[0])


_MADE_BY: dict[str, Callable[[ir.Node, int], Range | None]] = {
    **dict.fromkeys(("ArgMax", "ArgMin"), _place),
    **dict.fromkeys(
        ("Expand", "Flatten", "Gather", "GatherElements", "Identity", "Reshape", "Slice",
         "Squeeze", "Tile", "Transpose", "Unsqueeze"), _same),
    "Cast": _cast,
    "Clip": _clip,
    "Mod": _remainder,
}  # fmt: skip
