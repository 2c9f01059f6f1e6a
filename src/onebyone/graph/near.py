"""What stands beside a node or a value, where anything does: short steps for those who look around.

Operands may be left out, shapes may be unknown, and inputs have no maker. Each step takes such a
None and hands it on, so that several can be made in a row.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

__all__ = ["are_read", "input_at", "maker", "rank_of"]


def maker(value: ir.Value | None) -> ir.Node | None:
    """The node that computes a value; None for inputs and initialisers.

    >>> node = ir.node("Relu", [ir.val("x")])
    >>> maker(node.outputs[0]) is node, maker(node.inputs[0]), maker(None)
    (True, None, None)
    """
    return None if value is None else value.producer()


def are_read(values: Iterable[ir.Value]) -> bool:
    """Whether anybody reads one of these values: a node, or the caller of the model.

    >>> x = ir.val("x")
    >>> are_read([x]), ir.node("Relu", [x]) and are_read([x])
    (False, True)
    """
    return any(value.uses() or value.is_graph_output() for value in values)


def input_at(node: ir.Node, index: int) -> ir.Value | None:
    """An operand; None where it is left out.

    >>> input_at(ir.node("Relu", [ir.val("x")]), 1) is None
    True
    """
    return node.inputs[index] if index < len(node.inputs) else None


def rank_of(value: ir.Value | None) -> int | None:
    """How many axes a value has; None where nothing is known of its shape.

    >>> rank_of(ir.val("x", ir.DataType.FLOAT, (2, 3))), rank_of(ir.val("x"))
    (2, None)
    """
    return None if value is None or value.shape is None else value.shape.rank()
