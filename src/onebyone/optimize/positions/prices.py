"""What it costs to compute fewer positions: each node, and the selections between.

Nodes have the price that the report tells (`cost.estimate`), at as many numbers as are left of what
they read and write. So where this pays, the time in the report falls.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod

import onnx_ir as ir

from onebyone.cost.estimate import node_time
from onebyone.cost.price import Load, manner, time
from onebyone.cost.profile import Cost, Profile
from onebyone.graph.constants import constant, is_float
from onebyone.graph.count import macs
from onebyone.graph.ops.merged import Rows
from onebyone.graph.picks import Asked, Order, Picks, count, sizes_left, within
from onebyone.graph.shapes import Sizes
from onebyone.graph.spatial import windows_of
from onebyone.optimize.positions.crop_edit import Key, key, selecting
from onebyone.optimize.positions.demand import Demand

__all__ = ["Prices", "macs_of", "works"]


def macs_of(node: ir.Node, sizes: Sizes) -> int:
    """The multiply-accumulates of one node of a graph."""
    if node.graph is None:
        return 0
    return macs(node.graph, sizes, [node])


def works(node: ir.Node, sizes: Sizes) -> bool:
    """Whether a node multiplies and accumulates, or looks at windows of several positions.

    Of parts that do neither, engines make one pass over the data with what is around them.
    """
    windows = windows_of(node).values()
    return not all(window.is_single for window in windows) or macs_of(node, sizes) > 0


@dataclass(frozen=True, eq=False)
class Prices:
    """The modelled costs of a graph's nodes, whole and for what is asked of them.

    Args:
        demand: of the graph.
        sizes, profile: for which, and on which machine.
    """

    demand: Demand
    sizes: Sizes
    profile: Profile

    def change(self, part: Sequence[ir.Node]) -> tuple[Cost, Cost]:
        """Of all nodes of a part, and of what selects positions around it, before and after."""
        before = after = Cost()
        # Of a strided 1×1 that reads from the part nothing changes but where its positions lie: it
        # skipped the others before.
        copying = [node for node in self.readers(part) if self.demand.selectors[node].copies]
        for node in (*part, *copying):
            before += self._node(node, {})
            after += self._after(node)
        for (x, _), asked in self._borders([*part, *self.readers(part)]).items():
            have = self.demand.of(x)
            after += self._selecting(x, {k: within(p.taken, have.get(k)) for k, p in asked.items()})
        return before, after

    def readers(self, part: Sequence[ir.Node]) -> list[ir.Node]:
        """The selectors that read from a part."""
        users = (use.node for node in part for v in node.outputs for use in v.uses())
        inside = {*part}
        return [n for n in dict.fromkeys(users) if n in self.demand.selectors and n not in inside]

    def selected(self, part: Sequence[ir.Node]) -> set[ir.Value]:
        """The values of which a selection would have to be made for a part."""
        return {x for x, _ in self._borders([*part, *self.readers(part)])}

    def _borders(self, nodes: Iterable[ir.Node]) -> dict[tuple[ir.Value, Key], Asked]:
        """What has to be selected of values: one selection serves all that ask for the same."""
        found: dict[tuple[ir.Value, Key], Asked] = {}
        for node in nodes:
            for index, asked in self.demand.borders(node).items():
                x = node.inputs[index]
                if x is not None and asked and constant(x) is None:  # constants are cut at once
                    found[x, key(asked)] = asked
        return found

    def _node(self, node: ir.Node, results: Mapping[ir.Node, Asked]) -> Cost:
        """One node, where of some results not everything is computed."""
        work = macs_of(node, self.sizes) * self.share(node.outputs[0], results.get(node, {}))
        picoseconds = node_time(
            node, float(work), self.profile, lambda v: float(self._elements(v, results))
        )
        return Cost(picoseconds, round(work))

    def _after(self, node: ir.Node) -> Cost:
        """One node as it will be; what does nothing but select takes less, or is not needed."""
        found = self.demand.selectors.get(node)
        # One position that is picked is picked as before: only its place is another.
        picks_one = found is not None and found.dropped is not None
        left, x = self.demand.reselected(node), node.inputs[0]
        if picks_one or left is None or x is None:
            return self._node(node, self.demand.results)
        return self._selecting(x, left)

    def _selecting(self, x: ir.Value, orders: Mapping[int, Order | None]) -> Cost:
        """The operators that take these positions of what will be there of a value."""
        shape, have = self.sizes.shape(x), self.demand.of(x)
        if shape is None or x.shape is None:
            return Cost()
        picoseconds, weight = 0, int(is_float(x))
        # Counted down from what is computed of the value to what is left of it.
        there = [round(n * self._part(have.get(axis), n)) for axis, n in enumerate(shape)]
        for op_type, taken in selecting(x, orders, sizes_left(x.shape, have)):
            read = weight * prod(there)
            # What the next operator reads is what this one writes.
            for axis, order in taken.items():
                there[axis] = count(order, there[axis])
            how = manner(op_type, of_positions=max(taken) > 1)
            picoseconds += time(how, Load(0, read, weight * prod(there)), self.profile)
        return Cost(picoseconds)

    def _elements(self, value: ir.Value, results: Mapping[ir.Node, Asked]) -> Fraction:
        shape, node = self.sizes.shape(value), value.producer()
        if shape is None or not is_float(value):
            return Fraction(0)
        if node is None or node not in results:
            return Fraction(prod(shape))
        return prod(shape) * self.share(value, results[node])

    def share(self, value: ir.Value, asked: Asked) -> Fraction:
        """The part of a value that these positions are."""
        shape = self.sizes.shape(value)
        if shape is None or 0 in shape:
            return Fraction(1)
        shares = (self._part(picks, shape[k]) for k, picks in asked.items())
        return prod(shares, start=Fraction(1))

    def _part(self, picks: Picks | None, whole: int) -> Fraction:
        if picks is None or whole == 0:
            return Fraction(1)
        if isinstance(picks, Rows):
            return self._part(picks.inner, self.sizes.size(picks.length) or 1)
        return Fraction(picks.count(whole), whole)
