"""The checker finds what onnx.checker lets pass."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from .text import model
from .valid import faults, refusal, refused


def test_a_valid_model_has_no_faults() -> None:
    proto = model("y = Slice(x, s, e, s)", "float[2,3] x",
                  constants={"s": np.array([1]), "e": np.array([3])})  # fmt: skip
    assert faults(proto) == []
    assert refusal(proto) == refusal(proto, optimised=True) == ""


def test_bounds_of_two_integer_types() -> None:
    proto = model("y = Slice(x, s, e, a)", "float[2,3] x",
                  constants={"s": np.array([1]), "e": np.array([3]),
                             "a": np.array([1], np.int32)})  # fmt: skip
    assert "axes has inconsistent type" in faults(proto)[0]
    assert "bound to different types" in refusal(proto)


def test_a_type_that_the_opset_does_not_allow() -> None:
    body = "y = Relu(x)"
    proto = model(body, "bfloat16[2,3] x", "bfloat16[2,3] y", opset=13)
    assert faults(proto) == []
    proto.opset_import[0].version = 12
    assert len(faults(proto)) == 1


@pytest.mark.parametrize("name", ["alpha", "axis"])
def test_an_attribute_of_another_opset(name: str) -> None:
    proto = model("y = Relu(x)", "float[2,3] x")
    proto.graph.node[0].attribute.append(helper.make_attribute(name, 1))
    assert len(faults(proto)) == 1


def test_a_declared_type_that_is_not_so() -> None:
    proto = model("t = Shape(x) y = Cast<to = 1>(t)", "float[2,3] x")
    proto.graph.value_info.append(helper.make_tensor_value_info("t", TensorProto.FLOAT, [2]))
    assert faults(proto)
    assert refusal(proto)
    valid = model("t = Shape(x) y = Cast<to = 1>(t)", "float[2,3] x")
    assert len(refused(valid, proto)) == 3
    assert refused(proto, proto) == refused(proto, valid) == []
