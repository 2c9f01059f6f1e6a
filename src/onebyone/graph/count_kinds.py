"""What kind of operator each ONNX operator is to those who count, and how often each runs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import prod

import onnx_ir as ir

from onebyone.counting.formulas import Work
from onebyone.counting.operators import Operators, Ran, averages, grouped
from onebyone.graph.count_walk import Walk
from onebyone.graph.count_weights import operator

__all__ = ["KIND_OF", "operators"]

_OPERATORS = {
    "adaptive average pool": "GlobalAveragePool",
    "average pool": "AveragePool",
    "batch normalisation": "BatchNormalization",
    "convolution": "Conv ConvInteger QLinearConv CausalConvWithState DeformConv",
    "fused attention": "Attention",
    "group normalisation": "GroupNormalization",
    "instance normalisation": "InstanceNormalization",
    "layer normalisation": "LayerNormalization RMSNormalization",
    "max pool": "MaxPool",
    "product": "MatMul Gemm MatMulInteger QLinearMatMul Einsum",
    "recurrence": "LSTM GRU RNN",
    "softmax": "Softmax LogSoftmax",
    "transposed convolution": "ConvTranspose",
    "ELU": "Elu",
    "GELU": "Gelu",
    "LeakyReLU": "LeakyRelu",
    "PReLU": "PRelu",
    "ReLU": "Relu",
    "ReLU6": "Clip",
    "SiLU": "Swish",
    "activation": "Celu HardSigmoid HardSwish Mish Selu Sigmoid Softplus Softsign Tanh "
    "ThresholdedRelu",
}
KIND_OF: Mapping[str, str] = {op: kind for kind, ops in _OPERATORS.items() for op in ops.split()}
"""Operator of the standard domain -> its kind, where that does not hang on the node."""


def operators(
    nodes: Collection[ir.Node], walk: Walk, work: Mapping[ir.Node, Work]
) -> tuple[Operators, ...]:
    """What runs among `nodes`; what computes on constants alone does not."""
    return grouped(_ran(node, walk, work.get(node)) for node in nodes if not walk.fixed(node))


def _ran(node: ir.Node, walk: Walk, work: Work | None) -> Ran:
    read = next((v for v in node.inputs if v is not None and v not in walk.weights), None)
    shapes = (
        [walk.shape(read) or (), walk.shape(node.outputs[0]) or ()] if node.outputs else [(), ()]
    )
    elements = [prod(shape) if shape else 0 for shape in shapes]
    return Ran(operator(node), _kind(node, work, *shapes), work, *elements)


def _kind(node: ir.Node, work: Work | None, read: tuple[int, ...], written: tuple[int, ...]) -> str:
    op = operator(node)
    if op in ("Resize", "Upsample"):
        return _resize(node)
    if op == "ReduceMean" and averages(read, written):
        return "adaptive average pool"
    kind = KIND_OF.get(op, "other")
    return "linear" if kind == "product" and work is not None and work.pointwise_macs else kind


def _resize(node: ir.Node) -> str:
    mode = node.attributes.get_string("mode", "nearest")
    return {"nearest": "nearest resize", "linear": "bilinear resize"}.get(mode or "", "other")
