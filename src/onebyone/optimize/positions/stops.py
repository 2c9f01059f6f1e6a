"""Stops: why a selection stays where it is, although all positions are computed behind it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from onebyone.algebra.laws import refused
from onebyone.algebra.layout import divide, product
from onebyone.algebra.refusal import Refusal
from onebyone.algebra.selection import Slice
from onebyone.graph.constants import is_float
from onebyone.graph.ops import Role, operator_of, role
from onebyone.graph.ops.windows import rounds_down
from onebyone.graph.picks import Picks
from onebyone.graph.shapes import Sizes
from onebyone.graph.values import input_at, maker
from onebyone.graph.views import dims_of, view_axis
from onebyone.optimize.positions.demand import Demand
from onebyone.optimize.positions.prices import works
from onebyone.optimize.positions.through import through
from onebyone.optimize.rewritten import Task

__all__ = ["Stops", "near_misses"]

MAX_PASSED = 64
"""Nodes that one selection is followed back through."""


def near_misses(task: Task) -> Iterator[tuple[ir.Node, Refusal]]:
    """The selections that stay where they are, and why."""
    stops = Stops.of(task.model.graph, task.sizes, task.axes)
    for node in task.model.graph:
        stop = stops.at(node)
        if stop is not None:
            yield node, stop


@dataclass(frozen=True, eq=False)
class Stops:
    """What is asked of a graph as it stands, to tell where that goes no further.

    Args:
        demand: of the graph.
        axes: the channel axis of each value that has one.
        working: the nodes for whose work it pays to select before them.
        behind: the values that such work is behind.
    """

    demand: Demand
    axes: Mapping[ir.Value, int]
    working: frozenset[ir.Node]
    behind: frozenset[ir.Value]

    @classmethod
    def of(cls, graph: ir.Graph, sizes: Sizes, axes: Mapping[ir.Value, int]) -> Stops:
        """The stops of a graph with shapes inferred, and its channel axes."""
        demand = Demand.on(graph)
        working, behind = set[ir.Node](), set[ir.Value]()
        for node in graph:
            if not demand.selectors:  # there is nothing to ask for
                break
            if works(node, sizes):
                working.add(node)
            if node in working or any(v in behind for v in node.inputs):
                behind.update(node.outputs)
        return cls(demand, axes, frozenset(working), frozenset(behind))

    def at(self, node: ir.Node) -> Refusal | None:
        """Why a selector did not move back; None if it is none, or there is nothing to save."""
        found, x = self.demand.selectors.get(node), input_at(node, 0)
        if found is None or x is None or not is_float(x) or x not in self.behind:
            return None
        asked = self.demand.operands[node].get(0, {})
        told = (self._back(x, axis, asked[axis]) for axis in found.orders if axis in asked)
        return next(filter(None, told), None)

    def _back(self, x: ir.Value, axis: int, picks: Picks) -> Refusal | None:
        """Follow a selection through all that it could pass, to the first thing it could not."""
        left, passed, stops = [(x, axis, picks)], set[ir.Node](), list[Refusal]()
        while left and len(passed) < MAX_PASSED:
            value, axis, picks = left.pop()
            node = value.producer()
            if node is None or node in passed or value not in self.behind:
                continue
            # Here more is computed than this selection asks for: here it stopped.
            if self.demand.of(value).get(axis) != picks:
                stops += self._why(value, node, axis, picks)
                continue
            passed.add(node)
            needs = through(node, axis, picks, self.demand.version) or {}
            operands = ((node.inputs[k], own, taken) for k, (own, taken) in needs.items())
            left += [(v, own, taken) for v, own, taken in operands if v is not None]
        # It could have gone on: the price was against it.
        if passed & self.working:
            return refused("demand", "price")
        return next(iter(stops), None)

    def _why(self, value: ir.Value, node: ir.Node, axis: int, picks: Picks) -> Iterator[Refusal]:
        """What all of a value is needed for; nothing where it is channels, or is shared out."""
        if self._is_channel(value, axis) or self._is_shared_out(value):
            return
        what = node.op_type
        if value.is_graph_output() or (self.demand.readers_ask(node) or {}).get(axis) != picks:
            yield refused("demand", "read", operator=what)
        elif role(node) is Role.CONCAT:
            yield refused("demand", "joins", operator=what)
        elif _has_windows(node) and not rounds_down(node):
            yield refused("demand", "rounds", operator=what)
        elif isinstance(picks.taken, Slice) and self._hangs_on_sizes(node):
            yield refused("demand", "free", operator=what)
        else:
            yield refused("demand", "several", operator=what)

    def _hangs_on_sizes(self, node: ir.Node) -> bool:
        """Whether a node could take a part of an axis if only its size were known."""
        return _has_windows(node) or _is_view(node) or node in self.demand.selectors

    def _is_shared_out(self, value: ir.Value) -> bool:
        """Whether several crops take what there is: the windows of a shift, every second token."""
        readers = [use.node for use in value.uses()]
        found = [self.demand.selectors.get(node) for node in readers]
        taken = all(selector is not None and selector.copies for selector in found)
        return taken and len(readers) > 1 and not value.is_graph_output()

    def _is_channel(self, value: ir.Value | None, axis: int) -> bool:
        """Whether an axis is the channels', or a piece of it, such as (query, key, value)."""
        for _ in range(MAX_PASSED):
            node = maker(value)
            if value is None or self.axes.get(value) == axis:
                return value is not None
            if node is None or not _is_view(node):
                return False
            own = view_axis(node, axis)
            if own is None:
                return self._cuts_channels(node, axis)
            value, axis = node.inputs[0], own
        return False

    def _cuts_channels(self, node: ir.Node, axis: int) -> bool:
        """Whether an axis of a view is a piece of the channels of its operand."""
        x = node.inputs[0]
        before, after = dims_of(x), dims_of(node.outputs[0])
        if x is None or x not in self.axes or before is None or after is None:
            return False
        own = self.axes[x]
        starts = divide(product(after[:axis]), product(before[:own])) is not None
        ends = divide(product(before[: own + 1]), product(after[: axis + 1])) is not None
        return starts and ends


def _is_view(node: ir.Node) -> bool:
    return role(node) is Role.VIEW


def _has_windows(node: ir.Node) -> bool:
    return operator_of(node).windows is not None
