"""Values known before the model runs."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest

from onebyone.graph.constants import constant, is_float, per_channel

ARRAY = np.arange(6, dtype=np.int64).reshape(2, 3)


def value(array: np.ndarray, name: str = "w") -> ir.Value:
    tensor = ir.tensor(array)
    return ir.Value(name=name, const_value=tensor, shape=tensor.shape)


def viewed(op: str, *operands: ir.Value, shape: tuple | None = None, **attributes) -> ir.Value:
    result = ir.node(op, list(operands), attributes).outputs[0]
    result.shape = None if shape is None else ir.Shape(shape)
    return result


def test_an_initialiser_is_constant_in_its_own_type() -> None:
    half = np.ones((1, 3), ml_dtypes.bfloat16)
    assert constant(value(half)).dtype == ml_dtypes.bfloat16
    assert np.array_equal(constant(value(ARRAY)), ARRAY)


def test_a_default_that_the_caller_may_replace_is_not() -> None:
    default = value(ARRAY)
    ir.Graph([default], [], nodes=[], initializers=[default])
    assert constant(default) is None
    assert constant(viewed("Identity", default)) is None


def test_what_the_model_computes_is_not() -> None:
    x = ir.val("x", ir.DataType.FLOAT, (2, 3))
    assert [constant(v) for v in (None, x, viewed("Relu", value(ARRAY)))] == [None] * 3
    assert constant(viewed("Transpose", x)) is None


def test_views_of_an_initialiser_are() -> None:
    w, shape = value(ARRAY), value(np.array([3, -1]), "shape")
    assert np.array_equal(constant(viewed("Transpose", viewed("Identity", w))), ARRAY.T)
    stacked = value(ARRAY.reshape(1, 2, 3))
    turned = constant(viewed("Transpose", stacked, perm=[1, 2, 0]))
    assert np.array_equal(turned, ARRAY[:, :, None])
    assert np.array_equal(constant(viewed("Reshape", w, shape)), ARRAY.reshape(3, 2))
    flat = viewed("Flatten", w, shape=(1, 6), axis=0)
    assert np.array_equal(constant(flat), ARRAY.reshape(1, 6))


def test_views_of_unknown_shape_are_not() -> None:
    w, copied = value(ARRAY), value(np.array([0, 3]), "shape")
    assert constant(viewed("Reshape", w, copied)) is None
    assert constant(viewed("Squeeze", w)) is None
    assert constant(viewed("Squeeze", w, shape=(2, "n"))) is None
    other = ir.node("Transpose", [w], domain="local").outputs[0]
    assert constant(other) is None


def test_which_types_are_floating_point() -> None:
    kinds = ("FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE", "INT64", "FLOAT8E4M3FN", "COMPLEX64")
    floats = [k for k in kinds if is_float(ir.val("x", ir.DataType[k], (1,)))]
    assert floats == ["FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE"]
    assert not is_float(None)


@pytest.mark.parametrize(
    ("shape", "axis", "found"),
    [
        ((3, 1, 1), 1, [0, 1, 2]),
        ((1, 3, 1, 1), 1, [0, 1, 2]),
        ((3,), 3, [0, 1, 2]),
        ((), 1, [0, 0, 0]),
        ((1, 1), 1, [0, 0, 0]),
        ((3,), 1, None),  # along the last axis
        ((3, 2, 1), 1, None),  # varies with the position too
        ((2, 1, 1), 1, None),  # other channels
        ((1, 3, 1, 1, 1), 1, None),  # of higher rank: would widen what it meets
    ],
)
def test_vectors_along_the_channels(
    shape: tuple[int, ...], axis: int, found: list[int] | None
) -> None:
    array = np.arange(int(np.prod(shape))).reshape(shape)
    vector = per_channel(array, 4, axis, 3)
    assert (None if vector is None else vector.tolist()) == found
