"""Functions of one number: activations, roots, rounding, what is asked of each element."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir

from onebyone.algebra.weights import Array
from onebyone.graph.ops.call import Call, Kernel, kernel_of
from onebyone.graph.ops.row import Operator, Role, Rounding, first_if
from onebyone.graph.values import made_by

__all__ = ["ROWS", "gelu", "sigmoid"]


_LARGEST = 3.4028234663852886e38
"""The ends of float32, between which Clip stays by default before opset 11."""


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), without overflow."""
    # The exponent is never positive; for x < 0 it is exp(x) / (1 + exp(x)), the same number.
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
    # In place: the tensors of an activation are a network's largest.
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
    return gamma * _elu(x, alpha)


def _elu(x: Array, alpha: float) -> Array:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _celu(x: Array, alpha: float) -> Array:
    return np.maximum(x, 0) + np.minimum(alpha * np.expm1(np.minimum(x, 0) / alpha), 0)


def _shrink(x: Array, bias: float, lambd: float) -> Array:
    return np.where(x < -lambd, x + bias, np.where(x > lambd, x - bias, 0)).astype(x.dtype)


def _clip(call: Call, x: Array, low: Array | None = None, high: Array | None = None) -> Array:
    if call.version < 11:  # by default the ends of float32: infinities become the largest number
        return np.clip(x, call.get("min", -_LARGEST), call.get("max", _LARGEST)).astype(x.dtype)
    if low is not None:
        x = np.maximum(x, low)
    if high is not None:
        x = np.minimum(x, high)
    return x


def _is_inf(call: Call, x: Array) -> Array:
    wanted = np.isinf(x)
    if not call.get("detect_negative", 1):
        wanted &= x > 0
    if not call.get("detect_positive", 1):
        wanted &= x < 0
    return wanted


def _is_unlimited(node: ir.Node) -> bool:
    attributes = "min" in node.attributes or "max" in node.attributes
    return not attributes and all(value is None for value in node.inputs[1:])


def _is_repeated(node: ir.Node) -> bool:
    """Done twice, it does what it did once."""
    return made_by(node.inputs[0], node.op_type) is not None


def _of_each(name: str, value: Kernel | None, rounding: Rounding, **special: Any) -> Operator:
    return Operator(name, Role.ELEMENTWISE, value, rounding, elementwise=True, **special)


def _smooth(name: str, value: Kernel, kind: str = "other", **special: Any) -> Operator:
    """A continuous function, which calculations in another order change by rounding alone."""
    return _of_each(name, value, Rounding.SMOOTHLY, kind=kind, **special)


def _plain(
    rounding: Rounding, functions: dict[str, Callable[..., Any]], **special: Any
) -> tuple[Operator, ...]:
    each = functions.items()
    return tuple(_of_each(name, kernel_of(f), rounding, **special) for name, f in each)


_AGAIN = first_if(_is_repeated)
_ALPHA, _GAMMA = 1.6732631921768188, 1.0507010221481323  # Selu's (Klambauer et al. 2017)

ROWS = (
    *_plain(
        Rounding.SMOOTHLY,
        {"Asinh": np.arcsinh, "Atan": np.arctan, "Cos": np.cos, "Erf": _erf, "Sin": np.sin,
         "Tan": np.tan},
    ),
    *_plain(
        Rounding.SMOOTHLY,
        {"Acos": np.arccos, "Acosh": np.arccosh, "Asin": np.arcsin, "Atanh": np.arctanh,
         "Cosh": np.cosh, "Exp": np.exp, "Log": np.log, "Sinh": np.sinh},
        is_partial=True,
    ),
    *_plain(
        Rounding.SMOOTHLY,
        {"HardSwish": _hard_swish, "Mish": lambda x: x * np.tanh(_softplus(x)), "Sigmoid": sigmoid,
         "Softplus": _softplus, "Softsign": lambda x: x / (1 + np.abs(x)), "Tanh": np.tanh},
        kind="activation",
    ),
    _smooth("Celu", kernel_of(_celu, alpha=1.0), "activation"),
    _smooth("Elu", kernel_of(_elu, alpha=1.0), "ELU"),
    _smooth("Gelu", kernel_of(gelu, approximate="none"), "GELU"),
    _smooth("HardSigmoid", kernel_of(_hard_sigmoid, alpha=0.2, beta=0.5), "activation"),
    _smooth("LeakyRelu", kernel_of(lambda x, alpha: np.where(x < 0, alpha * x, x), alpha=0.01),
            "LeakyReLU"),
    _smooth("PRelu", kernel_of(lambda x, slope: np.where(x > 0, x, x * slope)), "PReLU",
            channel_axis=1),
    _smooth("Selu", kernel_of(_selu, alpha=_ALPHA, gamma=_GAMMA), "activation"),
    _smooth("Swish", kernel_of(lambda x, alpha: x * sigmoid(alpha * x), alpha=1.0), "SiLU"),
    *_plain(Rounding.ONCE, {"Reciprocal": lambda x: 1 / x}, is_partial=True),
    *_plain(Rounding.ONCE, {"Sqrt": np.sqrt}, on_sizes="any", is_partial=True),
    *_plain(Rounding.NEVER, {"Abs": np.abs}, magnitude="Identity", unchanged=_AGAIN),
    *_plain(Rounding.STEPS, {"Round": np.rint, "Sign": np.sign}, unchanged=_AGAIN),
    *_plain(Rounding.STEPS, {"Ceil": np.ceil, "Floor": np.floor}, unchanged=_AGAIN, on_sizes="any"),
    _of_each("Relu", kernel_of(lambda x: np.maximum(x, 0)), Rounding.NEVER,
             is_unsure_of_nan=True, magnitude="Identity", unchanged=_AGAIN, kind="ReLU"),
    _of_each("Clip", _clip, Rounding.NEVER, is_unsure_of_nan=True, compares=True,
             unchanged=first_if(_is_unlimited), kind="ReLU6", settings=(1, 2)),
    _of_each("Shrink", kernel_of(_shrink, bias=0.0, lambd=0.5), Rounding.STEPS),
    _of_each("ThresholdedRelu",
             kernel_of(lambda x, alpha: np.where(x > alpha, x, 0.0), alpha=1.0), Rounding.STEPS,
             kind="activation"),
    Operator("IsInf", elementwise=True, value=_is_inf, rounding=Rounding.STEPS),
    Operator("IsNaN", elementwise=True, value=kernel_of(np.isnan), rounding=Rounding.STEPS),
    Operator("BitwiseNot", elementwise=True, rounding=Rounding.NEVER),
)  # fmt: skip
