"""Sharing: weights that several operators read, and what becomes of them when one reads another.

A network that runs its layers again (one head for all levels of a pyramid, a block repeated, two
branches of one kind, an embedding that is the classifier too) stores their weights once. A weight
made for one of its readers is stored beside the old one, unless all readers get the same.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import onnx_ir as ir

from onebyone.graph.constants import constant

__all__ = ["is_kept", "origin", "readers"]


def is_kept(weight: ir.Value, nodes: Collection[ir.Node]) -> bool:
    """Whether a constant stays in the file though `nodes` do not read it any more.

    >>> w = ir.val("w", const_value=ir.tensor([[1.0, 2.0]]))
    >>> first, second = ir.node("MatMul", [ir.val("x"), w]), ir.node("Gather", [w, ir.val("i")])
    >>> is_kept(w, [first]), is_kept(w, [first, second])
    (True, False)
    """
    return origin(weight).is_graph_output() or any(n not in nodes for n in readers(weight))


def readers(weight: ir.Value) -> Iterator[ir.Node]:
    """All nodes that read the initialiser behind a constant, itself or through views of it."""
    left = [origin(weight)]
    while left:
        value = left.pop()
        for use in value.uses():
            views = [v for v in use.node.outputs if constant(v) is not None]
            left += views
            if not views or any(v.is_graph_output() for v in views):
                yield use.node


def origin(weight: ir.Value) -> ir.Value:
    """The initialiser that a constant is, or is a view of.

    >>> w = ir.val("w", const_value=ir.tensor([[1.0, 2.0]]))
    >>> origin(ir.node("Transpose", [w]).outputs[0]) is w
    True
    """
    node = weight.producer()
    if node is None or node.inputs[0] is None:
        return weight
    return origin(node.inputs[0])
