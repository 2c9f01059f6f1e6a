"""What each node of a graph touches, for the most that activations take at once (`counting.peak`).

A view has no memory of its own, and what computes on constants alone moves no activation.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from onebyone.counting import peak as counting
from onebyone.counting.peak import Touched
from onebyone.graph.count_walk import Walk, bytes_of
from onebyone.graph.ops import operator_of
from onebyone.graph.ops.row import Effort

__all__ = ["peak"]


def peak(walk: Walk) -> int | None:
    """In bytes, weights apart; None if a size is unknown."""
    return counting.peak(list(_touched(walk)), walk.graph.outputs)


def _touched(walk: Walk) -> Iterator[Touched[ir.Value]]:
    for node in walk.graph:
        if walk.fixed(node):
            continue
        read = [v for v in node.inputs if v is not None and v not in walk.weights]
        is_view = operator_of(node).effort is Effort.FREE
        viewed = read[0] if read and is_view else None
        # An output without a name is one that nobody asked for.
        made = [(v, bytes_of(v, walk) if v.name and viewed is None else 0) for v in node.outputs]
        yield Touched([*((v, bytes_of(v, walk)) for v in read), *made], node.outputs, viewed)
