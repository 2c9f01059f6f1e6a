"""A graph as it stood: passes change nodes in place, so what they changed is remembered here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import onnx_ir as ir

from onebyone.graph.channel_axes import channel_axes
from onebyone.graph.count_walk import name_of
from onebyone.graph.ops import Operator, operator_called

__all__ = ["Record", "Snapshot", "is_constant", "snapshot"]

_GRAPHS = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)


@dataclass(frozen=True, eq=False)
class Record:
    """A node as it stood.

    Args:
        node: itself; it may have changed, or left the graph.
        name: as reports call it.
        domain, op_type: of its operator.
        inputs, outputs, attributes: of the node.
        captured: values of the graph that its subgraphs read.
    """

    node: ir.Node
    name: str
    domain: str
    op_type: str
    inputs: tuple[ir.Value | None, ...]
    outputs: tuple[ir.Value, ...]
    attributes: tuple[ir.Attr, ...]
    captured: tuple[ir.Value, ...]

    @property
    def operator(self) -> Operator:
        """The row of its operator."""
        return operator_called(self.domain, self.op_type)

    @property
    def names_positions(self) -> bool:
        """Whether it says which positions, or how many."""
        named = self.operator.names_positions
        return named(self.inputs) if callable(named) else named

    @cached_property
    def said(self) -> tuple[tuple[str, str], ...]:
        """Its attributes as text, by name; tensors and graphs by their identity."""
        return tuple(sorted((a.name, _said(a)) for a in self.attributes))


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A graph as it stood.

    Args:
        opsets: of the model.
        records: of its nodes, in order.
        places: node -> where it stands among them.
        makers: value -> the node that computes it.
        shapes: of all values that nodes compute.
        axes: the channel axis of the values that have one; for proofs only.
        named: name -> the value that nodes compute under it.
        outputs: of the graph.
    """

    opsets: Mapping[str, int]
    records: Mapping[ir.Node, Record]
    places: Mapping[ir.Node, int]
    makers: Mapping[ir.Value, Record]
    shapes: Mapping[ir.Value, ir.Shape | None]
    axes: Mapping[ir.Value, int]
    named: Mapping[str, ir.Value]
    outputs: tuple[ir.Value, ...]

    def shape(self, value: ir.Value) -> ir.Shape | None:
        """The shape that a value had; of an input or a constant, the one that it has."""
        return self.shapes.get(value, value.shape)

    @cached_property
    def fixed(self) -> frozenset[ir.Value]:
        """The values that nodes compute from constants alone."""
        found: set[ir.Value] = set()
        for record in self.records.values():
            operands = [v for v in (*record.inputs, *record.captured) if v is not None]
            if operands and all(v in found or is_constant(v) for v in operands):
                found.update(record.outputs)
        return frozenset(found)

    @cached_property
    def called(self) -> Mapping[str, tuple[Record, ...]]:
        """Name -> the nodes of this name, mostly one."""
        by_name: dict[str, tuple[Record, ...]] = {}
        for record in self.records.values():
            by_name[record.name] = (*by_name.get(record.name, ()), record)
        return by_name

    @cached_property
    def readers(self) -> Mapping[ir.Value, tuple[ir.Node, ...]]:
        """Value -> the nodes that read it, each once, those whose subgraphs do included."""
        by_value: dict[ir.Value, list[ir.Node]] = {}
        for node, record in self.records.items():
            for value in dict.fromkeys((*record.inputs, *record.captured)):
                if value is not None:
                    by_value.setdefault(value, []).append(node)
        return {value: tuple(nodes) for value, nodes in by_value.items()}


def is_constant(value: ir.Value) -> bool:
    """Whether a value is a number of the graph, which no caller can override."""
    return value.const_value is not None and not value.is_graph_input()


def snapshot(graph: ir.Graph, last: Snapshot | None = None, *, for_proofs: bool = True) -> Snapshot:
    """A graph as it stands; O(nodes), and nothing is copied but lists of operands.

    Nodes that stand as in the `last` one have the same records.
    """
    known = {} if last is None else last.records
    records = {node: _record(node, graph, known.get(node)) for node in graph}
    made = {value: record for record in records.values() for value in record.outputs}
    shapes = {value: value.shape for value in made}
    named = {value.name: value for value in made if value.name}
    outputs = tuple(graph.outputs)
    places = {node: k for k, node in enumerate(records)}
    return Snapshot(
        dict(graph.opset_imports),
        records,
        places,
        made,
        shapes,
        channel_axes(graph) if for_proofs else {},
        named,
        outputs,
    )


def _record(node: ir.Node, graph: ir.Graph, last: Record | None) -> Record:
    attributes = tuple(node.attributes.values())
    captured = tuple(dict.fromkeys(_captured(attributes, graph)))
    stands = tuple(node.inputs), tuple(node.outputs), attributes, captured
    if last is not None and stands == (last.inputs, last.outputs, last.attributes, last.captured):
        return last
    return Record(node, name_of(node), node.domain, node.op_type, *stands)


def _captured(attributes: tuple[ir.Attr, ...], graph: ir.Graph) -> Iterator[ir.Value]:
    """What the bodies of an If or a Loop read of the graph around them, besides the operands."""
    for attribute in attributes:
        if attribute.type in _GRAPHS:
            several = attribute.type == ir.AttributeType.GRAPHS
            for inner in attribute.value if several else [attribute.value]:
                nodes = ir.traversal.RecursiveGraphIterator(inner)
                read = (v for node in nodes for v in node.inputs if v is not None)
                yield from (v for v in (*read, *inner.outputs) if v.graph is graph)


def _said(attribute: ir.Attr) -> str:
    value = attribute.value
    if isinstance(value, int | float | str | bytes):
        return repr(value)
    if isinstance(value, tuple | list) and all(isinstance(v, int | float | str) for v in value):
        return repr(tuple(value))
    # Comparing the numbers of tensors, or whole graphs, would take longer than it saves.
    return str(id(value))
