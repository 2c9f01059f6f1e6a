"""Which stored numbers are weights, and which layer they belong to.

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

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from onebyone.graph.ops import operator_of

__all__ = ["Reading", "Weights", "holds_graph", "operator", "readings", "trace"]

Weights = Mapping[ir.Value, tuple[ir.Value, ...]]
"""Each fixed value -> the weights (initialisers) that it is computed from, perhaps none."""


@dataclass(frozen=True)
class Reading:
    """A weight that a node reads, itself or through fixed values; `buffer`: not a parameter."""

    weight: ir.Value
    buffer: bool


def operator(node: ir.Node) -> str:
    """The operator's name, with its domain where that is not the standard one.

    >>> operator(ir.Node("", "Relu", [])), operator(ir.Node("com.example", "Relu", []))
    ('Relu', 'com.example::Relu')
    """
    return f"{node.domain}::{node.op_type}" if node.domain else node.op_type


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
            found = tuple(dict.fromkeys(reading.weight for reading in readings(node, fixed)))
            fixed.update(dict.fromkeys(node.outputs, found))
    return fixed


def _is_fixed(node: ir.Node, fixed: Weights) -> bool:
    row = operator_of(node)
    if row.is_random or any(holds_graph(a) for a in node.attributes.values()):
        return False
    read = [value for slot, value in enumerate(node.inputs) if slot not in row.unread]
    return all(value is None or value in fixed for value in read)


def holds_graph(attribute: ir.Attr) -> bool:
    """Whether an attribute of a node is a subgraph, or several (If, Loop, Scan)."""
    return attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)


def readings(node: ir.Node, weights: Weights) -> Iterator[Reading]:
    """The weights that a node reads, slot by slot; one that it reads twice comes twice."""
    row = operator_of(node)
    for slot, value in enumerate(node.inputs):
        if value is None or slot in row.settings or slot in row.unread:
            continue
        for weight in weights.get(value, ()):
            if weight is not value or _is_weight(value, slot in row.codes):
                yield Reading(weight, slot in row.buffers)


def _is_weight(value: ir.Value, quantised: bool) -> bool:
    tensor = value.const_value
    if tensor is None or not len(tensor.shape):
        return False
    return tensor.dtype.is_floating_point() or (quantised and tensor.dtype.is_integer())
