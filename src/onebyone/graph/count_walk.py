"""What is known of a graph while it is counted: shapes as numbers, what is constant, what moves."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from math import prod

import onnx_ir as ir

from onebyone.counting.formulas import Shape
from onebyone.graph.count_weights import Weights
from onebyone.graph.ops import operator_of
from onebyone.graph.ops.row import Effort
from onebyone.graph.shapes import Sizes

__all__ = [
    "Walk",
    "bytes_of",
    "name_of",
    "operand",
    "scope_of",
    "tensors",
    "traffic",
]


@dataclass(frozen=True)
class Walk:
    """A topologically sorted graph, its shapes for one choice of sizes, and its fixed values.

    The graph stands still while it is walked, so each shape is made a tuple of numbers once.
    """

    graph: ir.Graph
    sizes: Sizes
    weights: Weights
    _shapes: dict[ir.Value, Shape | None] = field(default_factory=dict, init=False)

    def shape(self, value: ir.Value | None) -> Shape | None:
        """() for an absent operand, None if unknown."""
        if value is None:
            return ()
        if value not in self._shapes:
            held = value.const_value
            found = self.sizes.shape(value) if held is None else tuple(held.shape.numpy())
            self._shapes[value] = found
        return self._shapes[value]

    def fixed(self, node: ir.Node) -> bool:
        """Whether the node computes on constants alone."""
        return all(value in self.weights for value in node.outputs)


def name_of(node: ir.Node) -> str:
    """The node's name, or its first output's if it has none."""
    return node.name or (node.outputs[0].name if node.outputs else "") or ""


def scope_of(node: ir.Node) -> str:
    """The path of the module that the node comes from; empty where the exporter did not say.

    PyTorch's writes a list of paths, from the root to the module, and the operator behind them.
    """
    scopes = re.findall(r"'([^']*)'", node.metadata_props.get("pkg.torch.onnx.name_scopes", ""))
    return scopes[-2] if len(scopes) > 1 else ""


def operand(node: ir.Node, slot: int | None) -> ir.Value | None:
    """The node's input at `slot`, None if it is absent."""
    return node.inputs[slot] if slot is not None and slot < len(node.inputs) else None


def tensors(node: ir.Node) -> list[ir.Value]:
    """The node's inputs and outputs that are there, each once."""
    present = [value for value in (*node.inputs, *node.outputs) if value is not None and value.name]
    return list(dict.fromkeys(present))


def traffic(node: ir.Node, walk: Walk) -> int | None:
    """The bytes that a node reads and writes, without constants; None if they are unknown."""
    if walk.fixed(node) or operator_of(node).effort is Effort.FREE:
        return 0
    sizes = [bytes_of(value, walk) for value in tensors(node) if value not in walk.weights]
    return None if None in sizes else sum(size for size in sizes if size is not None)


def bytes_of(value: ir.Value, walk: Walk) -> int | None:
    """What a tensor takes; None if its sizes or its type are unknown."""
    shape, dtype = walk.shape(value), value.dtype
    if shape is None or dtype is None or dtype in (ir.DataType.UNDEFINED, ir.DataType.STRING):
        return None
    return -(-prod(shape) * dtype.bitwidth // 8)
