"""Values that are known before the model runs."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onebyone.algebra.weights import Array

__all__ = ["constant", "is_float", "per_channel"]


def constant(value: ir.Value | None) -> Array | None:
    """The array of an initialiser that nobody can override, in its stored dtype; else None.

    An initialiser that is also a graph input (IR version 4 and later) is a default that the caller
    of the model may replace, so it is not constant. `Identity` nodes are looked through: exporters
    put them where two initialisers were equal.
    """
    while value is not None and _is_identity(value.producer()):
        value = value.producer().inputs[0]  # type: ignore[union-attr]
    if value is None or value.const_value is None or value.is_graph_input():
        return None
    return np.asarray(value.const_value.numpy())


def _is_identity(node: ir.Node | None) -> bool:
    return node is not None and node.op_type == "Identity" and node.domain == ""


def is_float(value: ir.Value | None) -> bool:
    """Whether the value is a tensor of float16, bfloat16, float32 or float64."""
    kinds = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE)
    return value is not None and value.dtype in kinds


def per_channel(array: Array, rank: int, axis: int, channels: int) -> Array | None:
    """The (channels,) vector that `array`, broadcast against rank `rank`, holds along `axis`.

    None if it varies along another axis or would widen the tensor it meets.

    >>> per_channel(np.array([[[2]], [[3]]]), 4, 1, 2)
    array([2, 3])
    >>> per_channel(np.array([2, 3]), 4, 1, 2) is None
    True
    """
    shape = (1,) * (rank - array.ndim) + array.shape
    if len(shape) != rank or any(n != 1 for k, n in enumerate(shape) if k != axis):
        return None
    if shape[axis] not in (1, channels):
        return None
    return np.broadcast_to(array.reshape(-1), (channels,))
