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
from onebyone.graph.ops.sizes import shape_span
from onebyone.graph.values import Size, all_known, rank_of, shape_of

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
        if node.op_type != "Shape" or node.domain != "":
            return False
        value, shape = node.inputs[0], shape_of(node.inputs[0])
        if value is None or shape is None:
            return False
        return all(self._known(value, shape[axis]) for axis in entries_used(node, len(shape)))

    def _known(self, value: ir.Value, size: Size) -> bool:
        if isinstance(size, int):
            return True
        source = self.sources.get(size.value or "")
        return source is not None and self.position[source[0]] < self.position.get(value, -1)

    def rebuild(self, node: ir.Node, edit: Edit) -> ir.Value:
        """A value that serves as the result of the Shape `node`; `serves(node)` must hold.

        Entries that nobody uses are 1.
        """
        shape = shape_of(node.inputs[0]) or ()
        used = entries_used(node, len(shape))
        axes = range(len(shape))[shape_span(node)]
        sizes = [shape[axis] if axis in used else 1 for axis in axes]
        known = [size for size in sizes if isinstance(size, int)]
        if len(known) == len(sizes):
            return edit.integers(known)
        parts = [self._part(size, node, edit) for size in sizes]
        return edit.sizes("Concat", parts, len(parts), node, axis=0)

    def _part(self, size: Size, node: ir.Node, edit: Edit) -> ir.Value:
        if isinstance(size, int):
            return edit.integers([size])
        source, axis = self.sources[size.value or ""]
        every = edit.sizes("Shape", [source], rank_of(source) or 0, node)
        return edit.sizes("Gather", [every, edit.integers([axis])], 1, node)


def consumers(value: ir.Value, reads: ShapeReads) -> Iterator[ir.Node]:
    """The nodes that need the value itself: all but those that read a shape known elsewhere."""
    return (use.node for use in value.uses() if not reads.serves(use.node))


def entries_used(node: ir.Node, rank: int) -> set[int]:
    """The axes whose sizes are used by what consumes a Shape node."""
    axes, result = range(rank)[shape_span(node)], node.outputs[0]
    if result.is_graph_output():
        return set(axes)
    used: set[int] = set()
    for use in result.uses():
        picked = _picked(use.node, len(axes))
        # As an index of something else, a shape is used whole.
        if picked is None or use.idx != 0:
            return set(axes)
        used |= picked
    return {axes[k] for k in used if 0 <= k < len(axes)}


def _picked(node: ir.Node, length: int) -> set[int] | None:
    """The entries of a vector that a Gather or Slice with constant indices takes; None: unknown."""
    if role(node) is not Role.SELECTION:
        return None
    arrays = all_known(map(constant, node.inputs[1:]))
    if arrays is None:
        return None
    numbers = [[int(n) for n in array.reshape(-1)] for array in arrays]
    if node.op_type == "Gather":
        return {n % length for n in numbers[0]}
    if len(numbers) < 2 or any(len(n) != 1 for n in numbers):
        return None
    # Starts, ends, axes (a vector has one) and steps.
    step = numbers[3][0] if len(numbers) > 3 else 1
    return set(range(length)[numbers[0][0] : numbers[1][0] : step])
