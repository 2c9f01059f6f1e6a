"""One node as a kernel sees it, and kernels out of plain functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onebyone.algebra.weights import Array

__all__ = ["FLOATS", "Call", "Kernel", "call_of", "is_floating", "kernel_of"]

Kernel = Callable[..., Any]

# The names of the tensors that are evaluated in the wanted precision. The smaller floats (8 and
# 4 bit) stand for quantised integers and keep their type.
FLOATS = frozenset({"float16", "bfloat16", "float32", "float64", "longdouble", "float128"})


@dataclass(frozen=True)
class Call:
    """The attributes of a node, the opset version it is read by, how many outputs it has.

    `dtype` is the type of every floating tensor of the evaluation.
    """

    op: str
    version: int
    outputs: int = 1
    attributes: Mapping[str, Any] = field(default_factory=dict)
    dtype: np.dtype[Any] = np.dtype(np.float64)  # noqa: RUF009 (an immutable value)

    def get(self, name: str, default: Any = None) -> Any:
        """The value of an attribute, or `default`."""
        return self.attributes.get(name, default)

    def ints(self, name: str, given: Array | None = None) -> list[int] | None:
        """A list that older opsets store as an attribute and newer ones take as an input.

        >>> Call("Squeeze", 11, attributes={"axes": (0, 2)}).ints("axes")
        [0, 2]
        >>> Call("Squeeze", 13).ints("axes", np.array([1]))
        [1]
        """
        listed = self.get(name) if given is None else np.atleast_1d(given)
        return None if listed is None else [int(i) for i in listed]


def is_floating(dtype: npt.DTypeLike) -> bool:
    """Whether tensors of this type are evaluated in the wanted precision.

    >>> is_floating(np.float16), is_floating(np.int8)
    (True, False)
    """
    return np.dtype(dtype).name in FLOATS


def call_of(node: ir.Node, version: int, dtype: npt.DTypeLike = np.float64) -> Call:
    """The call of a node whose operator is read by a version of its domain."""
    attributes = {name: attribute.value for name, attribute in node.attributes.items()}
    return Call(node.op_type, version, len(node.outputs), attributes, np.dtype(dtype))


def kernel_of(function: Callable[..., Any], **defaults: Any) -> Kernel:
    """A kernel that hands on its inputs, and these attributes under their own names."""

    def kernel(call: Call, *inputs: Array) -> Array:
        attributes = {name: call.get(name, value) for name, value in defaults.items()}
        return np.asarray(function(*inputs, **attributes))

    return kernel
