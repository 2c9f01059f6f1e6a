"""What each ONNX operator is to the algebra, as one table.

The role of an operator says how it may take part; whether a node does take part (constant weights,
a kernel of 1, the channel axis left whole) is read from the node by `channels`, `spatial`, `views`.
"""

from __future__ import annotations

from enum import Enum

import onnx_ir as ir

__all__ = ["ROLES", "Role", "is_of_int8_codes", "role"]


class Role(Enum):
    """The part an operator plays in a linear region."""

    CHANNEL_MAP = "mixes or scales channels, the same at every position"
    CONVOLUTION = "mixes channels and positions; a channel map where its kernel is 1"
    SPACE_MAP = "maps positions linearly, the same in every channel"
    SELECTION = "picks positions or channels"
    SUM = "adds tensors, or a constant"
    CONCAT = "stacks tensors along an axis"
    VIEW = "moves numbers, computes nothing"
    IDENTITY = "returns its operand"
    ELEMENTWISE = "a nonlinear function of each element"
    NORMALIZATION = "divides by statistics of its operand"
    QUANTIZATION = "rounds to, or comes from, integers"
    OPAQUE = "anything else"


_BY_ROLE = {
    Role.CHANNEL_MAP: "MatMul Gemm BatchNormalization Mul Div Neg",
    Role.CONVOLUTION: "Conv ConvTranspose",
    Role.SPACE_MAP: "AveragePool GlobalAveragePool ReduceMean ReduceSum Resize Upsample Pad Expand "
    "Tile",
    Role.SELECTION: "Slice Gather",
    Role.SUM: "Add Sub Sum",
    Role.CONCAT: "Concat",
    Role.VIEW: "Reshape Transpose Flatten Squeeze Unsqueeze",
    Role.IDENTITY: "Identity Dropout",
    Role.ELEMENTWISE: "Abs Acos Acosh Asin Asinh Atan Atanh Ceil Celu Clip Cos Cosh Elu Erf Exp "
    "Floor Gelu HardSigmoid HardSwish LeakyRelu Log Mish Not Pow PRelu Reciprocal Relu Round Selu "
    "Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Swish Tan Tanh ThresholdedRelu",
    Role.NORMALIZATION: "GroupNormalization Hardmax InstanceNormalization LayerNormalization "
    "LogSoftmax LpNormalization LRN MeanVarianceNormalization RMSNormalization Softmax",
    Role.QUANTIZATION: "ConvInteger DequantizeLinear DynamicQuantizeLinear MatMulInteger "
    "QLinearConv QLinearMatMul QuantizeLinear",
}

ROLES: dict[str, Role] = {op: role for role, ops in _BY_ROLE.items() for op in ops.split()}
"""Operator type -> role, for the standard ONNX domain; what is not listed is opaque."""


def role(node: ir.Node) -> Role:
    """The role of a node's operator; operators of other domains are opaque."""
    return ROLES.get(node.op_type, Role.OPAQUE) if node.domain == "" else Role.OPAQUE


def is_of_int8_codes(value: ir.Value, opset: int) -> bool:
    """Whether a value is that of int8 codes, in an opset where engines take what follows amiss.

    ONNX Runtime (1.31) carries the codes past a Reshape or a Slice with a zero point of uint8, and
    then refuses that itself. It makes Reshapes of its own around a MatMul and an Add.
    """
    node = value.producer()
    if node is None or node.op_type != "DequantizeLinear" or node.inputs[0] is None:
        return False
    return opset >= 21 and node.inputs[0].dtype == ir.DataType.INT8
