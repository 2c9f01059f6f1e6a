"""`Shape` nodes that read a value which is about to go: the same sizes, read elsewhere.

Exporters compute sizes at run time from whatever tensor is at hand, so `Shape` counts as a consumer
of values that nothing else needs. Such a read is no reason to keep the value: each of its dimensions
is a number, or stands as some axis of a value that stays, as symbolic inference shows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx_ir as ir

from onebyone.graph.operators import Role, role

__all__ = ["ShapeReads", "consumers"]

_STAYS = (Role.OPAQUE, Role.ELEMENTWISE, Role.NORMALIZATION)

MakeNode = Callable[[str, list[ir.Value], list[ir.Attr]], ir.Value]
MakeConstant = Callable[[list[int]], ir.Value]


@dataclass(frozen=True)
class ShapeReads:
    """Where each symbolic dimension of a graph can be read.

    Args:
        sources: the dimension's text -> the first value, and its axis, that has it.
        position: where each value is made, counted in nodes; inputs are at -1.
    """

    sources: dict[str, tuple[ir.Value, int]]
    position: dict[ir.Value, int]

    @classmethod
    def of(cls, graph: ir.Graph) -> ShapeReads:
        """Index the graph's inputs and the results of its nonlinear operators, first come first."""
        sources: dict[str, tuple[ir.Value, int]] = {}
        position = dict.fromkeys(graph.inputs, -1)
        stays = [v for node in graph if role(node) in _STAYS for v in node.outputs]
        for k, node in enumerate(graph):
            position.update(dict.fromkeys(node.outputs, k))
        for value in [*graph.inputs, *stays]:
            for axis, size in enumerate(value.shape or ()):
                if not isinstance(size, int) and size.value is not None:
                    sources.setdefault(size.value, (value, axis))
        return cls(sources, position)

    def knows(self, value: ir.Value) -> bool:
        """Whether the whole shape of `value` can be had without it."""
        if value.shape is None:
            return False
        return all(isinstance(d, int) or self._precedes(d, value) for d in value.shape)

    def _precedes(self, size: ir.SymbolicDim, value: ir.Value) -> bool:
        source = self.sources.get(size.value or "")
        return source is not None and self.position[source[0]] < self.position.get(value, -1)

    def rebuild(self, value: ir.Value, node: MakeNode, constant: MakeConstant) -> ir.Value:
        """A value equal to Shape(value), made of other values; `knows(value)` must hold."""
        assert value.shape is not None
        known = [size for size in value.shape if isinstance(size, int)]
        if len(known) == len(value.shape):
            return constant(known)
        parts: list[ir.Value] = []
        for size in value.shape:
            if isinstance(size, int):
                parts.append(constant([size]))
            else:
                source, axis = self.sources[size.value or ""]
                shape = node("Shape", [source], [])
                parts.append(node("Gather", [shape, constant([axis])], []))
        return node("Concat", parts, [ir.AttrInt64("axis", 0)])


def reads_shape(node: ir.Node) -> bool:
    """Whether a node asks for a value's whole shape and nothing else."""
    return node.op_type == "Shape" and node.domain == "" and not node.attributes


def consumers(value: ir.Value, reads: ShapeReads | None) -> list[ir.Node]:
    """The nodes that need the value itself: its consumers but for reads of a shape known elsewhere."""
    users = [use.node for use in value.uses()]
    if reads is None or not reads.knows(value):
        return users
    return [node for node in users if not reads_shape(node)]
