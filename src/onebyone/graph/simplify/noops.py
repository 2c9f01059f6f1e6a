"""Operators that give back what they were given: they go.

What is equal over the reals counts: x + 0 of a negative zero is a positive one.
"""

from __future__ import annotations

from collections import Counter

import onnx_ir as ir

from onebyone.graph.edit import Edit
from onebyone.graph.ops import operator_of
from onebyone.graph.ops.conversion import is_of_int8_codes
from onebyone.graph.values import input_at, is_read

__all__ = ["drop_noops"]


# Engines take these out themselves. Others keep what follows away from codes that they take amiss.
_GO_ANYWAY = frozenset({"Identity", "Dropout"})


def drop_noops(graph: ir.Graph) -> Counter[str]:
    """Let what reads a node that changes nothing read its operand; how many of each operator.

    Args:
        graph: with shapes inferred; changed in place. The nodes are left standing without readers.

    >>> x = ir.val("x", ir.DataType.FLOAT, [1, 2])
    >>> cast = ir.node("Cast", [x], {"to": 1})
    >>> graph = ir.Graph([x], [], nodes=[cast, ir.node("Relu", [cast.outputs[0]])])
    >>> drop_noops(graph), graph[1].inputs[0].name
    (Counter({'Cast': 1}), 'x')
    """
    edit, gone = Edit(graph), Counter[str]()
    opset = graph.opset_imports.get("", 0)
    for node in graph:
        source = _source(node)
        if source is None or (node.op_type not in _GO_ANYWAY and is_of_int8_codes(source, opset)):
            continue
        if edit.bypass(node.outputs[0], source):
            gone[node.op_type] += 1
    return gone


def _source(node: ir.Node) -> ir.Value | None:
    """The operand that a node hands on unchanged."""
    unchanged = operator_of(node).unchanged
    # What else a node gives (a mask, statistics) is no operand of its.
    if unchanged is None or any(map(is_read, node.outputs[1:])):
        return None
    at = unchanged(node)
    return None if at is None else input_at(node, at)
