"""Demand: which positions of each value anybody asks for.

    S f(x, y) = f(Sx, Sy),  S (A B) = (S A) B          S: any choice of positions along some axes

Selectors ask for some positions of their operand: slices, gathers, pieces of a Split, strides of
1×1s. A value is asked for what any of its readers asks for. Backwards through all that works
position by position (`through`) this tells how little of each value is needed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from onebyone.graph.ops.needs import Needs
from onebyone.graph.ops.selector import Selector
from onebyone.graph.picks import (
    Asked,
    Order,
    Picks,
    Size,
    chosen,
    join,
    picks_of,
    sizes_left,
    step_of,
    within,
)
from onebyone.graph.shape_reads import ShapeReads, entries_used
from onebyone.graph.spatial import selector, windows_of
from onebyone.graph.values import input_at, maker
from onebyone.optimize.positions.through import through

__all__ = ["Demand"]

_MOST_AXES = 64


@dataclass(eq=False)
class Demand:
    """What is asked of the nodes of a graph.

    Args:
        version: of the standard operators.
        reads: where sizes can be read that a Shape would no longer find.
        results: node -> what is asked of its results, where that is not everything.
        operands: node -> index of an operand -> what is asked of it.
        selectors: the nodes that take some positions of what they read.
        dead: the nodes whose results nobody reads.
    """

    version: int
    reads: ShapeReads
    results: dict[ir.Node, Asked] = field(default_factory=dict)
    operands: dict[ir.Node, dict[int, Asked]] = field(default_factory=dict)
    selectors: dict[ir.Node, Selector] = field(default_factory=dict)
    dead: set[ir.Node] = field(default_factory=set)

    @classmethod
    def on(cls, graph: ir.Graph) -> Demand:
        """Backwards, each node after all that read it."""
        demand = cls(graph.opset_imports.get("", 0), _sizes_of_inputs(graph))
        # Who reads a value has been asked before the value is.
        for node in reversed(list(graph)):
            demand._ask(node)
        return demand

    def _ask(self, node: ir.Node) -> None:
        """Note what is asked of a node, and what it asks of its operands."""
        asked, found = self.readers_ask(node), selector(node)
        if asked is None:  # it must not ask for anything, so that what it reads may go as well
            self.dead.add(node)
            return
        if found is not None:
            self.selectors[node] = found
        # Along each axis by itself: one that mixes positions does not bind the others.
        needed = {axis: self._needed(node, axis, picks) for axis, picks in asked.items()}
        results = {axis: asked[axis] for axis, needs in needed.items() if needs is not None}
        if results:
            self.results[node] = results
        operands: dict[int, dict[int, Picks]] = {}
        for needs in filter(None, needed.values()):
            # Two axes of a result may come from two of one operand.
            for index, (own, picks) in needs.items():
                operands.setdefault(index, {})[own] = picks
        if found is not None:
            operands.setdefault(0, {}).update(self._taken(node))
        self.operands[node] = {**operands}

    def _needed(self, node: ir.Node, axis: int, picks: Picks) -> Needs | None:
        """As `through`; what a selector needs along its own axes is for `_taken` to say."""
        found = self.selectors.get(node)
        if found is None or found.axis_before(axis) not in found.orders:
            return through(node, axis, picks, self.version)
        if chosen(found.orders[found.axis_before(axis)], picks) is None:
            return None
        return {}

    # What is asked of results ------------------------------------------------------------------

    def readers_ask(self, node: ir.Node) -> Asked | None:
        """What all readers of a node's results ask for, together; None where nobody reads them."""
        return self.asked_of(node.outputs)

    def asked_of(self, values: Sequence[ir.Value]) -> Asked | None:
        """What all readers of values that are cut alike ask for, together, as `readers_ask`."""
        if any(value.is_graph_output() for value in values):
            return {}
        # What the dead would ask for nobody needs.
        uses = [(v, use) for v in values for use in v.uses() if use.node not in self.dead]
        shapes = {use.node: value for value, use in uses if _is_shape(use.node)}
        whole = {axis for shape, value in shapes.items() for axis in self._axes_read(shape, value)}
        readers = [use for _, use in uses if use.node not in shapes]
        asked = [self.operands.get(use.node, {}).get(use.idx, {}) for use in readers]
        if not asked and not whole:
            return None
        if not asked:
            return {}
        # Along an axis of which one reader takes all, all is needed.
        # An axis that is missing from one reader's wishes is asked for whole.
        common = set.intersection(*map(set, asked)) - whole
        joined = {axis: join(*(each[axis] for each in asked)) for axis in sorted(common)}
        return {axis: picks for axis, picks in joined.items() if picks is not None}

    def _axes_read(self, shape: ir.Node, value: ir.Value) -> set[int]:
        """The axes whose sizes a Shape node must find in the value itself."""
        if value.shape is None or shape.graph is not value.graph:
            return set(range(_MOST_AXES))
        if self.reads.serves(shape):
            return set()
        return entries_used(shape, value.shape.rank())

    def of(self, value: ir.Value | None) -> Asked:
        """What is asked of a value."""
        node = maker(value)
        if node is None:
            return {}
        return self.results.get(node, {})

    def keep_whole(self, nodes: Collection[ir.Node]) -> None:
        """Compute all positions of these nodes' results after all."""
        for node in nodes:
            del self.results[node]
            self.operands[node] = {}
            if node in self.selectors:
                self.operands[node] = {0: self._taken(node)}

    # What is taken of operands -----------------------------------------------------------------

    def orders(self, node: ir.Node) -> dict[int, Order]:
        """Those positions of each of its own axes that are asked of a selector, in its order."""
        found, results = self.selectors[node], self.results.get(node, {})
        orders: dict[int, Order] = {}
        for axis, order in found.orders.items():
            orders[axis] = order
            after = found.axis_after(axis)
            if after is not None and after in results:
                taken = chosen(order, results[after])
                assert taken is not None  # else nothing would be asked there (`_needed`)
                orders[axis] = taken
        return orders

    def left(self, node: ir.Node) -> dict[int, Order | None]:
        """What a selector still has to take of what is there; None: all of it."""
        have = self.of(node.inputs[0])
        return {axis: within(order, have.get(axis)) for axis, order in self.orders(node).items()}

    def reselected(self, node: ir.Node) -> dict[int, Order | None] | None:
        """`left` of what does nothing but select; None of all others, and where that stays."""
        found = self.selectors.get(node)
        if found is None or not found.copies:
            return None
        orders, have = self.orders(node), self.of(node.inputs[0])
        if orders == dict(found.orders) and not have.keys() & orders.keys():
            return None
        return self.left(node)

    def _taken(self, node: ir.Node) -> dict[int, Picks]:
        """What a selector takes along its own axes."""
        found, x = self.selectors[node], node.inputs[0]
        results, shape = self.results.get(node, {}), found.result.shape
        assert x is not None
        assert x.shape is not None
        sizes: dict[int | None, Size] = dict(enumerate(sizes_left(shape or ir.Shape(()), results)))
        taken: dict[int, Picks] = {}
        for axis, order in self.orders(node).items():
            picks = picks_of(order, x.shape[axis], sizes.get(found.axis_after(axis), 1))
            if picks is not None:
                taken[axis] = picks
        return taken

    def strides(self, node: ir.Node) -> dict[int, int | None]:
        """Axis -> the stride with which a 1×1 takes itself what it needs of what is there.

        1 where no more is there; None where no stride takes that.
        """
        # Positions are counted among those that will be there, no longer among all.
        x = input_at(node, 0)  # what draws numbers reads nothing
        have = self.of(x)
        asked, found = self.operands[node].get(0, {}), self.selectors.get(node)
        if x is None or x.shape is None or (found is not None and found.copies):
            return {}
        strides: dict[int, int | None] = {}
        sizes = sizes_left(x.shape, have)
        for axis, window in windows_of(node).items():
            # Every g-th of what is there is a stride; anything else is selected first.
            if axis in asked and window.is_single:
                order = within(asked[axis].taken, have.get(axis))
                strides[axis] = 1
                if order is not None:
                    strides[axis] = step_of(order, sizes[axis])
        return strides

    def borders(self, node: ir.Node) -> dict[int, Asked]:
        """Index -> what has to be selected of an operand, of which more is there.

        What a node takes itself need not be: along the axes of a selector, or by a stride.
        """
        found, strides = self.selectors.get(node), self.strides(node)
        skip = {(0, axis) for axis, stride in strides.items() if stride is not None}
        if found is not None and found.copies:
            skip |= {(0, axis) for axis in found.orders}
        return {
            index: {
                axis: picks
                for axis, picks in asked.items()
                if self.of(node.inputs[index]).get(axis) != picks and (index, axis) not in skip
            }
            for index, asked in self.operands[node].items()
        }


def _is_shape(node: ir.Node) -> bool:
    return node.op_type == "Shape" and node.domain == ""


def _sizes_of_inputs(graph: ir.Graph) -> ShapeReads:
    """Free sizes can be read where nothing is ever cropped."""
    made = {value: k for k, node in enumerate(graph) for value in node.outputs}
    sources: dict[str, tuple[ir.Value, int]] = {}
    for value in graph.inputs:
        for axis, size in enumerate(value.shape or ()):
            if not isinstance(size, int) and size.value is not None:
                sources.setdefault(size.value, (value, axis))
    return ShapeReads(sources, {**dict.fromkeys(graph.inputs, -1), **made})
