"""Channels last: the transposes that engines cancel in exports that keep channels behind.

Keras and its like keep images as (N, H, W, C), and an exporter writes each convolution between two
transposes. Engines move these through what is elementwise until they meet, so that between two
convolutions nothing is moved: there a transpose costs next to nothing, and a MatMul in the place of
a 1×1 convolution costs two, since no transpose passes it.

An *island* is what hangs together of channels-last values through operators that treat every
position and channel alike. Its transposes cancel if some lead into it from a convolution and some
out of it to one. Where a chain of convolutions that has such an island ends, at an input or at a
MatMul, one transpose is left, whether the last of the convolutions is a MatMul or not: to take it
for one moves that transpose, and saves none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from onebyone.graph.ops import Role, role
from onebyone.graph.values import maker, rank_of
from onebyone.optimize.joined import Joined

__all__ = ["Islands"]

_FIRST = {"AveragePool", "Conv", "ConvTranspose", "GlobalAveragePool", "GlobalMaxPool", "MaxPool"}
"""Operators that read and give (N, C, …) alone."""

_THROUGH = {
    *("Add", "Cast", "Concat", "Div", "Max", "Min", "Mul", "Neg", "Pad", "ReduceMax", "ReduceMean"),
    *("Slice", "Split", "Sub", "Sum"),
}
_ROLES = (Role.ELEMENTWISE, Role.IDENTITY)


@dataclass(frozen=True)
class Islands:
    """What engines keep channels first though the graph has it last.

    Args:
        transposes: the nodes that cancel.
        values: those between them, channels last.
    """

    transposes: frozenset[ir.Node] = frozenset()
    values: frozenset[ir.Value] = frozenset()

    @classmethod
    def of(cls, graph: ir.Graph) -> Islands:
        """The islands of a graph with shapes inferred."""
        into = [n for n in graph if _turns(n, to_last=True) and _leaves_convolution(n)]
        out = [n for n in graph if _turns(n, to_last=False) and _enters_convolution(n)]
        if not into or not out:
            return cls()
        joined = Joined[ir.Value]()
        for node in graph:
            joined.tie(_alike(node))
        closing = {n: v for n in out if (v := n.inputs[0]) is not None}
        # An island that only opens, or only closes, keeps its transposes: nothing meets them.
        opened = {joined.of(n.outputs[0]) for n in into}
        both = opened & {joined.of(v) for v in closing.values()}
        for node in into:  # from here on, islands and the convolutions between them
            joined.tie([node.outputs[0], *_before_convolution(node, closing)])
        chains = {joined.of(v) for v in both}
        ends = {n: n.outputs[0] for n in into} | closing
        known = {n: v for n, v in ends.items() if joined.of(v) in chains}
        values = {v for v in joined.nearer if joined.of(v) in chains} | {*known.values()}
        return cls(frozenset(known), frozenset(values))


def _turns(node: ir.Node, *, to_last: bool) -> bool:
    """Whether a node moves the channels from axis 1 to the last one, or back."""
    perm = tuple(node.attributes.get_ints("perm", ()))
    if node.op_type != "Transpose" or node.domain != "" or len(perm) < 3:
        return False
    if to_last:
        return perm == (0, *range(2, len(perm)), 1)
    return perm == (0, len(perm) - 1, *range(1, len(perm) - 1))


def _leaves_convolution(node: ir.Node) -> bool:
    above = maker(node.inputs[0])
    return above is not None and above.op_type in _FIRST and above.domain == ""


def _enters_convolution(node: ir.Node) -> bool:
    users = [use.node for use in node.outputs[0].uses()]
    return any(user.op_type in _FIRST and user.domain == "" for user in users)


def _before_convolution(node: ir.Node, closing: Mapping[ir.Node, ir.Value]) -> Iterator[ir.Value]:
    """What was transposed for the convolution whose result a node transposes back."""
    convolution = maker(node.inputs[0])
    if convolution is None:
        return
    back = maker(convolution.inputs[0])
    if back is not None and back in closing:
        yield closing[back]


def _alike(node: ir.Node) -> list[ir.Value]:
    """What a node reads and gives, if it treats every position and channel alike."""
    if node.domain != "" or (node.op_type not in _THROUGH and role(node) not in _ROLES):
        return []
    rank = rank_of(node.outputs[0])
    ends = [v for v in (*node.inputs, *node.outputs) if v is not None and rank_of(v) == rank]
    return [v for v in ends if v.producer() is not None or v.is_graph_input()]
