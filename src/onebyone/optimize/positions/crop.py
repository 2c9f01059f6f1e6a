"""Crop: positions that nobody takes are not computed, whatever takes the others.

    S f(x, y) = f(Sx, Sy),  S (A B) = (S A) B          S: any choice of positions along some axes

A Slice, a Gather or a piece of a Split asks for some positions of its operand; a value is asked for
what any of its readers asks for. Backwards through all that works position by position (`through`)
this tells how little of each value is needed. What belongs together is then computed for these
positions only, with the selection where others need the whole, if the products save more than the
selections cost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import prod

import onnx_ir as ir

from onebyone.algebra.selection import Slice
from onebyone.cost.profile import Cost, Profile
from onebyone.graph.constants import constant, is_float
from onebyone.graph.count import tally
from onebyone.graph.count_walk import FREE_VIEWS, name_of
from onebyone.graph.shape_reads import ShapeReads, entries_used
from onebyone.graph.shapes import Sizes
from onebyone.optimize.positions.merged import Rows
from onebyone.optimize.positions.picks import Order, Picks, chosen, join, within
from onebyone.optimize.positions.recut import Asked, Cutter, Key, key
from onebyone.optimize.positions.selectors import Selector, picks_of, selector
from onebyone.optimize.positions.through import through
from onebyone.optimize.rewritten import Rewrite, Task

__all__ = ["Demand", "asked_of", "crop"]


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
    results: dict[ir.Node, dict[int, Picks]] = field(default_factory=dict)
    operands: dict[ir.Node, dict[int, dict[int, Picks]]] = field(default_factory=dict)
    selectors: dict[ir.Node, Selector] = field(default_factory=dict)
    dead: set[ir.Node] = field(default_factory=set)

    @classmethod
    def on(cls, graph: ir.Graph) -> Demand:
        """Backwards, each node after all that read it."""
        demand = cls(graph.opset_imports.get("", 0), _sizes_of_inputs(graph))
        for node in reversed(list(graph)):
            _ask(node, demand)
        return demand

    def of(self, value: ir.Value | None) -> Asked:
        """What is asked of a value."""
        maker = None if value is None else value.producer()
        return {} if maker is None else self.results.get(maker, {})

    def borders(self, node: ir.Node) -> dict[int, Asked]:
        """Index -> what has to be selected of an operand, of which more is computed."""
        found = self.selectors.get(node)
        own = {} if found is None else found.orders
        if node not in self.results:
            return {}
        return {
            index: {
                axis: picks
                for axis, picks in asked.items()
                if axis not in own and self.of(node.inputs[index]).get(axis) != picks
            }
            for index, asked in self.operands[node].items()
        }


def crop(task: Task) -> Iterator[Rewrite]:
    """Compute fewer positions, in place, wherever that saves."""
    model, sizes, profile = task.model, task.sizes, task.profile
    demand = Demand.on(model.graph)
    if not demand.results:
        return
    macs = {layer.name: layer.macs for layer in tally(model, sizes).layers}
    prices = _Prices(demand, sizes, profile, macs)
    parts = [(part, *prices.change(part)) for part in _parts(demand)]
    chosen = [
        (part, before, after)
        for part, before, after in parts
        if after < before and after.macs < before.macs
    ]
    if not chosen:
        return
    kept = {node for part, _, _ in chosen for node in part}
    for node in [node for node in demand.results if node not in kept]:
        del demand.results[node]
    fresh = _carry_out(model.graph, demand)
    for part, before, after in chosen:
        names = tuple(sorted(name_of(node) for node in part))
        made = (*(name for name in _beside(part) if name in fresh), *names)
        saved = {"demand": before.macs - after.macs}
        yield Rewrite(part[0].outputs[0].name or "", names, saved, before, after, made=made)


def _beside(part: Sequence[ir.Node]) -> Iterator[str]:
    """The names of the nodes that make what nodes read, or read what they make."""
    for node in part:
        makers = (None if value is None else value.producer() for value in node.inputs)
        readers = (use.node for value in node.outputs for use in value.uses())
        yield from (name_of(other) for other in (*makers, *readers) if other is not None)


# What is asked for -------------------------------------------------------------------------------


def _sizes_of_inputs(graph: ir.Graph) -> ShapeReads:
    """Free sizes can be read where nothing is ever cropped."""
    made = {value: k for k, node in enumerate(graph) for value in node.outputs}
    sources: dict[str, tuple[ir.Value, int]] = {}
    for value in graph.inputs:
        for axis, size in enumerate(value.shape or ()):
            if not isinstance(size, int) and size.value is not None:
                sources.setdefault(size.value, (value, axis))
    return ShapeReads(sources, {**dict.fromkeys(graph.inputs, -1), **made})


def _ask(node: ir.Node, demand: Demand) -> None:
    """What is asked of a node, and what it asks of its operands."""
    needs: dict[int, dict[int, Picks]] = {}
    results: dict[int, Picks] = {}
    asked = asked_of(node, demand)
    if node in demand.dead:
        return
    found = selector(node)
    for axis, picks in asked.items():
        if found is not None and picks.whole is not None and _own(found, axis) is not None:
            results[axis] = picks
        elif (through_it := through(node, axis, picks, demand.version)) is not None:
            results[axis] = picks
            for index, (own, taken) in through_it.items():
                needs.setdefault(index, {})[own] = taken
    if found is not None:
        demand.selectors[node] = found
        needs.setdefault(0, {}).update(_taken(node, found, results))
    if results:
        demand.results[node] = results
    demand.operands[node] = needs


def _own(found: Selector, axis: int) -> Sequence[int] | None:
    """The positions that a selector takes along an axis of its result, where they are known."""
    order = found.orders.get(found.axis_before(axis))
    return None if isinstance(order, Slice) else order


def asked_of(node: ir.Node, demand: Demand) -> dict[int, Picks]:
    """What all readers of a node's results ask for, together."""
    asked: list[Asked] = []
    whole: set[int] = set()
    if any(value.is_graph_output() for value in node.outputs):
        return {}
    for value, use in [(v, use) for v in node.outputs for use in v.uses()]:
        if use.node in demand.dead:
            continue
        if use.node.op_type == "Shape" and use.node.domain == "":
            whole |= _sized(use.node, value, demand)
        else:
            asked.append(demand.operands.get(use.node, {}).get(use.idx, {}))
    if not asked:
        demand.dead |= set() if whole else {node}
        return {}
    common = set.intersection(*map(set, asked)) - whole
    joined = {axis: _together([each[axis] for each in asked]) for axis in sorted(common)}
    return {axis: picks for axis, picks in joined.items() if picks is not None}


def _together(asked: Sequence[Picks]) -> Picks | None:
    joined: Picks | None = asked[0]
    for picks in asked[1:]:
        joined = None if joined is None else join(joined, picks)
    return joined


def _sized(node: ir.Node, value: ir.Value, demand: Demand) -> set[int]:
    """The axes whose sizes a Shape node must find in the value itself."""
    if value.shape is None or node.graph is not value.graph:
        return set(range(_MOST_AXES))
    return set() if demand.reads.serves(node) else entries_used(node, value.shape.rank())


def _taken(node: ir.Node, found: Selector, results: Asked) -> dict[int, Picks]:
    """What a selector takes along its own axes, where `results` are asked of it."""
    x = node.inputs[0]
    assert x is not None
    assert x.shape is not None
    asked: dict[int, Picks] = {}
    for axis, order in _orders(found, results).items():
        after = found.axis_after(axis)
        size = 1 if after is None or found.result.shape is None else found.result.shape[after]
        picks = picks_of(order, x.shape[axis], size)
        if picks is not None:
            asked[axis] = picks
    return asked


def _orders(found: Selector, results: Asked) -> dict[int, Order]:
    """Those positions of each axis of its operand that are asked of a selector."""
    orders = dict(found.orders)
    for axis, picks in results.items():
        order = _own(found, axis)
        if order is not None:
            orders[found.axis_before(axis)] = chosen(order, picks)
    return orders


def _parts(demand: Demand) -> list[list[ir.Node]]:
    """The nodes that compute less, apart where none of the one reads from the other."""
    root = {node: node for node in demand.results}

    def find(node: ir.Node) -> ir.Node:
        while root[node] is not node:
            root[node] = node = root[root[node]]
        return node

    for node in demand.results:
        for x in node.inputs:
            maker = None if x is None else x.producer()
            if maker is not None and maker in root:
                root[find(maker)] = find(node)
    parts: dict[ir.Node, list[ir.Node]] = {}
    for node in demand.results:
        parts.setdefault(find(node), []).append(node)
    return list(parts.values())


# What it costs -----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Prices:
    demand: Demand
    sizes: Sizes
    profile: Profile
    macs: Mapping[str, int]

    def change(self, part: Sequence[ir.Node]) -> tuple[Cost, Cost]:
        """Of all nodes of a part, and of what selects its operands, before and after."""
        before = after = Cost()
        for node in part:
            before += self._node(node, {})
            after += self._node(node, self.demand.results)
        for node in self._readers(part):
            before += self._node(node, {})
            after += self._reader(node)
        for elements in self._borders(part).values():
            after += self._copy(elements)
        return before, after

    def _readers(self, part: Sequence[ir.Node]) -> dict[ir.Node, None]:
        """The selectors that read from a part."""
        users = (use.node for node in part for v in node.outputs for use in v.uses())
        inside = set(part)
        return {n: None for n in users if n in self.demand.selectors and n not in inside}

    def _reader(self, node: ir.Node) -> Cost:
        """Nothing where all that is there is taken."""
        found, have = self.demand.selectors[node], self.demand.of(node.inputs[0])
        left = (within(order, have.get(axis)) for axis, order in found.orders.items())
        stays = found.dropped is not None or any(order is not None for order in left)
        return self._node(node, {}) if stays else Cost()

    def _borders(self, part: Sequence[ir.Node]) -> dict[tuple[ir.Value, Key], Fraction]:
        """What has to be selected of values, and how many elements that is."""
        found: dict[tuple[ir.Value, Key], Fraction] = {}
        for node in part:
            for index, asked in self.demand.borders(node).items():
                x = node.inputs[index]
                if x is not None and asked and constant(x) is None:
                    found[x, key(asked)] = self._share(x, asked) * self._elements(x, {})
        return found

    def _node(self, node: ir.Node, results: Mapping[ir.Node, Asked]) -> Cost:
        """One node, where of some results not everything is computed."""
        if node.op_type in FREE_VIEWS and node.domain == "":
            return Cost()
        made = sum((self._elements(v, results) for v in node.outputs), Fraction())
        if node.op_type == "Transpose" or node in self.demand.selectors:
            return self._copy(made)
        read = sum(self._elements(v, results) for v in node.inputs if v is not None)
        macs = Fraction(self.macs.get(name_of(node), 0))
        if node in results:
            macs *= self._share(node.outputs[0], results[node])
        return Cost(self.profile.time(float(macs), float(made + read)), round(macs))

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


# Carrying it out ---------------------------------------------------------------------------------


def _carry_out(graph: ir.Graph, demand: Demand) -> frozenset[str]:
    """Readers before what they read, so that each finds the shapes of all positions.

    Returns the names of what is new.
    """
    cutter = Cutter.of(graph)
    for node in demand.results:
        for value in node.outputs:
            for user in [use.node for use in value.uses() if use.node.op_type == "Shape"]:
                cutter.read_elsewhere(user, set(demand.results[node]), demand.reads)
    read = {node: demand.of(node.inputs[0]) for node in demand.selectors}
    for node in [node for node in reversed(list(graph)) if node in demand.operands]:
        if node in demand.results:
            cutter.rewrite(node, demand.results[node], demand.operands[node])
        for index, asked in demand.borders(node).items():
            cutter.select(node, index, asked, demand.of(node.inputs[index]))
    for node, found in demand.selectors.items():
        orders = _orders(found, demand.results.get(node, {}))
        have = read[node]
        left = {axis: within(order, have.get(axis)) for axis, order in orders.items()}
        if orders != dict(found.orders) or any(axis in have for axis in orders):
            cutter.reselect(node, found, left)
    return frozenset(cutter.edit.fresh())
