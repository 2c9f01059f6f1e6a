"""Layout: what knows its axes apart by number alone is computed in the order of its neighbours.

    f(Tx) = T f(x)        T: the axes in another order; f: elementwise, or along an axis

Nodes that hang together and each allow that are an *island*: an activation between two transposes,
the residual blocks of a network that keeps its channels last, a softmax between its views. All of
it may be computed with the axes in another order. Then the transposes around it become others: some
cancel, and where there was none one is needed. The orders to choose from are those by which some of
the transposes vanish; what the transposes cost, and a softmax along a distant axis, decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import onnx_ir as ir

from onebyone.cost.estimate import elements_of
from onebyone.cost.price import Load, Manner, manner, time
from onebyone.cost.profile import Cost
from onebyone.graph.axes import permutation
from onebyone.graph.constants import constant
from onebyone.graph.count_walk import name_of
from onebyone.graph.edit import Edit, Spelling
from onebyone.graph.fused import fused_by_engines
from onebyone.graph.ops import Role, operator_of
from onebyone.graph.values import fixed_shape, has_subgraphs, made_by, rank_of
from onebyone.optimize.joined import Joined
from onebyone.optimize.rewritten import Rewrite, Task

__all__ = ["turn"]

Order = tuple[int, ...]
"""Axis k of what is turned is this axis of what was."""


def turn(task: Task) -> Iterator[Rewrite]:
    """Compute islands in the order of axes in which they and their transposes cost least."""
    graph = task.model.graph
    version = graph.opset_imports[""]
    free = {n for n in graph if _is_free(n, version)} - fused_by_engines(graph)
    edit = Edit(graph)
    for nodes in _islands(graph, free):
        island = _Island(nodes, task, version)
        if island.reads_itself:
            continue  # x + Tx: in any order one of the two is transposed
        now = island.cost(tuple(range(island.rank)))
        orders = {order: island.cost(order) for order in island.orders}
        best = min(orders, key=lambda order: orders[order], default=None)
        if best is None or not orders[best] < now:
            continue
        gone = tuple(map(name_of, (*nodes, *island.transposes)))
        _turned(island, best, edit)
        yield Rewrite(
            gone[0], gone, {"layout": 0}, Cost(now), Cost(orders[best]), made=edit.fresh()
        )


def _is_free(node: ir.Node, version: int) -> bool:
    """Whether a node computes the same with its axes in another order."""
    if len(node.outputs) != 1 or has_subgraphs(node) or not node.inputs:
        return False
    rank, row = rank_of(node.outputs[0]), operator_of(node)
    if rank is None or rank < 2:
        return False
    if not row.elementwise:
        return row.turned is not None and row.turned(node, range(rank), version) is not None
    # What has less axes is aligned at the last ones: it has to be known, to get the others.
    return all(
        rank_of(x) == rank or constant(x) is not None or _is_one_number(x)
        for x in node.inputs
        if x is not None
    )


def _is_one_number(value: ir.Value | None) -> bool:
    shape = fixed_shape(value)
    return shape is not None and all(size == 1 for size in shape)


def _meets(node: ir.Node) -> bool:
    """Whether all that a node reads has its axes, or is aligned with them."""
    row = operator_of(node)
    return row.elementwise or row.role is Role.CONCAT


def _operands(node: ir.Node) -> list[ir.Value]:
    """What is turned of what a node reads, constants apart."""
    rank, found = rank_of(node.outputs[0]), node.inputs
    if not _meets(node):
        found = found[:1]
    return [x for x in found if x is not None and rank_of(x) == rank and constant(x) is None]


def _islands(graph: ir.Graph, free: Iterable[ir.Node]) -> list[list[ir.Node]]:
    """The free nodes that hang together, where a transpose meets them, in the graph's order."""
    joined, free = Joined[ir.Value](), set(free)
    for node in free:
        joined.tie([node.outputs[0], *_operands(node)])
    found: dict[ir.Value, list[ir.Node]] = {}
    for node in graph:
        if node in free:
            found.setdefault(joined.of(node.outputs[0]), []).append(node)
    met = {joined.of(v) for node in graph for v in _ends(node) if v in joined.nearer}
    return [nodes for value, nodes in found.items() if value in met]


def _ends(node: ir.Node) -> list[ir.Value]:
    """What a transpose reads and gives."""
    if _order(node) is None:
        return []
    return [v for v in (*node.inputs, *node.outputs) if v is not None]


def _order(node: ir.Node | None) -> Order | None:
    """The order into which a node transposes; None for any other node."""
    if node is None or node.op_type != "Transpose" or node.domain != "":
        return None
    return permutation(node)


def _then(first: Order, second: Order) -> Order:
    return tuple(first[axis] for axis in second)


def _back(order: Order) -> Order:
    return tuple(int(axis) for axis in np.argsort(order))


@dataclass(frozen=True, eq=False)
class _Island:
    """Nodes that are turned together, and the transposes around them."""

    nodes: Sequence[ir.Node]
    task: Task
    version: int

    @cached_property
    def inside(self) -> frozenset[ir.Node]:
        return frozenset(self.nodes)

    @property
    def rank(self) -> int:
        rank = rank_of(self.nodes[0].outputs[0])
        assert rank is not None
        return rank

    @cached_property
    def entering(self) -> list[ir.Value]:
        """What the island reads and does not compute, constants apart."""
        read = dict.fromkeys(x for node in self.nodes for x in _operands(node))
        return [x for x in read if x.producer() not in self.inside]

    @property
    def reads_itself(self) -> bool:
        """Whether what enters by a transpose is of the island, too."""
        ends = {node.outputs[0] for nodes in self.leaving.values() for node in nodes}
        return not ends.isdisjoint(self.entering)

    @cached_property
    def leaving(self) -> dict[ir.Value, list[ir.Node]]:
        """What the island computes for others -> the transposes among these."""
        found = {}
        for value in (node.outputs[0] for node in self.nodes):
            others = [use.node for use in value.uses() if use.node not in self.inside]
            if others or value.is_graph_output():
                found[value] = [n for n in dict.fromkeys(others) if self._transposes(n)]
        return found

    def _transposes(self, node: ir.Node) -> bool:
        """Whether a reader is a transpose that may be another; those in a subgraph stay."""
        return node.graph is self.nodes[0].graph and _order(node) is not None

    def is_read_in_place(self, value: ir.Value) -> bool:
        """Whether somebody outside, who is no transpose, reads a value of the island as it is."""
        readers = (use.node for use in value.uses() if use.node not in self.inside)
        return value.is_graph_output() or not all(map(self._transposes, readers))

    @property
    def transposes(self) -> list[ir.Node]:
        """Those around it, of which nobody else reads the result."""
        into = [node for x in self.entering if (node := self.entrance(x)) is not None]
        return [*into, *(node for nodes in self.leaving.values() for node in nodes)]

    def entrance(self, value: ir.Value) -> ir.Node | None:
        """The transpose that gives what enters, for the island alone."""
        readers = {use.node for use in value.uses()}
        if value.is_graph_output() or not readers <= self.inside:
            return None
        return made_by(value, "Transpose")

    @property
    def orders(self) -> list[Order]:
        """Those in which some transpose around the island vanishes."""
        into = [_back(order) for x in self.entering if (order := _order(x.producer())) is not None]
        out = [order for nodes in self.leaving.values() for n in nodes if (order := _order(n))]
        # Of equally cheap ones always the same, whatever the order of nodes.
        every = dict.fromkeys(order for order in (*into, *out) if len(order) == self.rank)
        return sorted(order for order in every if order != tuple(range(self.rank)))

    def cost(self, order: Order) -> int:
        """Picoseconds of what hangs on the order: transposes, and what works along an axis."""
        total, back = 0, _back(order)
        for x in self.entering:
            above = _order(x.producer())
            if above is None:
                total += self._transposing(x, order)
                continue
            entering = _then(above, order)
            total += self._transposing(x, entering)
            if self.entrance(x) is None and entering != above:
                total += self._transposing(x, above)  # it stays beside the new one, for others
        for x, transposes in self.leaving.items():
            total += sum(self._transposing(x, _then(back, _order(n) or ())) for n in transposes)
            total += self._transposing(x, back) * self.is_read_in_place(x)
        return total + sum(self._working(node, order) for node in self.nodes)

    def _transposing(self, x: ir.Value, order: Order) -> int:
        if order == tuple(range(self.rank)):
            return 0
        return time(Manner.SCATTER, Load(written=self._numbers(x)), self.task.profile)

    def _working(self, node: ir.Node, order: Order) -> int:
        """Of a node along an axis; what is elementwise costs the same in any order."""
        axis, numbers = self.told(node, order).get("axis"), self._numbers(node.outputs[0])
        if not isinstance(axis, int):
            return 0
        how = manner(node.op_type, afar=axis < self.rank - 2)
        return time(how, Load(0, numbers, numbers), self.task.profile)

    def _numbers(self, x: ir.Value) -> int:
        return elements_of(x, self.task.sizes)

    def attributes(self, node: ir.Node, order: Order) -> dict[str, Any]:
        """The attributes of a node, turned."""
        told = self.told(node, order)
        return {**node.attributes, **{k: n for k, n in told.items() if isinstance(k, str)}}

    def told(self, node: ir.Node, order: Order) -> Spelling:
        """What tells a node its axes, turned."""
        row = operator_of(node)
        if row.turned is None:
            return {}
        return row.turned(node, order, self.version) or {}


def _turned(island: _Island, order: Order, edit: Edit) -> None:
    """Make the island anew in another order, and let all that reads it read that."""
    made: dict[ir.Value, ir.Value] = {}
    leaving = dict(island.leaving)
    for x in island.entering:
        first = next(node for node in island.nodes if x in node.inputs)
        made[x] = _transposed(x, order, first, edit)
    for node in island.nodes:
        operands = [_operand(x, node, order, made, edit) for x in node.inputs]
        for place, numbers in island.told(node, order).items():
            if isinstance(place, int):
                assert not isinstance(numbers, int | None)
                operands[place] = edit.integers(numbers, like=node.inputs[place])
        y, attributes = node.outputs[0], island.attributes(node, order)
        new = edit.node(
            node.op_type, operands, attributes, before=node, stem=_stem(y, node.op_type)
        )
        made[y] = _like(new, y, order)
    back = _back(order)
    for value, transposes in leaving.items():
        at = value.producer()
        assert at is not None
        for node in transposes:
            goal = _then(back, _order(node) or ())
            edit.replace(node.outputs[0], _transposed(made[value], goal, at, edit))
        if island.is_read_in_place(value):
            edit.replace(value, _transposed(made[value], back, at, edit))


def _operand(
    x: ir.Value | None,
    node: ir.Node,
    order: Order,
    made: Mapping[ir.Value, ir.Value],
    edit: Edit,
) -> ir.Value | None:
    """What the turned node reads in the place of `x`."""
    array = constant(x)
    if x is not None and x in made:
        return made[x]
    if array is None or array.size == 1 or not _meets(node):
        return x
    whole = array.reshape((1,) * (len(order) - array.ndim) + array.shape)
    return edit.constant_like(x, whole.transpose(order), "turned")


def _transposed(x: ir.Value, order: Order, before: ir.Node, edit: Edit) -> ir.Value:
    """`x` with its axes in this order; of what is a transpose itself, one transpose or none."""
    source, above = x, _order(x.producer())
    if above is not None:
        node = x.producer()
        assert node is not None
        assert node.inputs[0] is not None
        source, order = node.inputs[0], _then(above, order)
    if order == tuple(range(len(order))):
        return source
    made = edit.node(
        "Transpose", [source], {"perm": order}, before=before, stem=_stem(x, "Transpose")
    )
    return _like(made, source, order)


def _stem(value: ir.Value, op_type: str) -> str:
    return f"{value.name}.{op_type}"


def _like(new: ir.Value, old: ir.Value, order: Order) -> ir.Value:
    """Note of a new value what is known of an old one, turned."""
    if old.dtype is not None:
        new.dtype = old.dtype
    if old.shape is not None:
        new.shape = ir.Shape([old.shape[axis] for axis in order])
    return new
