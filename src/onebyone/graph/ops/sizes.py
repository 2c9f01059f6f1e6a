"""Sizes as values: what is known of them before the model runs, and which shapes are the same."""

from __future__ import annotations

import onnx_ir as ir

from onebyone.graph.constants import constant

__all__ = [
    "LONGEST",
    "Entries",
    "entries_in",
    "keeps_shape",
    "keeps_told_shape",
    "of_shapes",
    "same_shape",
]


Entries = tuple[int | str, ...]
"""Of a vector or scalar of integers: each entry as a number, or as the name of a free size."""

# A longer list of integers is data.
LONGEST = 64


def entries_in(value: ir.Value | None, known: dict[ir.Value, Entries]) -> Entries | None:
    """What is known of an operand that holds sizes: a constant, or the result of a known node."""
    if value is None or value in known:
        return None if value is None else known[value]
    array = constant(value)
    if array is None or array.dtype.kind not in "iu" or array.ndim > 1 or array.size > LONGEST:
        return None
    return tuple(int(n) for n in array.reshape(-1))


def of_shapes(target: ir.Value | None) -> bool:
    """Whether sizes hang on shapes and constants alone, not on numbers that the caller gives.

    Of those the file may declare what comes out, which is the author's word and not computed.
    """
    waiting, seen = [target], set()
    while waiting:
        value = waiting.pop()
        if value is None or value in seen or constant(value) is not None:
            continue
        seen.add(value)
        node = value.producer()
        if node is None or node.domain != "":
            return False
        waiting += () if node.op_type in ("Shape", "Size") else node.inputs
    return True


def same_shape(a: ir.Value | None, b: ir.Value | None) -> bool:
    """Whether two values have provably the same shape, whatever the free sizes are."""
    if a is None or b is None or a.shape is None or b.shape is None:
        return False
    named = all(isinstance(d, int) or d.value is not None for d in (*a.shape, *b.shape))
    return named and list(a.shape) == list(b.shape)


def keeps_shape(node: ir.Node, at: int = 0) -> bool:
    """Whether the result has the shape of an operand."""
    return same_shape(node.inputs[at], node.outputs[0])


def keeps_told_shape(node: ir.Node) -> bool:
    """The same where the further operands say the shape, and no number of the caller makes it."""
    return keeps_shape(node) and all(of_shapes(v) for v in node.inputs[1:] if v is not None)
