"""What kind of operator each ONNX operator is to those who count, and how often each runs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import prod

import onnx_ir as ir

from onebyone.counting.formulas import Work
from onebyone.counting.operators import Operators, Ran, grouped
from onebyone.graph.count_walk import Walk
from onebyone.graph.count_weights import operator
from onebyone.graph.ops import operator_of

__all__ = ["operators"]


def operators(
    nodes: Collection[ir.Node], walk: Walk, work: Mapping[ir.Node, Work]
) -> tuple[Operators, ...]:
    """What runs among `nodes`; what computes on constants alone does not."""
    return grouped(_ran(node, walk, work.get(node)) for node in nodes if not walk.fixed(node))


def _ran(node: ir.Node, walk: Walk, work: Work | None) -> Ran:
    read = next((v for v in node.inputs if v is not None and v not in walk.weights), None)
    shapes = (
        [walk.shape(read) or (), walk.shape(node.outputs[0]) or ()] if node.outputs else [(), ()]
    )
    elements = [prod(shape) if shape else 0 for shape in shapes]
    return Ran(operator(node), _kind(node, work, *shapes), work, *elements)


def _kind(node: ir.Node, work: Work | None, read: tuple[int, ...], written: tuple[int, ...]) -> str:
    kind = operator_of(node).kind
    if callable(kind):
        return kind(node, read, written)
    return "linear" if kind == "product" and work is not None and work.pointwise_macs else kind
