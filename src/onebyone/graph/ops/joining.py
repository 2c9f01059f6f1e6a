"""What joins tensors along an axis, what cuts them apart, and sequences of them."""

from __future__ import annotations

from collections.abc import Collection
from itertools import chain

import numpy as np
import onnx_ir as ir

from onebyone.algebra.weights import Array
from onebyone.graph.axes import integers, rank
from onebyone.graph.ops.arithmetic import has_one
from onebyone.graph.ops.call import Call
from onebyone.graph.ops.flow import Axes, Flow, Link, channels_of, same
from onebyone.graph.ops.needs import Needs, aligned
from onebyone.graph.ops.row import Effort, Manner, Operator, Role, Rounding, first_if
from onebyone.graph.ops.selector import Selector
from onebyone.graph.ops.sizes import Entries, entries_in
from onebyone.graph.ops.turned import along_axis
from onebyone.graph.picks import Picks, Size
from onebyone.graph.values import all_known, are_read, input_at

__all__ = ["ROWS"]


def _concat(call: Call, *inputs: Array) -> Array:
    return np.concatenate(inputs, axis=call.get("axis"))


def _split(call: Call, x: Array, given: Array | None = None) -> tuple[Array, ...]:
    axis = call.get("axis", 0)
    sizes = call.ints("split", given)
    if sizes is None:
        # Equal parts, the last one smaller where they do not add up.
        each = -(-x.shape[axis] // call.outputs)
        cuts = [each * i for i in range(1, call.outputs)]
    else:
        if sum(sizes) != x.shape[axis]:  # np.split takes what there is
            raise ValueError(
                f"got sizes {sizes} on an axis of {x.shape[axis]}, wanted them to add up"
            )
        cuts = [int(end) for end in np.cumsum(sizes)[:-1]]
    return tuple(np.split(x, cuts, axis))


def _concat_entries(node: ir.Node, known: dict[ir.Value, Entries]) -> Entries | None:
    parts = all_known(entries_in(value, known) for value in node.inputs)
    return None if parts is None else tuple(chain.from_iterable(parts))


# --- Channels ------------------------------------------------------------------------------------


def _concat_flow(node: ir.Node, axis: int, _axes: Axes) -> Flow | None:
    """Along the channels one operand's behind another's, else those of all meet."""
    out = node.outputs[0]
    if node.attributes.get_int("axis", 1) % (rank(node) or 1) != axis:
        return same(node, axis)
    counts = all_known(channels_of(x, axis) for x in node.inputs)
    if counts is None:
        return None
    ends = np.cumsum([0, *counts])
    stretches = zip(node.inputs, counts, ends, strict=False)
    links = (Link(x, axis, out, at + np.arange(n), np.arange(n)) for x, n, at in stretches if x)
    return Flow(axis, tuple(links), moves=True)


def _split_flow(node: ir.Node, axis: int, _axes: Axes) -> Flow | None:
    """Along the channels each result has a stretch of them, else all."""
    x = node.inputs[0]
    counts = [channels_of(v, axis) or 0 for v in node.outputs]
    if x is None or x.shape is None or not channels_of(x, axis) or not all(counts):
        return None
    along = axis in _split_axis(node, 0)
    starts = np.cumsum([0, *counts[:-1]]) * along
    stretches = zip(node.outputs, counts, starts, strict=True)
    links = (Link(x, axis, v, np.arange(n), at + np.arange(n)) for v, n, at in stretches)
    return Flow(axis, tuple(links), moves=along, picks=along)


# --- Positions -----------------------------------------------------------------------------------


def _concat_needs(node: ir.Node, axis: int, picks: Picks, _version: int) -> Needs | None:
    """Where every operand is as long as the result; of those that it joins none is."""
    needs = aligned(node, axis, picks, range(len(node.inputs))) or {}
    if len(needs) < len(node.inputs):
        return None
    return needs


def _split_axis(node: ir.Node, _version: int) -> Collection[int]:
    return {node.attributes.get_int("axis", 0) % rank(node)}


def _piece(node: ir.Node, shape: ir.Shape) -> Selector | None:
    """Of a Split of which one piece is read: of two, each leaves what the other takes."""
    read = [k for k, value in enumerate(node.outputs) if are_read([value])]
    axis = node.attributes.get_int("axis", 0) % shape.rank()
    sizes = _pieces(node, shape[axis])
    if sizes is None or len(read) != 1:
        return None
    start = sum(sizes[: read[0]])
    taken = range(start, start + sizes[read[0]])
    if not taken:
        return None
    return Selector(node.outputs[read[0]], {axis: taken})


def _pieces(node: ir.Node, size: Size) -> list[int] | None:
    if not isinstance(size, int):
        return None
    told = integers(node, 1, "split")
    if told is None and input_at(node, 1) is not None:  # computed when the model runs
        return None
    # Without sizes the pieces are equal, rounded up.
    each = -(-size // len(node.outputs))  # the last piece is what is left
    sizes = told or [min(each, size - each * k) for k in range(len(node.outputs))]
    if sum(sizes) != size or min(sizes) < 0:
        return None
    return sizes


_SEQUENCES = """
    ConcatFromSequence Optional OptionalGetElement OptionalHasElement SequenceAt SequenceConstruct
    SequenceEmpty SequenceErase SequenceInsert SequenceLength SplitToSequence
"""

ROWS = (
    Operator("Concat", Role.CONCAT, _concat, Rounding.NEVER, magnitude="Concat", on_sizes="any",
             entries=_concat_entries, unchanged=first_if(has_one), flow=_concat_flow,
             needs=_concat_needs, turned=along_axis(0), effort=Effort.MOVES, relays=True),
    Operator("Split", value=_split, rounding=Rounding.NEVER, magnitude="Split",
             unchanged=first_if(lambda node: len(node.outputs) == 1), flow=_split_flow,
             mixes=_split_axis, splits=True, takes=_piece, effort=Effort.MOVES,
             manner=Manner.SPLIT, relays=True),
    *(Operator(name, effort=Effort.MOVES) for name in _SEQUENCES.split()),
)  # fmt: skip
