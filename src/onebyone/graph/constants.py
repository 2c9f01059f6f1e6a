"""Values that are known before the model runs."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onebyone.algebra.weights import Array
from onebyone.graph.exact import numbers
from onebyone.graph.values import fixed_shape, input_at

__all__ = ["constant", "is_float", "is_set_aside", "per_channel", "set_aside"]

_FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE)
# Products of two larger ones leave float32, so that the order of operations shows in the result.
_LARGEST = 2.0**63
_SET_ASIDE = "onebyone.numbers that no law may use"
_TAME = "onebyone.numbers that laws may use"


def constant(value: ir.Value | None) -> Array | None:
    """The array of an initialiser that nobody can override; else None.

    It is in its stored dtype, or in float64 where a law computed it (`graph.exact`).

    An initialiser that is also a graph input (IR version 4 and later) is a default that the caller
    of the model may replace, so it is not constant. Views of an initialiser are constant too:
    exporters leave `Identity` where two were equal and `Transpose` before a product. One that was
    `set_aside` counts as computed at run time.

    >>> w = ir.Value(name="w", const_value=ir.tensor(np.array([[1, 2, 3]])))
    >>> constant(ir.node("Transpose", [w]).outputs[0]).shape
    (3, 1)
    """
    if value is None or value.is_graph_input() or is_set_aside(value):
        return None
    if value.const_value is not None:
        return numbers(value.const_value)
    node = value.producer()
    if node is None or node.domain != "" or node.op_type not in _VIEWS:
        return None
    return _VIEWS[node.op_type](node)


def _identity(node: ir.Node) -> Array | None:
    return constant(node.inputs[0])


def _transpose(node: ir.Node) -> Array | None:
    array = constant(node.inputs[0])
    if array is None:
        return None
    return np.transpose(array, node.attributes.get_ints("perm", None))


def _reshape(node: ir.Node) -> Array | None:
    array, shape = constant(node.inputs[0]), constant(node.inputs[1])
    # A size of 0 is that of the operand or none at all, by the attribute `allowzero`.
    if array is None or shape is None or (shape == 0).any():
        return None
    return array.reshape([int(n) for n in shape])


def _to_shape(node: ir.Node) -> Array | None:
    """Squeeze, Unsqueeze, Flatten: the shape that inference found for the result."""
    array, shape = constant(node.inputs[0]), fixed_shape(node.outputs[0])
    if array is None or shape is None:
        return None
    return array.reshape(shape)


_VIEWS = {
    "Identity": _identity,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Squeeze": _to_shape,
    "Unsqueeze": _to_shape,
    "Flatten": _to_shape,
}


def set_aside(graph: ir.Graph) -> None:
    """Mark the floating initialisers with which no law may calculate; `constant` gives None then.

    Those that hold NaN, infinities or numbers beyond 2^63 in magnitude, and variances of batch
    normalisations that have no root: 0 · inf is not 0, and what overflows depends on the order.

    >>> weights = [ir.val(n, const_value=ir.tensor([1.0, x])) for n, x in [("a", 2.0), ("b", 1e30)]]
    >>> graph = ir.Graph([], [], nodes=[], initializers=weights)
    >>> set_aside(graph)
    >>> [constant(value) is None for value in weights]
    [False, True]
    """
    for value in graph.initializers.values():
        tensor = value.const_value
        if tensor is not None and tensor.dtype in _FLOATS and not _was_tame(tensor):
            value.meta[_SET_ASIDE] = True
    for node in graph:
        if node.op_type != "BatchNormalization" or node.domain != "":
            continue
        variance = input_at(node, 4)
        array = constant(variance)
        if variance is None or array is None:
            continue
        if not (array + node.attributes.get_float("epsilon", 1e-5) > 0).all():
            variance.meta[_SET_ASIDE] = True


def _was_tame(tensor: ir.TensorProtocol) -> bool:
    """`_is_tame`, asked once of each tensor: its numbers never change, and there may be many."""
    if not isinstance(tensor, ir.Tensor):
        return _is_tame(tensor)
    if _TAME not in tensor.meta:
        tensor.meta[_TAME] = _is_tame(tensor)
    return bool(tensor.meta[_TAME])


def _is_tame(tensor: ir.TensorProtocol) -> bool:
    array = np.asarray(tensor.numpy())
    if array.dtype.itemsize < 4:  # NumPy knows no order of the small types
        array = array.astype(np.float32)
    # NaN is neither.
    return not array.size or bool(array.min() > -_LARGEST and array.max() < _LARGEST)


def is_set_aside(value: ir.Value) -> bool:
    """Whether `set_aside` marked it."""
    return _SET_ASIDE in value.meta


def is_float(value: ir.Value | None) -> bool:
    """Whether the value is a tensor of float16, bfloat16, float32 or float64."""
    return value is not None and value.dtype in _FLOATS


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
