"""Count a model: parameters, multiply-accumulates and bytes, layer by layer and in total.

- 1 MAC = 2 FLOPs: one multiplication with its addition. Adding a bias is counted beside.
- What is a parameter, and what is not: `count_walk`. Which operators have MACs, how many, and
  which of these are pointwise: `ops`. All else that computes is listed.
- A *layer* is a node that has MACs or reads weights. A bias that the next node adds (MatMul, then
  Add) belongs to the layer before it.
- *Activation bytes* are what an operator reads and writes besides constants, each tensor once;
  views move none. The total is over all nodes: the traffic of an engine that fuses only biases.
- *Weight bytes* are the layer's stored weights and buffers. In the total, shared ones count once.
- *Intensity* is FLOPs per byte of both.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from math import prod

import onnx
import onnx_ir as ir

from onebyone.counting.formulas import Shape, Work
from onebyone.counting.gaps import ARITHMETIC, CONSTANT, INTEGER, NO_FORMULA, Uncounted
from onebyone.counting.gaps import grouped as gaps
from onebyone.counting.operators import Operators, Ran, grouped
from onebyone.counting.peak import peak
from onebyone.counting.tally import Operation, Weight, layers_of, with_bias
from onebyone.counting.value import Count, total
from onebyone.graph.count_walk import (
    Reading,
    Walk,
    name_of,
    operator,
    readings,
    scope_of,
    tensors,
    touched,
    trace,
    traffic,
)
from onebyone.graph.misfit import misfit
from onebyone.graph.ops import operator_of
from onebyone.graph.ops.row import Effort, NodeShapes, Product
from onebyone.graph.opset import modernise
from onebyone.graph.read import read
from onebyone.graph.shapes import Sizes
from onebyone.graph.values import all_known, has_subgraphs, input_at, maker

__all__ = ["count", "macs", "peak_memory", "tally", "work_of"]


def count(
    source: str | os.PathLike[str] | onnx.ModelProto | ir.Model,
    shapes: Mapping[str, Sequence[int]] | None = None,
) -> Count:
    """Count a model for the input shapes `shapes`, by input name; else for the usual sizes.

    Raises:
        UnreadableModel: the source is no usable ONNX model.
        UsageError: a shape does not fit, or an input is of unknown rank and not given.

    >>> from onnx import TensorProto, helper
    >>> x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 5, 7])
    >>> y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 5, 7])
    >>> W = helper.make_tensor("W", TensorProto.FLOAT, [4, 3, 1, 1], range(12))
    >>> conv = helper.make_node("Conv", ["x", "W"], ["y"])
    >>> graph = helper.make_graph([conv], "g", [x], [y], [W])
    >>> counted = count(helper.make_model(graph))
    >>> counted.parameters, counted.macs, counted.pointwise_share
    (12, 420, 1.0)
    """
    model = read(source)
    modernise(model)
    sizes = Sizes(model, shapes)
    return replace(tally(model, sizes), misfit=misfit(model.graph, sizes))


def tally(model: ir.Model, sizes: Sizes) -> Count:
    """Count a model that has been through `read` and `modernise`; it is not changed."""
    walk = Walk(model.graph, sizes, trace(model.graph))
    biases = {node: layer for node in walk.graph if (layer := _layer_of_bias(node, walk))}
    work = {node: own for node in walk.graph if (own := work_of(node, walk))}
    for node, layer in biases.items():
        if layer in work:
            work[layer] = with_bias(work[layer], walk.shape(node.outputs[0]) or ())
    others = [node for node in walk.graph if node not in biases]
    reads = _reads(walk, work, biases)
    moved = {node: traffic(node, walk) for node in walk.graph}
    operations = [
        _operation(node, walk, work.get(node), reads.get(node, []), moved[node]) for node in others
    ]
    layers, weight_bytes = layers_of(operations, _weights(reads.values()))
    return total(
        layers,
        activation_bytes=sum(operation.bytes or 0 for operation in operations),
        weight_bytes=weight_bytes,
        nodes=len(walk.graph),
        peak_activation_bytes=_peak(walk),
        operators=_operators(others, walk, work),
        inputs=tuple(sizes.inputs.items()),
        assumed=sizes.assumed,
        uncounted=_uncounted([node for node in others if node not in work], moved, walk),
    )


def macs(graph: ir.Graph, sizes: Sizes, nodes: Iterable[ir.Node] | None = None) -> int:
    """The MACs of these nodes of a graph, or of all, as `tally` counts them, and nothing else."""
    walk = Walk(graph, sizes, {})
    if nodes is None:
        nodes = graph
    works = (work_of(node, walk) for node in nodes)
    return sum(work.macs for work in works if work is not None)


def peak_memory(graph: ir.Graph, sizes: Sizes) -> int | None:
    """The most bytes that activations take at once, as `tally` counts them, and nothing else."""
    return _peak(Walk(graph, sizes, trace(graph)))


def _peak(walk: Walk) -> int | None:
    return peak(list(touched(walk)), walk.graph.outputs)


def work_of(node: ir.Node, walk: Walk) -> Work | None:
    """The MACs of a node; None if its operator has none, or no shapes are known that fit."""
    row = operator_of(node).work
    if row is None:
        return None
    slots = range(len(node.inputs)) if row.operands is None else row.operands
    operands = [input_at(node, slot) for slot in slots]
    # An output without a name is left out, as an operand is.
    output = walk.shape(next((value for value in node.outputs[:1] if value.name), None))
    shapes = all_known(map(walk.shape, operands))
    if output is None or shapes is None:
        return None
    fixed = tuple(value in walk.weights for value in operands)
    known = NodeShapes(node, shapes, fixed, output, _has_bias(node, row, walk))
    try:
        return row.formula(known)
    except (IndexError, ValueError, ZeroDivisionError):
        return None  # a rank that the operator cannot have: the file contradicts itself


def _has_bias(node: ir.Node, row: Product, walk: Walk) -> bool:
    """Whether the node adds a bias itself; a zero that an exporter expanded to a bias is none."""
    if row.bias is None:
        return False
    bias = input_at(node, row.bias)
    return bias is not None and walk.weights.get(bias) != ()


def _layer_of_bias(node: ir.Node, walk: Walk) -> ir.Node | None:
    """The layer whose bias this Add adds: a weight that varies along one axis at most."""
    if operator(node) != "Add" or not any(readings(node, walk.weights)):
        return None
    bias, x = sorted(node.inputs, key=lambda value: value not in walk.weights)
    layer = maker(x)
    if x is None or layer is None:
        return None
    row = operator_of(layer).work
    if row is None or _has_bias(layer, row, walk):
        return None
    # Where somebody else reads the product without its bias, the Add is a pass of its own.
    alone = len(x.uses()) == 1 and not x.is_graph_output()
    is_vector = sum(size != 1 for size in walk.shape(bias) or ()) <= 1
    shape = walk.shape(x)
    keeps_shape = shape is not None and shape == walk.shape(node.outputs[0])
    if not (alone and is_vector and keeps_shape):
        return None
    return layer


def _reads(
    walk: Walk, work: Collection[ir.Node], biases: Mapping[ir.Node, ir.Node]
) -> dict[ir.Node, list[Reading]]:
    """What each layer reads, with what is read to add its bias."""
    reads: dict[ir.Node, list[Reading]] = {}
    for node in walk.graph:
        if node in work or node not in walk.fixed:
            read = readings(node, walk.weights)
            reads.setdefault(biases.get(node, node), []).extend(read)
    return reads


def _weights(reads: Iterable[Sequence[Reading]]) -> dict[ir.Value, Weight]:
    every = [reading for read in reads for reading in read]
    # What is a parameter anywhere is one everywhere, whichever node comes first.
    trained = {reading.weight for reading in every if not reading.buffer}
    return {
        reading.weight: _weight(reading.weight, buffer=reading.weight not in trained)
        for reading in every
    }


def _weight(value: ir.Value, buffer: bool) -> Weight:
    tensor = value.const_value
    return Weight(0, 0, buffer) if tensor is None else Weight(tensor.size, tensor.nbytes, buffer)


def _operation(
    node: ir.Node, walk: Walk, work: Work | None, read: Iterable[Reading], moved: int | None
) -> Operation[ir.Value]:
    return Operation(
        name_of(node),
        operator(node),
        walk.shape(next(iter(node.outputs), None)),
        work,
        tuple(reading.weight for reading in read),
        moved,
        scope_of(node),
    )


def _operators(
    nodes: Collection[ir.Node], walk: Walk, work: Mapping[ir.Node, Work]
) -> tuple[Operators, ...]:
    """What runs among `nodes`; what computes on constants alone does not."""
    return grouped(_ran(node, walk, work.get(node)) for node in nodes if node not in walk.fixed)


def _ran(node: ir.Node, walk: Walk, work: Work | None) -> Ran:
    reads = (value for value in node.inputs if value is not None and value not in walk.weights)
    ends = (next(reads, None), *node.outputs[:1])
    # Of a node without a result (no operator of the standard has none) neither end counts.
    read, written = [walk.shape(v) or () for v in ends] if node.outputs else [(), ()]
    # () is a scalar or unknown here: neither has elements that are worth a line.
    elements = [bool(shape) * prod(shape) for shape in (read, written)]
    return Ran(operator(node), _kind(node, work, read, written), work, *elements)


def _kind(node: ir.Node, work: Work | None, read: Shape, written: Shape) -> str:
    kind = operator_of(node).kind
    if callable(kind):
        return kind(node, read, written)
    # A product with a constant is a linear layer; one of two activations, as in attention, is not.
    if kind == "product" and work is not None and work.pointwise_macs:
        return "linear"
    return kind


_UNKNOWN = (
    "has multiply-accumulates, but the shape of an operand or of the result is unknown, or is none "
    "that it can have"
)
_UNKNOWN_BYTES = "its bytes are not counted: the shape or type of an operand or result is unknown"


def _uncounted(
    nodes: Collection[ir.Node], moved: Mapping[ir.Node, int | None], walk: Walk
) -> tuple[Uncounted, ...]:
    """What the figures leave out of `nodes`, which have no MACs that were counted.

    One row for each operator and reason, the most frequent first.
    """
    rows = [(node, reason) for node in nodes if (reason := _arithmetic(node, walk))]
    found = [*rows, *((node, _UNKNOWN_BYTES) for node, size in moved.items() if size is None)]
    return gaps((operator(node), reason, name_of(node)) for node, reason in found)


def _arithmetic(node: ir.Node, walk: Walk) -> str | None:
    """Why what a node computes is not counted; None if it computes nothing."""
    if has_subgraphs(node):
        return "its subgraphs are not entered: nothing in them is counted, parameters neither"
    if node.domain:
        return "operator of another domain: what it computes is not known"
    row = operator_of(node)
    if row.work is not None:
        return _UNKNOWN
    effort = row.effort
    if callable(effort):
        effort = effort(node)
    if effort is Effort.PRODUCTS:
        return NO_FORMULA
    if effort is not Effort.COMPUTES:
        return None
    if node in walk.fixed:
        return CONSTANT
    if all(map(_is_integer, tensors(node))):
        return INTEGER
    return ARITHMETIC


def _is_integer(value: ir.Value) -> bool:
    return value.dtype is not None and (value.dtype.is_integer() or value.dtype == ir.DataType.BOOL)
