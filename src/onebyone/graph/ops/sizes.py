"""Sizes as values: what is known of them before the model runs, and which shapes are the same."""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

from onebyone.graph.constants import constant
from onebyone.graph.values import Size, all_known, maker, shape_of

__all__ = [
    "LONGEST", "Entries", "entries_in", "keeps_shape", "keeps_told_shape", "named_sizes",
    "of_shapes", "same_shape", "shape_span",
]  # fmt: skip


Entries = tuple[int | str, ...]
"""Of a vector or scalar of integers: each entry as a number, or as the name of a free size."""

# A longer list of integers is data.
LONGEST = 64


def named_sizes(shape: Iterable[Size] | None) -> Entries | None:
    """Sizes as entries; None if one of them has not even a name.

    >>> named_sizes(ir.Shape([2, "n"])), named_sizes(ir.Shape([2, None]))
    ((2, 'n'), None)
    """
    if shape is None:
        return None
    return all_known(n if isinstance(n, int) else n.value for n in shape)


def shape_span(node: ir.Node) -> slice:
    """The axes that a Shape node gives the sizes of: all, or from opset 15 on some in a row."""
    get = node.attributes.get_int
    return slice(get("start", 0), get("end", None))


def entries_in(value: ir.Value | None, known: dict[ir.Value, Entries]) -> Entries | None:
    """What is known of an operand that holds sizes: a constant, or the result of a known node."""
    if value is None:
        return None
    if value in known:
        return known[value]
    array = constant(value)
    if array is None or array.dtype.kind not in "iu" or array.ndim > 1 or array.size > LONGEST:
        return None
    return tuple(int(n) for n in array.reshape(-1))


def of_shapes(target: ir.Value | None) -> bool:
    """Whether sizes hang on shapes and constants alone, not on numbers that the caller gives.

    Of those the file may declare what comes out, which is the author's word and not computed.
    """
    waiting: list[ir.Value | None] = [target]
    seen: set[ir.Value | None] = {None}
    while waiting:
        value = waiting.pop()
        if value in seen or constant(value) is not None:
            continue
        seen.add(value)
        node = maker(value)
        if node is None or node.domain != "":
            return False
        if node.op_type not in ("Shape", "Size"):
            waiting += node.inputs
    return True


def same_shape(a: ir.Value | None, b: ir.Value | None) -> bool:
    """Whether two values have provably the same shape, whatever the free sizes are."""
    one, other = named_sizes(shape_of(a)), named_sizes(shape_of(b))
    return one is not None and one == other


def keeps_shape(node: ir.Node, at: int = 0) -> bool:
    """Whether the result has the shape of an operand."""
    return same_shape(node.inputs[at], node.outputs[0])


def keeps_told_shape(node: ir.Node) -> bool:
    """The same where the further operands say the shape, and no number of the caller makes it."""
    return keeps_shape(node) and all(of_shapes(v) for v in node.inputs[1:] if v is not None)
