"""Simplify: what an exporter leaves that computes nothing, gone before any law looks.

    constants    what is computed from constants alone is computed once
    noops        operators that give back what they were given
    sizes        sizes that are known, or computed elsewhere
    pairs        two operators that are one, or none
    same         equal subexpressions and equal weights, once each

Each is a plain function over a graph that says what it removed. They run to a fixed point.
"""

from __future__ import annotations

from collections import Counter

import onnx_ir as ir

from onebyone.graph.simplify.constants import fold_constants
from onebyone.graph.simplify.noops import drop_noops
from onebyone.graph.simplify.pairs import join_pairs
from onebyone.graph.simplify.same import merge_constants, merge_nodes
from onebyone.graph.simplify.sizes import fix_targets, merge_sizes
from onebyone.graph.unused import remove_unused

__all__ = ["simplify"]

_ROUNDS = 20
"""Two or three in practice: what one step leaves, another finds."""


def simplify(graph: ir.Graph, version: int) -> Counter[str]:
    """Take out of a graph what computes nothing; how many nodes of each operator went.

    Beside operators it counts "equal weights" that were stored twice, and "computed targets" of
    Reshape and Expand that are constants now.

    Args:
        graph: with shapes inferred; changed in place.
        version: of the standard operators.

    >>> x = ir.val("x", ir.DataType.FLOAT, [2])
    >>> nodes = [ir.node("Identity", [x])]
    >>> nodes += [ir.node("Relu", [nodes[0].outputs[0]])]
    >>> graph = ir.Graph([x], nodes[1].outputs, nodes=nodes, opset_imports={"": 17})
    >>> simplify(graph, 17), len(graph)
    (Counter({'Identity': 1}), 1)
    """
    gone: Counter[str] = Counter()
    remove_unused(graph)
    for _ in range(_ROUNDS):
        in_round = fold_constants(graph, version)
        in_round += drop_noops(graph)
        in_round += Counter({"equal weights": merge_constants(graph)})
        in_round += Counter({"computed targets": fix_targets(graph)})
        in_round += merge_sizes(graph)
        in_round += join_pairs(graph)
        in_round += merge_nodes(graph)
        remove_unused(graph)
        gone += in_round
        if not in_round:
            break
    return gone
