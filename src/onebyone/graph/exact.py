"""Weights that were computed: in float64 until the last pass, beside the number that is stored.

What is composed of composed weights is so rounded once in all, and what a rewrite puts in place can
be compared with what it took the place of without the rounding of either.
"""

from __future__ import annotations

from typing import final

import numpy as np
import onnx_ir as ir

from onebyone.algebra.laws import refused
from onebyone.algebra.refusal import Refusal
from onebyone.algebra.weights import Array

__all__ = ["Exact", "Unrepresentable", "numbers", "rounded", "settle", "tensor_of"]


class Unrepresentable(Exception):
    """A composed weight does not fit the number type: float16 ends at 65504.

    Args:
        refusal: what the report says of it.
    """

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal


@final
class Exact(ir.Tensor):  # type: ignore[type-arg]
    """A tensor of a graph's number type that remembers the float64 numbers it was rounded from.

    Args:
        exact: in float64.
        dtype: of the graph; `numpy()` gives numbers of this type.
        name: of the tensor.

    >>> third = Exact(np.array([1 / 3]), ir.DataType.FLOAT16, "third")
    >>> third.numpy().item(), third.exact.item() == 1 / 3
    (0.333251953125, True)
    """

    __slots__ = ("exact",)

    def __init__(self, exact: Array, dtype: ir.DataType, name: str) -> None:
        super().__init__(rounded(exact, dtype), dtype=dtype, name=name)
        self.exact = exact


def numbers(tensor: ir.TensorProtocol) -> Array:
    """What a tensor stands for: its float64 numbers where it has some, else what is stored."""
    # Of a class that is a protocol too, isinstance looks all its methods up; nobody inherits of it.
    if type(tensor) is Exact:
        return tensor.exact
    return np.asarray(tensor.numpy())


def rounded(array: Array, dtype: ir.DataType) -> Array:
    """A composed weight in the number type of the graph, rounded once.

    Raises:
        Unrepresentable: it is finite, and too large for the type.
    """
    # Overflow is told below, with the type in words.
    with np.errstate(over="ignore"):
        stored = np.asarray(array).astype(dtype.numpy())
    if not np.isfinite(stored).all() and np.isfinite(array).all():
        raise Unrepresentable(refused("compose", "overflow", numbers=dtype.name.lower()))
    return stored


def tensor_of(array: Array, dtype: ir.DataType, name: str) -> ir.TensorProtocol:
    """An array as a tensor of the type `dtype`.

    Numbers of that type stay the same to the bit; all others are remembered in float64 (`Exact`).

    Raises:
        Unrepresentable: a number is finite, and too large for the type.

    >>> tensor_of(np.array([0.5, 0.1]), ir.DataType.FLOAT, "w").exact
    array([0.5, 0.1])
    >>> tensor_of(np.array([0.5, 0.25]), ir.DataType.FLOAT, "w").numpy()
    array([0.5 , 0.25], dtype=float32)
    """
    # A copy: who made the array may write to it, and views are stored as they are read.
    array = np.array(array, order="C")
    if array.dtype.kind in "biu" and not dtype.is_floating_point():
        return ir.tensor(array.astype(dtype.numpy()), name=name)
    if array.dtype == dtype.numpy():
        return ir.Tensor(array, dtype=dtype, name=name)
    # Numbers that the type holds need no second copy.
    exact = Exact(array.astype(np.float64, copy=False), dtype, name)
    if np.array_equal(exact.numpy().astype(np.float64), exact.exact):
        return _stored(exact)
    return exact


def _stored(tensor: Exact) -> ir.TensorProtocol:
    return ir.Tensor(tensor.numpy(), dtype=tensor.dtype, name=tensor.name)


def settle(graph: ir.Graph) -> None:
    """Round, in place, every weight that is still remembered in float64.

    >>> tensor = tensor_of(np.array([0.1]), ir.DataType.FLOAT, "w")
    >>> value = ir.val("w", const_value=tensor)
    >>> settle(ir.Graph([], [], nodes=[], initializers=[value]))
    >>> numbers(value.const_value)
    array([0.1], dtype=float32)
    """
    for value in graph.initializers.values():
        tensor = value.const_value
        if isinstance(tensor, Exact):
            value.const_value = _stored(tensor)
