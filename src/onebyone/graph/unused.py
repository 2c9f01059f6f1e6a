"""What nobody reads goes: nodes, and the initializers that only they read."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

__all__ = ["remove_unused"]


def remove_unused(graph: ir.Graph) -> None:
    """Take nodes out, in place, none of whose results is read, and initializers without a reader.

    Nodes that stay are left as they are. The pass of onnx-ir also drops the optional results of
    theirs that nobody reads, but engines want some of them together: ONNX Runtime refuses an
    Attention that reads past keys and values without giving the present ones.
    """
    results = {*graph.outputs}
    for node in reversed(graph):
        if not any(value in results or value.uses() for value in node.outputs):
            for inner in _nested(node):  # which read values of this graph, too
                inner.resize_inputs(0)
            graph.remove(node, safe=True)
    kept = {*results, *graph.inputs}
    for name, value in list(graph.initializers.items()):
        if value not in kept and not value.uses():
            del graph.initializers[name]


def _nested(node: ir.Node) -> Iterator[ir.Node]:
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            yield from ir.traversal.RecursiveGraphIterator(attribute.as_graph())
        elif attribute.type == ir.AttributeType.GRAPHS:
            for graph in attribute.as_graphs():
                yield from ir.traversal.RecursiveGraphIterator(graph)
