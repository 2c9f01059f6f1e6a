"""`Shape` nodes that read a value which is about to go: the same sizes, read elsewhere.

Exporters compute sizes at run time from whatever tensor is at hand, so `Shape` counts as a
consumer of values that nothing else needs. Such a read is no reason to keep the value: each
dimension that is used of it is a number, or stands as some axis of a value that stays, as symbolic
inference shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onebyone.graph.constants import constant
from onebyone.graph.edit import Edit
from onebyone.graph.ops import Role, role

__all__ = ["ShapeReads", "consumers", "entries_used"]

_STAYS = (Role.OPAQUE, Role.ELEMENTWISE, Role.NORMALIZATION)


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

    def serves(self, node: ir.Node) -> bool:
        """Whether `node` is a Shape whose used entries can be had without its operand."""
        value = node.inputs[0] if node.op_type == "Shape" and node.domain == "" else None
        if value is None or value.shape is None:
            return False
        used = entries_used(node, value.shape.rank())
        return all(self._known(value, value.shape[axis]) for axis in used)

    def _known(self, value: ir.Value, size: int | ir.SymbolicDim) -> bool:
        if isinstance(size, int):
            return True
        source = self.sources.get(size.value or "")
        return source is not None and self.position[source[0]] < self.position.get(value, -1)

    def rebuild(self, node: ir.Node, edit: Edit) -> ir.Value:
        """A value that serves as the result of the Shape `node`; `serves(node)` must hold.

        Entries that nobody uses are 1.
        """
        value = node.inputs[0]
        assert value is not None
        assert value.shape is not None
        rank = value.shape.rank()
        used = entries_used(node, rank)
        sizes = [value.shape[axis] if axis in used else 1 for axis in range(*_bounds(node, rank))]
        known = [size for size in sizes if isinstance(size, int)]
        if len(known) == len(sizes):
            return edit.integers(known)
        parts = [self._part(size, node, edit) for size in sizes]
        return edit.sizes("Concat", parts, len(parts), node, axis=0)

    def _part(self, size: int | ir.SymbolicDim, node: ir.Node, edit: Edit) -> ir.Value:
        if isinstance(size, int):
            return edit.integers([size])
        source, axis = self.sources[size.value or ""]
        rank = 0 if source.shape is None else source.shape.rank()
        every = edit.sizes("Shape", [source], rank, node)
        return edit.sizes("Gather", [every, edit.integers([axis])], 1, node)


def consumers(value: ir.Value, reads: ShapeReads) -> Iterator[ir.Node]:
    """The nodes that need the value itself: all but those that read a shape known elsewhere."""
    return (use.node for use in value.uses() if not reads.serves(use.node))


def _bounds(node: ir.Node, rank: int) -> tuple[int, int]:
    """The axes [start, end) that a Shape node gives the sizes of."""
    return slice(node.attributes.get_int("start", 0), node.attributes.get_int("end", rank)).indices(
        rank
    )[:2]


def entries_used(node: ir.Node, rank: int) -> set[int]:
    """The axes whose sizes are used by what consumes a Shape node."""
    start, end = _bounds(node, rank)
    result = node.outputs[0]
    if result.is_graph_output():
        return set(range(start, end))
    used: set[int] = set()
    for use in result.uses():
        picked = _picked(use.node, end - start) if use.idx == 0 else None
        used |= set(range(end - start)) if picked is None else picked
    return {start + k for k in used if 0 <= k < end - start}


def _picked(node: ir.Node, length: int) -> set[int] | None:
    """The entries of a vector that a Gather or Slice with constant indices takes; None: unknown."""
    if node.domain != "" or node.op_type not in ("Gather", "Slice"):
        return None
    operands = [constant(value) for value in node.inputs[1:]]
    if any(array is None for array in operands):
        return None
    numbers = [[int(n) for n in array.reshape(-1)] for array in operands if array is not None]
    if node.op_type == "Gather":
        return {n % length for n in numbers[0]}
    if len(numbers) < 2 or any(len(n) != 1 for n in numbers):
        return None
    step = numbers[3][0] if len(numbers) > 3 else 1
    return set(range(length)[numbers[0][0] : numbers[1][0] : step])
