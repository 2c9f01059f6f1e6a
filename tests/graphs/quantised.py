"""Draw quantised parts: QDQ around a value, weights behind a DequantizeLinear, QOperator nodes.

Scales are powers of two, so the values are integers times a scale; what is between two quantised
parts is float as ever.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from .sketch import Sketch, Value
from .versions import Unwritable

__all__ = ["fake_quantised", "integer_matmul", "qlinear_conv", "qlinear_matmul", "weight_of_codes"]


def _only_float32(g: Sketch) -> None:
    if g.dtype != TensorProto.FLOAT:
        raise Unwritable("quantised parts in another type need an opset of their own")


def _scale(g: Sketch, x: Value, unsigned: bool) -> tuple[str, str, float]:
    """Scale and zero point (uint8 or int8) that x's bound fits in."""
    _only_float32(g)
    scale = 2.0 ** float(np.ceil(np.log2(max(x.bound, 1.0) / 100)))
    zero = np.array(128, np.uint8) if unsigned else np.array(0, np.int8)
    return g.constant(np.array(scale, np.float32)), g.constant(zero), scale


def fake_quantised(g: Sketch, x: Value) -> Value | None:
    """QuantizeLinear, then DequantizeLinear."""
    scale, zero, step = _scale(g, x, g.chance(2))
    codes = g.node("QuantizeLinear", [x.name, scale, zero])
    g.mark("quantised", "qdq")
    name = g.node("DequantizeLinear", [codes, scale, zero])
    bits = max(0, -int(np.log2(step)))
    return x.becomes(name, bound=130 * step, bits=max(x.bits, bits))


def weight_of_codes(g: Sketch, x: Value) -> Value | None:
    """A linear map whose weight is int8 behind a DequantizeLinear, per tensor or per channel."""
    _only_float32(g)
    c_out = g.integer(1, 6)
    codes = g.rng.integers(-3, 4, (c_out, x.channels)).astype(np.int8)
    last = x.axis == x.rank - 1
    stored = (
        np.ascontiguousarray(codes.T) if last else codes.reshape(*codes.shape, *(1,) * (x.rank - 2))
    )
    per_channel = g.opset >= 13 and g.chance(2)
    scale = np.full((c_out,) if per_channel else (), 0.5, np.float32)
    axis = {"axis": 1 if last else 0} if per_channel else {}
    parts = [stored, scale, np.zeros(scale.shape, np.int8)]
    weight = g.node("DequantizeLinear", [g.constant(part) for part in parts], **axis)
    name = g.node("MatMul" if last else "Conv", [x.name, weight])
    g.mark("quantised", "weight of codes")
    bound = float(np.abs(codes).sum(1).max() or 1) * x.bound / 2
    return x.becomes(name, bound=bound, bits=x.bits + 1).sized(x.axis, [c_out] * len(x.shapes))


def _codes(g: Sketch, x: Value, unsigned: bool) -> tuple[str, str, str, float]:
    scale, zero, step = _scale(g, x, unsigned)
    return g.node("QuantizeLinear", [x.name, scale, zero]), scale, zero, step


def _weight_codes(g: Sketch, *shape: int) -> tuple[list[str], np.ndarray]:
    weight = g.rng.integers(-3, 4, shape).astype(np.int8)
    parts = [weight, np.array(0.5, np.float32), np.array(0, np.int8)]
    return [g.constant(part) for part in parts], weight


def qlinear_matmul(g: Sketch, x: Value) -> Value | None:
    """QLinearMatMul on the last axis."""
    if x.axis != x.rank - 1:
        return None
    unsigned = g.chance(2)  # both sides: engines have no mixture
    codes, scale, zero, step = _codes(g, x, unsigned)
    (w, w_scale, w_zero), weight = _weight_codes(g, x.channels, g.integer(1, 6))
    made = x.becomes("", bound=130 * step * float(np.abs(weight).sum(0).max() or 1) / 2)
    out_scale, out_zero, out_step = _scale(g, made, unsigned)
    name = g.node("QLinearMatMul", [codes, scale, zero, w, w_scale, w_zero, out_scale, out_zero])
    g.mark("quantised", "qoperator")
    name = g.node("DequantizeLinear", [name, out_scale, out_zero])
    y = x.becomes(name, bound=130 * out_step, bits=max(0, -int(np.log2(out_step))))
    return y.sized(x.axis, [weight.shape[1]] * len(x.shapes))


def qlinear_conv(g: Sketch, x: Value) -> Value | None:
    """QLinearConv, 1×1."""
    unsigned = g.chance(2)  # both sides: engines have no mixture
    codes, scale, zero, step = _codes(g, x, unsigned)
    shape = g.integer(1, 6), x.channels, *(1,) * (x.rank - 2)
    (w, w_scale, w_zero), weight = _weight_codes(g, *shape)
    most = np.abs(weight).reshape(shape[0], -1).sum(1).max() or 1
    out_scale, out_zero, out_step = _scale(
        g, x.becomes("", bound=130 * step * float(most) / 2), unsigned
    )
    name = g.node("QLinearConv", [codes, scale, zero, w, w_scale, w_zero, out_scale, out_zero])
    g.mark("quantised", "qoperator")
    name = g.node("DequantizeLinear", [name, out_scale, out_zero])
    y = x.becomes(name, bound=130 * out_step, bits=max(0, -int(np.log2(out_step))))
    return y.sized(1, [shape[0]] * len(x.shapes))


def integer_matmul(g: Sketch, x: Value) -> Value | None:
    """MatMulInteger of codes, cast and scaled again."""
    if x.axis != x.rank - 1 or g.opset < 10:
        return None
    unsigned = g.chance(2)  # both sides: engines have no mixture
    codes, scale, zero, step = _codes(g, x, unsigned)
    (w, _, w_zero), weight = _weight_codes(g, x.channels, g.integer(1, 6))
    total = g.node("Cast", [g.node("MatMulInteger", [codes, w, zero, w_zero])], to=1)
    name = g.node("Mul", [total, scale])
    g.mark("quantised", "integer matmul")
    bound = 130 * step * float(np.abs(weight).sum(0).max() or 1)
    y = x.becomes(name, bound=bound, bits=max(0, -int(np.log2(step))))
    return y.sized(x.axis, [weight.shape[1]] * len(x.shapes))
