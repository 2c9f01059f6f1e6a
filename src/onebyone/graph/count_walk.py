"""What is known of a graph while it is counted: shapes as numbers, what is constant, what moves.

A *parameter* is an element of a floating-point initialiser of rank 1 or more that the graph uses,
or of an integer one that stands for a float (the weight and bias of a quantised layer, the input of
a DequantizeLinear). Not parameters: scalars of rank 0 (1/√d, an epsilon), what sets up an operator
(the scales of a Resize, the bounds of a Clip, the steps of a quantisation, an attention mask, the
first state of a recurrence), and a BatchNormalization's running mean and variance: these are
*buffers*. So the number is PyTorch's `sum(p.numel() for p in model.parameters())`, as long as the
exporter folded and invented nothing. ONNX does not say what was learned: a table of constants
(sines of positions, a mask added before a softmax) counts as parameters.

Weights may pass through nodes on their way: Transpose, Cast, DequantizeLinear, W + B·A, Expand to
the batch. A value is *fixed* if it is computed from initialisers and from the sizes of tensors,
which are known when a model is counted; its *origins* are the weights among them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod

import onnx_ir as ir

from onebyone.counting.formulas import Shape
from onebyone.counting.peak import Touched
from onebyone.graph.ops import operator_of
from onebyone.graph.ops.row import Effort
from onebyone.graph.shapes import Sizes
from onebyone.graph.values import has_subgraphs

__all__ = [
    "Reading", "Walk", "bytes_of", "name_of", "operator", "readings", "scope_of", "tensors",
    "touched", "trace", "traffic",
]  # fmt: skip

Weights = Mapping[ir.Value, tuple[ir.Value, ...]]
"""Each fixed value -> the weights (initialisers) that it is computed from, perhaps none."""


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

    @cached_property
    def fixed(self) -> frozenset[ir.Node]:
        """The nodes that compute on constants alone."""
        nodes = self.graph
        return frozenset(n for n in nodes if all(value in self.weights for value in n.outputs))


@dataclass(frozen=True)
class Reading:
    """A weight that a node reads, itself or through fixed values; `buffer`: not a parameter."""

    weight: ir.Value
    buffer: bool


# What nodes are called ---------------------------------------------------------------------------


def name_of(node: ir.Node) -> str:
    """The node's name, or its first output's if it has none."""
    results = [value.name for value in node.outputs[:1]]
    return node.name or "".join(name or "" for name in results)


def operator(node: ir.Node) -> str:
    """The operator's name, with its domain where that is not the standard one.

    >>> operator(ir.Node("", "Relu", [])), operator(ir.Node("com.example", "Relu", []))
    ('Relu', 'com.example::Relu')
    """
    return "::".join(filter(None, (node.domain, node.op_type)))


def scope_of(node: ir.Node) -> str:
    """The path of the module that the node comes from; empty where the exporter did not say.

    PyTorch's writes a list of paths, from the root to the module, and the operator behind them.
    """
    scopes = re.findall(r"'([^']*)'", node.metadata_props.get("pkg.torch.onnx.name_scopes", ""))
    return "".join(scopes[-2:-1])


# Which stored numbers are weights, and which layer reads them ------------------------------------


def trace(graph: ir.Graph) -> Weights:
    """The fixed values of a topologically sorted graph, and where they come from.

    >>> x, w = ir.val("x"), ir.val("w", const_value=ir.tensor([[1.0, 2.0, 3.0]]))
    >>> turned, mixed = ir.node("Transpose", [w]), ir.node("MatMul", [x, w])
    >>> graph = ir.Graph([x], mixed.outputs, nodes=[turned, mixed], initializers=[w])
    >>> weights = trace(graph)
    >>> weights[turned.outputs[0]] == (w,), mixed.outputs[0] in weights
    (True, False)
    """
    fixed: dict[ir.Value, tuple[ir.Value, ...]] = {
        value: (value,) for value in graph.initializers.values()
    }
    for node in graph:
        if _is_fixed(node, fixed):
            origins = tuple(dict.fromkeys(reading.weight for reading in readings(node, fixed)))
            fixed.update(dict.fromkeys(node.outputs, origins))
    return fixed


def _is_fixed(node: ir.Node, fixed: Weights) -> bool:
    row = operator_of(node)
    # A subgraph may read values that are no operands, so what comes out of one is never fixed.
    if row.is_random or has_subgraphs(node):
        return False
    read = [value for slot, value in enumerate(node.inputs) if slot not in row.unread]
    return all(value is None or value in fixed for value in read)


def readings(node: ir.Node, weights: Weights) -> Iterator[Reading]:
    """The weights that a node reads, slot by slot; one that it reads twice comes twice."""
    row = operator_of(node)
    for slot, value in enumerate(node.inputs):
        if value is None or slot in row.settings or slot in row.unread:
            continue
        for weight in weights.get(value, ()):
            # What fixed nodes made of weights is one, whatever its type; scalars went before them.
            if weight is not value or _is_weight(value, slot in row.codes):
                yield Reading(weight, slot in row.buffers)


def _is_weight(value: ir.Value, quantised: bool) -> bool:
    tensor = value.const_value
    if tensor is None or not len(tensor.shape):
        return False
    return tensor.dtype.is_floating_point() or (quantised and tensor.dtype.is_integer())


# What moves --------------------------------------------------------------------------------------


def tensors(node: ir.Node) -> list[ir.Value]:
    """The node's inputs and outputs that are there, each once."""
    present = [value for value in (*node.inputs, *node.outputs) if value is not None and value.name]
    return list(dict.fromkeys(present))


def traffic(node: ir.Node, walk: Walk) -> int | None:
    """The bytes that a node reads and writes, without constants; None if they are unknown."""
    if node in walk.fixed or operator_of(node).effort is Effort.FREE:
        return 0
    sizes = [bytes_of(value, walk) for value in tensors(node) if value not in walk.weights]
    return None if None in sizes else sum(size for size in sizes if size is not None)


def touched(walk: Walk) -> Iterator[Touched[ir.Value]]:
    """What each node reads and writes, for the most that activations take at once.

    A view has no memory of its own, and what computes on constants alone moves no activation.
    """
    for node in walk.graph:
        if node in walk.fixed:
            continue
        read = [v for v in node.inputs if v is not None and v not in walk.weights]
        sizes = [(v, bytes_of(v, walk)) for v in read]
        if read and operator_of(node).effort is Effort.FREE:
            yield Touched([*sizes, *((v, 0) for v in node.outputs)], node.outputs, read[0])
        else:
            # An output without a name is one that nobody asked for.
            sizes += [(v, bytes_of(v, walk) if v.name else 0) for v in node.outputs]
            yield Touched(sizes, node.outputs)


def bytes_of(value: ir.Value, walk: Walk) -> int | None:
    """What a tensor takes; None if its sizes or its type are unknown."""
    shape, dtype = walk.shape(value), value.dtype
    if shape is None or dtype is None or dtype in (ir.DataType.UNDEFINED, ir.DataType.STRING):
        return None
    # Types of 4 and 6 bits are packed: the last byte may be filled in part.
    return -(-prod(shape) * dtype.bitwidth // 8)
