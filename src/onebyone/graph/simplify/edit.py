"""How a graph is changed here: a value read in the place of another, a node put in its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

__all__ = ["Integers", "bypass", "replace"]


def bypass(value: ir.Value, source: ir.Value) -> bool:
    """Let all that reads `value` read `source`, which equals it; whether that can be.

    A result of the graph keeps its name, so `source` takes it on. That cannot be where `source`
    has a name to keep itself: as an input, an initialiser, another result, or in an outer graph.
    """
    if not _agree(value, source):
        return False
    if not value.is_graph_output():
        value.replace_all_uses_with(source)
        return True
    node, maker = value.producer(), source.producer()
    free = not (source.is_graph_input() or source.is_initializer() or source.is_graph_output())
    if not free or node is None or maker is None or maker.graph is not node.graph:
        return False
    name = value.name
    value.replace_all_uses_with(source, replace_graph_outputs=True)
    value.name = f"{name}.gone"
    source.name = name
    return True


def _agree(value: ir.Value, source: ir.Value) -> bool:
    """Whether they are tensors of one type; a type that is unknown fits any."""
    kinds = {value.dtype, source.dtype} - {None}
    return len(kinds) < 2


def replace(
    node: ir.Node,
    op: str,
    inputs: Sequence[ir.Value | None],
    attributes: Mapping[str, int | Sequence[int]],
) -> None:
    """Put a node that gives the same in the place of one with one result."""
    old = node.outputs[0]
    made = ir.node(op, inputs, attributes, name=node.name, metadata_props=dict(node.metadata_props))
    new = made.outputs[0]
    new.name, new.type, new.shape = old.name, old.type, old.shape
    assert node.graph is not None
    node.graph.insert_before(node, made)
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    node.graph.remove(node, safe=True)


@dataclass
class Integers:
    """Lists of integers as initialisers of a graph, each stored once, under names that are new."""

    graph: ir.Graph
    made: dict[tuple[int, ...], ir.Value] = field(default_factory=dict)
    taken: set[str | None] = field(default_factory=set)

    def value(self, numbers: Sequence[int]) -> ir.Value:
        """The initialiser that holds these int64 numbers."""
        key = tuple(numbers)
        if key not in self.made:
            name = self._name()
            value = ir.Value(name=name, const_value=ir.tensor(np.array(key, np.int64), name=name))
            value.type, value.shape = ir.TensorType(ir.DataType.INT64), ir.Shape([len(key)])
            self.graph.register_initializer(value)
            self.made[key] = value
        return self.made[key]

    def _name(self) -> str:
        if not self.taken:
            self.taken = {v.name for node in self.graph.all_nodes() for v in node.outputs}
            self.taken |= {v.name for v in self.graph.inputs}
        count = len(self.made)
        while (name := f"sizes_{count}") in self.taken or name in self.graph.initializers:
            count += 1
        return name
