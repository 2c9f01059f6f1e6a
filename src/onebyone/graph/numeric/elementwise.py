"""Operators that compute each element from the elements at the same position."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

from onebyone.graph.numeric.call import Array, Call, Kernel, is_floating

__all__ = ["KERNELS", "gelu", "sigmoid"]


_LARGEST = 3.4028234663852886e38


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), without overflow."""
    y = np.exp(-np.abs(x))
    return np.asarray(np.where(x < 0, y, 1) / (1 + y))


def _erf(x: Array) -> Array:
    from scipy import special  # a quarter of a second, for the models that need it

    return np.asarray(special.erf(x))


def gelu(x: Array, approximate: str = "none") -> Array:
    """x·Φ(x), or its tanh approximation (Hendrycks and Gimpel, arXiv 1606.08415).

    >>> gelu(np.array([0.0, 100.0]))
    array([  0., 100.])
    """
    if approximate == "tanh":
        inner = np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)
        return np.asarray(0.5 * x * (1 + np.tanh(inner)))
    y = _erf(x * np.sqrt(0.5))
    y += 1
    y *= x
    y *= 0.5
    return np.asarray(y)


def _softplus(x: Array) -> Array:
    return np.logaddexp(0, x)


def _hard_sigmoid(x: Array, alpha: float, beta: float) -> Array:
    y = alpha * x
    y += beta
    return np.clip(y, 0, 1)


def _hard_swish(x: Array) -> Array:
    y = _hard_sigmoid(x, 1 / 6, 0.5)
    y *= x
    return y


def _selu(x: Array, alpha: float, gamma: float) -> Array:
    return gamma * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _elu(x: Array, alpha: float) -> Array:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _celu(x: Array, alpha: float) -> Array:
    return np.maximum(x, 0) + np.minimum(alpha * np.expm1(np.minimum(x, 0) / alpha), 0)


def _shrink(x: Array, bias: float, lambd: float) -> Array:
    return np.where(x < -lambd, x + bias, np.where(x > lambd, x - bias, 0)).astype(x.dtype)


def _divide(a: Array, b: Array) -> Array:
    if is_floating(a.dtype):
        return np.divide(a, b)
    # Integers round towards zero, NumPy's // towards minus infinity.
    quotient = np.abs(a) // np.abs(b) * np.sign(a) * np.sign(b)
    return quotient.astype(a.dtype)


def _power(a: Array, b: Array) -> Array:
    if b.size == 1 and b == 2:
        return np.square(a)
    return np.power(a, b).astype(a.dtype)


def _prelu(x: Array, slope: Array) -> Array:
    return np.where(x > 0, x, x * slope)


def _relu(call: Call, x: Array) -> Array:
    return np.maximum(x, 0)


def _where(call: Call, condition: Array, a: Array, b: Array) -> Array:
    return np.where(condition, a, b)


def _mod(call: Call, a: Array, b: Array) -> Array:
    return (np.fmod if call.get("fmod", 0) else np.mod)(a, b)


def _clip(call: Call, x: Array, low: Array | None = None, high: Array | None = None) -> Array:
    if call.version < 11:  # by default the ends of float32: infinities become the largest number
        return np.clip(x, call.get("min", -_LARGEST), call.get("max", _LARGEST)).astype(x.dtype)
    below = x if low is None else np.maximum(x, low)
    return below if high is None else np.minimum(below, high)


def _is_inf(call: Call, x: Array) -> Array:
    found = np.isinf(x)
    if not call.get("detect_negative", 1):
        found &= x > 0
    if not call.get("detect_positive", 1):
        found &= x < 0
    return found


def _cast(call: Call, x: Array, like: Array | None = None) -> Array | None:
    """Any float becomes the wanted precision; strings and small floats are left to ONNX."""
    if like is None:
        # Imported here: reading the table of types costs more than all kernels together.
        from onnx.helper import tensor_dtype_to_np_dtype

        target = tensor_dtype_to_np_dtype(call.get("to"))
    else:
        target = like.dtype
    target = call.dtype if is_floating(target) else target
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
    zeros = np.zeros_like(scale) if zero is None else zero.astype(scale.dtype)
    return (codes.astype(scale.dtype) - zeros.reshape(shape)) * scale.reshape(shape)


def _mean(call: Call, *x: Array) -> Array:
    return np.asarray(reduce(np.add, x) / len(x))


def _of(function: Callable[..., Any], **defaults: Any) -> Kernel:
    """A kernel that hands on its inputs, and these attributes under their own names."""

    def kernel(call: Call, *inputs: Array) -> Array:
        attributes = {name: call.get(name, value) for name, value in defaults.items()}
        return np.asarray(function(*inputs, **attributes))

    return kernel


def _many(function: Callable[[Any, Any], Any]) -> Kernel:
    return lambda call, *inputs: reduce(function, inputs)


_PLAIN: dict[str, Callable[..., Any]] = {
    "Abs": np.abs, "Acos": np.arccos, "Acosh": np.arccosh, "Add": np.add, "And": np.logical_and,
    "Asin": np.arcsin, "Asinh": np.arcsinh, "Atan": np.arctan, "Atanh": np.arctanh,
    "Ceil": np.ceil, "Cos": np.cos, "Cosh": np.cosh, "Div": _divide, "Equal": np.equal,
    "Erf": _erf, "Exp": np.exp, "Floor": np.floor, "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal, "HardSwish": _hard_swish, "IsNaN": np.isnan,
    "Less": np.less, "LessOrEqual": np.less_equal, "Log": np.log,
    "Mish": lambda x: x * np.tanh(_softplus(x)), "Mul": np.multiply, "Neg": np.negative,
    "Not": np.logical_not, "Or": np.logical_or, "PRelu": _prelu, "Pow": _power,
    "Reciprocal": lambda x: 1 / x, "Round": np.rint, "Sigmoid": sigmoid, "Sign": np.sign,
    "Sin": np.sin, "Sinh": np.sinh, "Softplus": _softplus,
    "Softsign": lambda x: x / (1 + np.abs(x)), "Sqrt": np.sqrt, "Sub": np.subtract,
    "Tan": np.tan, "Tanh": np.tanh, "Xor": np.logical_xor,
}  # fmt: skip

KERNELS: dict[str, Kernel] = {
    **{name: _of(function) for name, function in _PLAIN.items()},
    "CastLike": _cast,
    "Cast": _cast,
    "Celu": _of(_celu, alpha=1.0),
    "Clip": _clip,
    "DequantizeLinear": _dequantised,
    "Elu": _of(_elu, alpha=1.0),
    "Gelu": _of(gelu, approximate="none"),
    "HardSigmoid": _of(_hard_sigmoid, alpha=0.2, beta=0.5),
    "Identity": lambda call, x: x,
    "IsInf": _is_inf,
    "LeakyRelu": _of(lambda x, alpha: np.where(x < 0, alpha * x, x), alpha=0.01),
    "Max": _many(np.maximum),
    "Mean": _mean,
    "Min": _many(np.minimum),
    "Mod": _mod,
    "Relu": _relu,
    "Selu": _of(_selu, alpha=1.6732631921768188, gamma=1.0507010221481323),
    "Shrink": _of(_shrink, bias=0.0, lambd=0.5),
    "Sum": _many(np.add),
    "Swish": _of(lambda x, alpha: x * sigmoid(alpha * x), alpha=1.0),
    "ThresholdedRelu": _of(lambda x, alpha: np.where(x > alpha, x, 0.0), alpha=1.0),
    "Where": _where,
}  # fmt: skip
