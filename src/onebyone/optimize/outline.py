"""What a rewrite replaced, and what it put there: two small graphs, as values that can be drawn.

Passes change nodes in place, so both are read off snapshots of the graph (`proof.snapshot`), one
from before the step and one from behind it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

import onnx_ir as ir

from onebyone.graph.constants import is_float
from onebyone.graph.count import work_of
from onebyone.graph.count_walk import Walk
from onebyone.graph.shapes import Sizes
from onebyone.verify.pieces.snapshot import Record, Snapshot

__all__ = ["NOTHING", "Edge", "Operator", "Outline", "outlines"]

Shape = tuple[int, ...]

_CONTEXT = 16
"""Nodes that are added at most, so that both sides of a step begin at the same values."""


@dataclass(frozen=True)
class Operator:
    """A node.

    Args:
        name: of the node.
        op: its operator.
        kind: of the layer that it is (`counting.formulas.KINDS`).
        macs: its multiply-accumulates.
        weight: the shape of the largest constant that it reads; None if it reads none.
        stays: whether the step left it as it was: others need it, too.
    """

    name: str
    op: str
    kind: str
    macs: int
    weight: Shape | None
    stays: bool = False


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
        """Of all its nodes but those that stay."""
        return sum(operator.macs for operator in self.operators if not operator.stays)

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


NOTHING = Outline((), ())
"""No node at all."""

_NOWHERE = ir.Graph([], [], nodes=[])
"""The graph of nodes that are in none: they are drawn as they stood once."""


def outlines(
    before: Snapshot, after: Snapshot, nodes: Collection[str], made: Collection[str], sizes: Sizes
) -> tuple[Outline, Outline]:
    """Both sides of a step: the nodes that were replaced, and those in their place.

    Nodes that a step looked through and left as they were belong to neither, unless the two sides
    would begin at different values without them.
    """
    changed = {*made}
    old = [
        record
        for record in _named(before, nodes)
        if record.name in changed or after.records.get(record.node) is not record
    ]
    new = _named(after, made)
    reached = _reaching(old, before, _given(new, after))
    grown = _reaching(new, after, _given(reached, before))
    return (
        _outline(reached, {*reached} - {*old}, before, sizes),
        _outline(grown, {*grown} - {*new}, after, sizes),
    )


def _named(graph: Snapshot, names: Collection[str]) -> list[Record]:
    found = [record for name in dict.fromkeys(names) for record in graph.called.get(name, ())]
    return sorted(found, key=lambda record: graph.places[record.node])


def _given(records: Sequence[Record], graph: Snapshot) -> set[ir.Value]:
    """The values that these nodes read and do not make."""
    own = {value for record in records for value in record.outputs}
    return {v for record in records for v in record.inputs if v is not None} - own


def _reaching(records: list[Record], graph: Snapshot, ends: Collection[ir.Value]) -> list[Record]:
    """These nodes, and those above them up to the `ends`; without, where those are far."""
    found = dict.fromkeys(records)
    waiting = [value for record in records for value in record.inputs]
    while waiting:
        value = waiting.pop()
        maker = None if value is None else graph.makers.get(value)
        if value in ends or maker is None or maker in found or not is_float(value):
            continue
        found[maker] = None
        waiting += maker.inputs
        if len(found) > len(records) + _CONTEXT:
            return records
    return sorted(found, key=lambda record: graph.places[record.node])


def _outline(
    records: Sequence[Record], kept: Collection[Record], graph: Snapshot, sizes: Sizes
) -> Outline:
    operators = tuple(_operator(record, record in kept, graph, sizes) for record in records)
    return Outline(operators, tuple(_edges(records, graph, sizes)))


def _operator(record: Record, stays: bool, graph: Snapshot, sizes: Sizes) -> Operator:
    operands = [value and _as_it_stood(value, graph) for value in record.inputs]
    node = ir.Node(record.domain, record.op_type, operands, record.attributes,
                   num_outputs=len(record.outputs))  # fmt: skip
    for old, new in zip(record.outputs, node.outputs, strict=True):
        new.name, new.shape = old.name, graph.shape(old)
    fixed = {value: () for value in operands if value is not None and value.const_value is not None}
    work = work_of(node, Walk(_NOWHERE, sizes, fixed))
    shapes = [tuple(value.const_value.shape.numpy()) for value in fixed if value.const_value]
    weight = max(shapes, key=prod, default=None)
    kind, macs = ("other", 0) if work is None else (work.kind, work.macs)
    return Operator(record.name, record.op_type, kind, macs, weight, stays)


def _as_it_stood(value: ir.Value, graph: Snapshot) -> ir.Value:
    given = None if value.is_graph_input() else value.const_value
    return ir.Value(name=value.name, shape=graph.shape(value), const_value=given)


def _edges(records: Sequence[Record], graph: Snapshot, sizes: Sizes) -> Iterator[Edge]:
    """Each value once to each of its readers; those that others read go out.

    Of what comes in, only what is computed with: no sizes and no indices.
    """
    places = {record.node: k for k, record in enumerate(records)}
    for k, record in enumerate(records):
        for value in dict.fromkeys(record.inputs):
            maker = None if value is None else graph.makers.get(value)
            source = None if maker is None else places.get(maker.node)
            if value is None or (maker is None and value.const_value is not None):
                continue
            if source is not None or value.dtype is None or is_float(value):
                yield _edge(value, source, k, graph, sizes)
        for value in record.outputs:
            elsewhere = any(node not in places for node in graph.readers.get(value, ()))
            if elsewhere or value in graph.outputs:
                yield _edge(value, k, None, graph, sizes)


def _edge(
    value: ir.Value, source: int | None, target: int | None, graph: Snapshot, sizes: Sizes
) -> Edge:
    stood = ir.Value(name=value.name, shape=graph.shape(value))
    return Edge(value.name or "", source, target, sizes.shape(stood))
