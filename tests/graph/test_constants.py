"""Values known before the model runs."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest

from onebyone.graph.constants import constant, is_float, per_channel, set_aside

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


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf, 2.0**63, -(2.0**63)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, ml_dtypes.bfloat16])
def test_numbers_that_overflow_are_set_aside(odd: float, dtype: type) -> None:
    bad, good = value(np.array([1, odd], dtype), "bad"), value(np.array([1, 2.0**62], dtype), "w")
    ir.Graph([], [], nodes=[], initializers=[bad, good])
    assert constant(bad) is not None
    set_aside(bad.graph)
    assert constant(bad) is None
    assert constant(viewed("Transpose", bad)) is None
    assert constant(good) is not None


def test_what_is_no_float_or_is_empty_is_not_set_aside() -> None:
    held = [value(np.array([2**62, -(2**63)]), "n"), value(np.zeros((0, 3), np.float32), "none")]
    graph = ir.Graph([], [], nodes=[], initializers=held)
    set_aside(graph)
    assert all(constant(v) is not None for v in held)


@pytest.mark.parametrize(("variance", "stays"), [(0.0, True), (-1e-6, True), (-1.0, False)])
def test_a_variance_without_a_root_is_set_aside(variance: float, stays: bool) -> None:
    x = ir.val("x", ir.DataType.FLOAT, (1, 2, 3))
    parts = [value(np.float32([1, variance if k == 3 else 1]), f"p{k}") for k in range(4)]
    node = ir.node("BatchNormalization", [x, *parts])
    ir.Graph([x], node.outputs, nodes=[node], initializers=parts)
    set_aside(node.graph)
    assert [constant(part) is not None for part in parts] == [True, True, True, stays]
