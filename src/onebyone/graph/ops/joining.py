"""What joins tensors along an axis, what cuts them apart, and sequences of them."""

from __future__ import annotations

from itertools import chain

import numpy as np
import onnx_ir as ir

from onebyone.algebra.weights import Array
from onebyone.graph.ops.arithmetic import has_one
from onebyone.graph.ops.call import Call
from onebyone.graph.ops.row import Effort, Operator, Role, Rounding, first_if
from onebyone.graph.ops.sizes import Entries, entries_in
from onebyone.graph.values import all_known

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


_SEQUENCES = """
    ConcatFromSequence Optional OptionalGetElement OptionalHasElement SequenceAt SequenceConstruct
    SequenceEmpty SequenceErase SequenceInsert SequenceLength SplitToSequence
"""

ROWS = (
    Operator("Concat", Role.CONCAT, _concat, Rounding.NEVER, magnitude="Concat", on_sizes="whole",
             entries=_concat_entries, unchanged=first_if(has_one), effort=Effort.MOVES,
             relays=True),
    Operator("Split", value=_split, rounding=Rounding.NEVER, magnitude="Split",
             unchanged=first_if(lambda node: len(node.outputs) == 1), effort=Effort.MOVES,
             relays=True),
    *(Operator(name, effort=Effort.MOVES) for name in _SEQUENCES.split()),
)  # fmt: skip
