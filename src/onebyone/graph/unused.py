"""What nobody reads goes: nodes, and the initializers that only they read."""

from __future__ import annotations

import onnx_ir as ir

from onebyone.graph.values import subgraphs

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
            for inner in subgraphs(node):
                for reader in ir.traversal.RecursiveGraphIterator(inner):
                    reader.resize_inputs(0)  # which may be a value of this graph
            graph.remove(node, safe=True)
    kept = {*results, *graph.inputs}
    for name, value in list(graph.initializers.items()):
        if value not in kept and not value.uses():
            del graph.initializers[name]
