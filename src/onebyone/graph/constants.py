"""Values that are known before the model runs."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onebyone.algebra.weights import Array

__all__ = ["constant", "is_float", "per_channel"]


def constant(value: ir.Value | None) -> Array | None:
    """The array of an initialiser that nobody can override, in its stored dtype; else None.

    An initialiser that is also a graph input (IR version 4 and later) is a default that the caller
    of the model may replace, so it is not constant. Views of an initialiser are constant too:
    exporters leave `Identity` where two were equal and `Transpose` before a product.

    >>> w = ir.Value(name="w", const_value=ir.tensor(np.array([[1, 2, 3]])))
    >>> constant(ir.node("Transpose", [w]).outputs[0]).shape
    (3, 1)
    """
    if value is None or value.is_graph_input():
        return None
    if value.const_value is not None:
        return np.asarray(value.const_value.numpy())
    node = value.producer()
    reader = _VIEWS.get(node.op_type) if node is not None and node.domain == "" else None
    return None if reader is None or node is None else reader(node)


def _identity(node: ir.Node) -> Array | None:
    return constant(node.inputs[0])


def _transpose(node: ir.Node) -> Array | None:
    array = constant(node.inputs[0])
    permutation = node.attributes.get_ints("perm", None)
    return None if array is None else np.transpose(array, permutation)


def _reshape(node: ir.Node) -> Array | None:
    array, shape = constant(node.inputs[0]), constant(node.inputs[1])
    if array is None or shape is None or (shape == 0).any():
        return None
    return array.reshape([int(n) for n in shape])


def _to_shape(node: ir.Node) -> Array | None:
    """Squeeze, Unsqueeze, Flatten: the shape that inference found for the result."""
    array, shape = constant(node.inputs[0]), node.outputs[0].shape
    known = [n for n in shape or () if isinstance(n, int)]
    if array is None or shape is None or len(known) < len(shape):
        return None
    return array.reshape(known)


_VIEWS = {
    "Identity": _identity,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Squeeze": _to_shape,
    "Unsqueeze": _to_shape,
    "Flatten": _to_shape,
}


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
