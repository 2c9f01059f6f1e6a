"""Weights that stay in float64 beside what is stored of them."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onebyone.graph.exact import Exact, Unrepresentable, numbers, rounded, settle, tensor_of


def test_weights_are_rounded_once_to_the_type_of_the_graph() -> None:
    # Between two float16 numbers: 1 + 2^-11 + 2^-30 rounds up, 1 + 2^-11 to even, down.
    array = np.array([1 + 2.0**-11 + 2.0**-30, 1 + 2.0**-11, np.inf])
    assert rounded(array, ir.DataType.FLOAT16).tolist() == [1 + 2.0**-10, 1.0, np.inf]
    assert rounded(array[:1], ir.DataType.BFLOAT16).astype(float) == 1
    with pytest.raises(Unrepresentable, match="float16"):
        rounded(np.array([65520.0]), ir.DataType.FLOAT16)


@pytest.mark.parametrize("kind", [ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16])
def test_numbers_of_the_type_are_stored_as_they_are(kind: ir.DataType) -> None:
    array = np.array([[0.1, -0.0], [3.0, 1e-5]]).astype(kind.numpy())
    for given in (array, array.astype(np.float64)):
        tensor = tensor_of(given, kind, "w")
        assert not isinstance(tensor, Exact)
        assert tensor.tobytes() == array.tobytes()


def test_all_others_are_remembered_until_the_graph_is_settled() -> None:
    third = np.array([1 / 3, 1.0])
    value = ir.val("w", const_value=tensor_of(third, ir.DataType.FLOAT16, "w"))
    assert isinstance(value.const_value, Exact)
    assert (value.dtype, value.const_value.nbytes) == (ir.DataType.FLOAT16, 4)
    assert numbers(value.const_value).tolist() == third.tolist()
    stored = value.const_value.numpy()
    settle(ir.Graph([], [], nodes=[], initializers=[value]))
    assert not isinstance(value.const_value, Exact)
    assert numbers(value.const_value).tolist() == stored.tolist()


def test_integers_are_int64() -> None:
    tensor = tensor_of(np.array([2, 3], np.int32), ir.DataType.INT64, "n")
    assert (tensor.dtype, tensor.numpy().dtype) == (ir.DataType.INT64, np.int64)
