"""Casts from type to type, and quantisation: to integers, and products of them."""

from __future__ import annotations

import onnx_ir as ir

from onebyone.algebra.weights import Array
from onebyone.graph.ops.call import Call, is_floating
from onebyone.graph.ops.convolution import convolution_work
from onebyone.graph.ops.product import matmul_work
from onebyone.graph.ops.row import Effort, Operator, Product, Role, Rounding, first_if
from onebyone.graph.ops.sizes import Entries
from onebyone.graph.ops.view import same_entries
from onebyone.graph.values import input_at, made_by

__all__ = ["ROWS", "is_of_int8_codes"]


def _cast(call: Call, x: Array, like: Array | None = None) -> Array | None:
    """Any float becomes the wanted precision; strings and small floats are left to ONNX."""
    if like is None:
        # Imported here: reading the table of types costs more than all kernels together.
        from onnx.helper import tensor_dtype_to_np_dtype

        target = tensor_dtype_to_np_dtype(call.get("to"))
    else:
        target = like.dtype
    if is_floating(target):
        target = call.dtype
    if not all(kind.kind in "biuf" for kind in (x.dtype, target)):
        return None
    return x.astype(target)


def _dequantised(call: Call, codes: Array, scale: Array, zero: Array | None = None) -> Array | None:
    """(codes - zero)·scale; small floats and blocks, which the newest opsets have, are ONNX's."""
    if codes.dtype.kind not in "iu" or call.get("block_size", 0):
        return None
    shape = [1] * codes.ndim
    if scale.size > 1:
        shape[call.get("axis", 1)] = scale.size
    numbers = codes.astype(scale.dtype)
    if zero is not None:
        numbers -= zero.astype(scale.dtype).reshape(shape)
    return numbers * scale.reshape(shape)


def _cast_entries(node: ir.Node, known: dict[ir.Value, Entries]) -> Entries | None:
    whole = node.attributes.get_int("to", 0) in (ir.DataType.INT32, ir.DataType.INT64)
    return same_entries(node, known) if whole else None


def _casts_to_the_same(node: ir.Node) -> bool:
    x = node.inputs[0]
    return x is not None and x.dtype is not None and x.dtype == _target(node)


def _target(node: ir.Node) -> int | None:
    like = input_at(node, 1)
    return node.attributes.get_int("to", 0) if like is None else like.dtype


def is_of_int8_codes(value: ir.Value, opset: int) -> bool:
    """Whether a value is that of int8 codes, in an opset where engines take what follows amiss.

    ONNX Runtime (1.31) carries the codes past a Reshape or a Slice with a zero point of uint8, and
    then refuses that itself. It makes Reshapes of its own around a MatMul and an Add.
    """
    node = made_by(value, "DequantizeLinear")
    if node is None:
        return False
    codes = node.inputs[0]
    return opset >= 21 and codes is not None and codes.dtype == ir.DataType.INT8


_SAME_TYPE = first_if(_casts_to_the_same)
# Of a product of two quantised operands: their scales and zero points, and those of the result.
_SCALES = (1, 2, 4, 5, 6, 7)

ROWS = (
    Operator("Cast", value=_cast, rounding=Rounding.ONCE, magnitude="Cast", on_sizes="any",
             elementwise=True, entries=_cast_entries, unchanged=_SAME_TYPE, effort=Effort.MOVES,
             relays=True),
    Operator("CastLike", value=_cast, rounding=Rounding.ONCE, unchanged=_SAME_TYPE,
             effort=Effort.MOVES, unread=(1,), relays=True),
    Operator("BitCast", effort=Effort.MOVES),
    Operator("QuantizeLinear", Role.QUANTIZATION, settings=(1, 2)),
    Operator("DequantizeLinear", Role.QUANTIZATION, _dequantised, settings=(1, 2), codes=(0,)),
    Operator("DynamicQuantizeLinear", Role.QUANTIZATION),
    Operator("ConvInteger", Role.QUANTIZATION, work=Product(convolution_work, (0, 1)),
             kind="convolution", codes=(1,)),
    Operator("QLinearConv", Role.QUANTIZATION, work=Product(convolution_work, (0, 3), 8),
             kind="convolution", settings=_SCALES, codes=(3, 8)),
    Operator("MatMulInteger", Role.QUANTIZATION, work=Product(matmul_work, (0, 1)), kind="product",
             codes=(0, 1)),
    Operator("QLinearMatMul", Role.QUANTIZATION, work=Product(matmul_work, (0, 3)), kind="product",
             settings=_SCALES, codes=(0, 3)),
)  # fmt: skip
