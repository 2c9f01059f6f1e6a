"""The most that activations take at once, when nodes run in their order and none is kept too long.

    alive(n) = Σ bytes(v)  over the values v made at or before node n and read at or behind it

Inputs are there from their first reader on, outputs to the end. A view has no memory of its own.
What an engine takes is more: it may run in another order, copy, and keep what it took.
"""

from __future__ import annotations

import onnx_ir as ir

from onebyone.counting.peak import highest
from onebyone.graph.count_walk import Walk, bytes_of
from onebyone.graph.ops import operator_of
from onebyone.graph.ops.row import Effort

__all__ = ["peak"]


def peak(walk: Walk) -> int | None:
    """In bytes, weights apart; None if a size is unknown."""
    nodes = [node for node in walk.graph if not walk.fixed(node)]
    holder: dict[ir.Value, ir.Value] = {}
    spans: dict[ir.Value, tuple[int, int]] = {}
    for k, node in enumerate(nodes):
        read = [v for v in node.inputs if v is not None and v not in walk.weights]
        is_view = operator_of(node).effort is Effort.FREE and bool(read)
        for value in node.outputs:
            holder[value] = holder.get(read[0], read[0]) if is_view else value
        for value in (*read, *node.outputs):
            held = holder.get(value, value)
            spans[held] = (spans.get(held, (k, k))[0], k)
    for value in walk.graph.outputs:
        held = holder.get(value, value)
        if held in spans:
            spans[held] = (spans[held][0], len(nodes))
    sized = [(*span, bytes_of(v, walk) if v.name else 0) for v, span in spans.items()]
    known = [(first, last, size) for first, last, size in sized if size is not None]
    return highest(known) if len(known) == len(sized) else None
