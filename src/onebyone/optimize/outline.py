"""What a rewrite replaced, and what it put there: two small graphs, as values that can be drawn.

Passes change nodes in place, so both are read off snapshots of the graph (`proof.snapshot`), one
from before the step and one from behind it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

import onnx_ir as ir

from onebyone.graph.count import work_of
from onebyone.graph.count_walk import Walk
from onebyone.graph.shapes import Sizes
from onebyone.optimize.proof.snapshot import Record, Snapshot

__all__ = ["NOTHING", "Edge", "Operator", "Outline", "outline"]

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Operator:
    """A node.

    Args:
        name: of the node.
        op: its operator.
        kind: of the layer that it is (`counting.formulas.KINDS`).
        macs: its multiply-accumulates.
        weight: the shape of the largest constant that it reads; None if it reads none.
    """

    name: str
    op: str
    kind: str
    macs: int
    weight: Shape | None


@dataclass(frozen=True)
class Edge:
    """A value that goes from one node to another.

    Args:
        value: its name.
        source, target: numbers of operators; None outside of the outline.
        shape: None if it is unknown.
    """

    value: str
    source: int | None
    target: int | None
    shape: Shape | None


@dataclass(frozen=True)
class Outline:
    """Nodes of a graph, in its order, and the values that they read and give, constants apart."""

    operators: tuple[Operator, ...]
    edges: tuple[Edge, ...]

    @property
    def macs(self) -> int:
        """Of all its nodes."""
        return sum(operator.macs for operator in self.operators)

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


NOTHING = Outline((), ())
"""No node at all."""


def outline(graph: Snapshot, names: Collection[str], sizes: Sizes) -> Outline:
    """The nodes of these names as they stood, with what goes in, between and out of them."""
    wanted = set(names)
    records = [record for record in graph.records.values() if record.name in wanted]
    operators = tuple(_operator(record, graph, sizes) for record in records)
    return Outline(operators, tuple(_edges(records, graph, sizes)))


def _operator(record: Record, graph: Snapshot, sizes: Sizes) -> Operator:
    operands = [value and _as_it_stood(value, graph) for value in record.inputs]
    node = ir.Node(record.domain, record.op_type, operands, record.attributes,
                   num_outputs=len(record.outputs))  # fmt: skip
    for old, new in zip(record.outputs, node.outputs, strict=True):
        new.name, new.shape = old.name, graph.shape(old)
    fixed = {value: () for value in operands if value is not None and value.const_value is not None}
    work = work_of(node, Walk(ir.Graph([], [], nodes=[]), sizes, fixed))
    shapes = [tuple(value.const_value.shape.numpy()) for value in fixed if value.const_value]
    weight = max(shapes, key=prod, default=None)
    kind, macs = ("other", 0) if work is None else (work.kind, work.macs)
    return Operator(record.name, record.op_type, kind, macs, weight)


def _as_it_stood(value: ir.Value, graph: Snapshot) -> ir.Value:
    given = None if value.is_graph_input() else value.const_value
    return ir.Value(name=value.name, shape=graph.shape(value), const_value=given)


def _edges(records: list[Record], graph: Snapshot, sizes: Sizes) -> Iterator[Edge]:
    """Each value once to each of its readers; those that others read go out."""
    places = {record.node: k for k, record in enumerate(records)}
    readers: dict[ir.Value, list[int]] = {}
    for record in graph.records.values():
        for value in dict.fromkeys((*record.inputs, *record.captured)):
            if value is not None:
                readers.setdefault(value, []).append(places.get(record.node, -1))
    for k, record in enumerate(records):
        for value in dict.fromkeys(record.inputs):
            maker = None if value is None else graph.makers.get(value)
            source = None if maker is None else places.get(maker.node)
            if value is not None and (maker is not None or value.const_value is None):
                yield _edge(value, source, k, graph, sizes)
        for value in record.outputs:
            if -1 in readers.get(value, []) or value in graph.outputs:
                yield _edge(value, k, None, graph, sizes)


def _edge(
    value: ir.Value, source: int | None, target: int | None, graph: Snapshot, sizes: Sizes
) -> Edge:
    stood = ir.Value(name=value.name, shape=graph.shape(value))
    return Edge(value.name or "", source, target, sizes.shape(stood))
