"""What it costs to compute fewer positions: each node's roofline, and the selections between."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod

import onnx_ir as ir

from onebyone.cost.profile import Cost, Profile
from onebyone.graph.constants import constant, is_float
from onebyone.graph.count import macs
from onebyone.graph.ops import operator_of
from onebyone.graph.ops.row import Effort
from onebyone.graph.shapes import Sizes
from onebyone.optimize.positions.crop_edit import Key, key
from onebyone.optimize.positions.demand import Demand
from onebyone.optimize.positions.merged import Rows
from onebyone.optimize.positions.picks import Asked, Picks
from onebyone.optimize.positions.windows import windows_of

__all__ = ["Prices", "works"]


def macs_of(node: ir.Node, sizes: Sizes) -> int:
    """The multiply-accumulates of one node of a graph."""
    return 0 if node.graph is None else macs(node.graph, sizes, [node])


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
        readers = self.readers(part)
        for node in part:
            before += self._node(node, {})
            after += self._node(node, self.demand.results)
        # Of a strided 1×1 that reads from the part nothing changes but where its positions lie: it
        # skipped the others before. A Slice goes where all that is there is taken.
        for node in readers:
            if self.demand.selectors[node].copies:
                before += self._node(node, {})
                after += self._node(node, {}) if self._stays(node) else Cost()
        for elements in self._borders([*part, *readers]).values():
            after += self._copy(elements)
        return before, after

    def readers(self, part: Sequence[ir.Node]) -> list[ir.Node]:
        """The selectors that read from a part."""
        users = (use.node for node in part for v in node.outputs for use in v.uses())
        inside = {*part}
        return [n for n in dict.fromkeys(users) if n in self.demand.selectors and n not in inside]

    def _stays(self, node: ir.Node) -> bool:
        """Whether a selector is needed still: it is not where all that is there is taken."""
        left = self.demand.left(node).values()
        drops = self.demand.selectors[node].dropped is not None
        return drops or any(order is not None for order in left)

    def _borders(self, nodes: Iterable[ir.Node]) -> dict[tuple[ir.Value, Key], Fraction]:
        """What has to be selected of values, and how many elements that is."""
        found: dict[tuple[ir.Value, Key], Fraction] = {}
        for node in nodes:
            for index, asked in self.demand.borders(node).items():
                x = node.inputs[index]
                # Constants are cut at once, and one selection serves all that ask for the same.
                if x is not None and asked and constant(x) is None:
                    found[x, key(asked)] = self._share(x, asked) * self._elements(x, {})
        return found

    def _node(self, node: ir.Node, results: Mapping[ir.Node, Asked]) -> Cost:
        """One node, where of some results not everything is computed."""
        if operator_of(node).effort is Effort.FREE:
            return Cost()
        made = sum((self._elements(v, results) for v in node.outputs), Fraction())
        selects = self.demand.selectors.get(node)
        # What moves numbers to other places takes several times as long as a copy.
        if node.op_type == "Transpose" or (selects is not None and selects.copies):
            return self._copy(made)
        read = sum(self._elements(v, results) for v in node.inputs if v is not None)
        work = macs_of(node, self.sizes) * self._share(node.outputs[0], results.get(node, {}))
        return Cost(self.profile.time(float(work), float(made + read)), round(work))

    def _copy(self, elements: Fraction) -> Cost:
        return Cost(self.profile.time(elements=2 * self.profile.transpose * float(elements)))

    def _elements(self, value: ir.Value, results: Mapping[ir.Node, Asked]) -> Fraction:
        shape, maker = self.sizes.shape(value), value.producer()
        if shape is None or not is_float(value):
            return Fraction(0)
        asked = {} if maker is None else results.get(maker, {})
        return prod(shape) * self._share(value, asked)

    def _share(self, value: ir.Value, asked: Asked) -> Fraction:
        """The part of a value that these positions are."""
        shape = self.sizes.shape(value)
        if shape is None or 0 in shape:
            return Fraction(1)
        shares = (self._part(picks, shape[k]) for k, picks in asked.items())
        return prod(shares, start=Fraction(1))

    def _part(self, picks: Picks, whole: int) -> Fraction:
        if isinstance(picks, Rows):
            return self._part(picks.inner, self.sizes.size(picks.length) or 1)
        return Fraction(picks.count(whole), whole)
