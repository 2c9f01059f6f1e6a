"""A value's shape, size and maker, and a node's operands, where onnx-ir leaves each of them open.

Any of them can be missing: an operand that is left out, a value of unknown rank, a free size, an
input that no node makes. All that read a graph ask here and get None, in one step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

import onnx_ir as ir

__all__ = [
    "Size", "all_known", "are_read", "fixed_shape", "graphs_within", "has_subgraphs", "input_at",
    "is_read", "made_by", "maker", "nodes_within", "rank_of", "shape_of", "size", "subgraphs",
]  # fmt: skip

Size = int | ir.SymbolicDim
T = TypeVar("T")


def all_known(parts: Iterable[T | None]) -> tuple[T, ...] | None:
    """All parts, or None where one of them is unknown.

    >>> all_known([2, 3]), all_known([2, None])
    ((2, 3), None)
    """
    known: list[T] = []
    for part in parts:
        if part is None:
            return None
        known.append(part)
    return tuple(known)


def input_at(node: ir.Node, index: int) -> ir.Value | None:
    """Input `index` of a node; None where it is left out, at the end of the list or before."""
    if index >= len(node.inputs):
        return None
    return node.inputs[index]


def maker(value: ir.Value | None) -> ir.Node | None:
    """The node whose result a value is; None for inputs and constants."""
    return None if value is None else value.producer()


def made_by(value: ir.Value | None, *op_types: str) -> ir.Node | None:
    """The node that makes a value, where it is one of these standard operators."""
    node = maker(value)
    if node is None or node.domain != "" or node.op_type not in op_types:
        return None
    return node


def shape_of(value: ir.Value | None) -> tuple[Size, ...] | None:
    """The shape of a value; None where not even its rank is known."""
    if value is None or value.shape is None:
        return None
    return tuple(value.shape)


def rank_of(value: ir.Value | None) -> int | None:
    """How many axes a value has, where that is known."""
    if value is None or value.shape is None:
        return None
    return value.shape.rank()


def size(value: ir.Value | None, axis: int) -> int | None:
    """The size of one axis where it is a fixed number."""
    if value is None or value.shape is None or axis >= value.shape.rank():
        return None
    length = value.shape[axis]
    return length if isinstance(length, int) else None


def fixed_shape(value: ir.Value | None) -> tuple[int, ...] | None:
    """The shape of a value where each of its sizes is a fixed number.

    >>> fixed_shape(ir.val("x", None, [2, 3])), fixed_shape(ir.val("y", None, ["n", 3]))
    ((2, 3), None)
    """
    shape = shape_of(value)
    if shape is None:
        return None
    # A free size is no number.
    return all_known(n if isinstance(n, int) else None for n in shape)


def is_read(value: ir.Value) -> bool:
    """Whether a node or the graph's caller reads a value."""
    return bool(value.uses()) or value.is_graph_output()


def are_read(values: Iterable[ir.Value]) -> bool:
    """Whether anybody reads one of these values."""
    return any(map(is_read, values))


def has_subgraphs(node: ir.Node) -> bool:
    """Whether a node runs graphs of its own: If, Loop, Scan."""
    kinds = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
    return any(attribute.type in kinds for attribute in node.attributes.data.values())


def subgraphs(node: ir.Node) -> Iterator[ir.Graph]:
    """The graphs in a node's attributes: branches of an If, bodies of a Loop or a Scan."""
    # The plain dictionary: every node of a graph is asked, often, and hardly one has any.
    for attribute in node.attributes.data.values():
        kind = attribute.type
        if kind == ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        elif kind == ir.AttributeType.GRAPHS:
            yield from attribute.as_graphs()


def graphs_within(graph: ir.Graph) -> Iterator[ir.Graph]:
    """A graph, and all graphs inside its nodes."""
    yield graph
    for node in graph:
        for inner in subgraphs(node):
            yield from graphs_within(inner)


def nodes_within(graph: ir.Graph | ir.Function) -> Iterator[ir.Node]:
    """Every node of a graph, each followed by those of the graphs inside it."""
    for node in graph:
        yield node
        for inner in subgraphs(node):
            yield from nodes_within(inner)
