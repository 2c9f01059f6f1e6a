"""An operator that gives back its operand goes; its neighbour, which does not, stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ...graphs.text import model
from .simple import operators, simplified

X = "float[2,1,4,n] x"


def _i(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def _f(*numbers: float) -> np.ndarray:
    return np.array(numbers, np.float32)


INF = 2**63 - 1
NOTHING: dict[str, tuple[str, dict[str, Any]]] = {
    "Identity": ("b = Identity(a)", {}),
    "Cast": ("b = Cast<to = 1>(a)", {}),
    "CastLike": ("b = CastLike(a, k)", {"k": _f(1)}),
    "Dropout": ("b = Dropout(a)", {}),
    "Dropout not in training": ("b = Dropout(a, r, t)", {"r": np.array(0.5, np.float32),
                                                       "t": np.array(False)}),
    "Add 0": ("b = Add(a, k)", {"k": _f(0)}),
    "0 + x": ("b = Add(k, a)", {"k": _f(0)}),
    "Sub 0": ("b = Sub(a, k)", {"k": np.zeros((2, 1, 4, 1), np.float32)}),
    "Mul 1": ("b = Mul(k, a)", {"k": _f(1)}),
    "Div 1": ("b = Div(a, k)", {"k": _f(1)}),
    "Pow 1": ("b = Pow(a, k)", {"k": _f(1)}),
    "Reshape": ("b = Reshape(a, k)", {"k": _i(2, 1, 4, -1)}),
    "Reshape by zeros": ("b = Reshape(a, k)", {"k": _i(0, 0, 4, -1)}),
    "Transpose": ("b = Transpose<perm = [0, 1, 2, 3]>(a)", {}),
    "Slice": ("b = Slice(a, s, e, k)", {"s": _i(0), "e": _i(INF), "k": _i(3)}),
    "Pad": ("b = Pad(a, k)", {"k": _i(0, 0, 0, 0, 0, 0, 0, 0)}),
    "Expand": ("b = Expand(a, k)", {"k": _i(2, 1, 4, 1)}),
    "Tile": ("b = Tile(a, k)", {"k": _i(1, 1, 1, 1)}),
    "Gather": ("b = Gather<axis = 2>(a, k)", {"k": _i(0, 1, 2, 3)}),
    "Concat": ("b = Concat<axis = 1>(a)", {}),
    "Split": ("b = Split<axis = 2>(a)", {}),
    "Sum": ("b = Sum(a)", {}),
    "Max": ("b = Max(a)", {}),
    "Mean": ("b = Mean(a)", {}),
    "Clip": ("b = Clip(a)", {}),
    "ReduceMean": ("b = ReduceMean<axes = [1]>(a)", {}),
    "ReduceSum of no axes": ("b = ReduceSum<noop_with_empty_axes = 1>(a)", {}),
    "Resize": ("b = Resize(a, , k)", {"k": _f(1, 1, 1, 1)}),
    "AveragePool": ("b = AveragePool<kernel_shape = [1, 1]>(a)", {}),
    "MaxPool": ("b = MaxPool<kernel_shape = [1, 1], strides = [1, 1]>(a)", {}),
    "DepthToSpace": ("b = DepthToSpace<blocksize = 1>(a)", {}),
    "SpaceToDepth": ("b = SpaceToDepth<blocksize = 1>(a)", {}),
    "Where": ("b = Where(k, a, z)", {"k": np.array([True]), "z": _f(3)}),
    "Where not": ("b = Where(k, z, a)", {"k": np.array([False]), "z": _f(3)}),
    "Relu": ("b = Relu(a)", {}),
    "a Squeeze and its Unsqueeze": ("s = Squeeze(a, k) b = Unsqueeze(s, k)", {"k": _i(1)}),
    "two Transposes": ("t = Transpose<perm = [2, 0, 1, 3]>(a) "
                       "b = Transpose<perm = [1, 2, 0, 3]>(t)", {}),
    "a Cast and its Cast": ("t = Cast<to = 11>(a) b = Cast<to = 1>(t)", {}),
    "Neg": ("t = Neg(a) b = Neg(t)", {}),
}  # fmt: skip

SOMETHING: dict[str, tuple[str, dict[str, Any]]] = {
    "Cast": ("h = Cast<to = 10>(a) b = Cast<to = 1>(h)", {}),
    "Add": ("b = Add(a, k)", {"k": np.zeros((1, 5, 1, 1), np.float32)}),
    "Mul": ("b = Mul(a, k)", {"k": _f(1, 1, 1).reshape(3, 1, 1, 1, 1)}),
    "1 - x": ("b = Sub(k, a)", {"k": _f(0)}),
    "1 / x": ("b = Div(k, a)", {"k": _f(1)}),
    "1 to the x": ("b = Pow(k, a)", {"k": _f(1)}),
    "Transpose": ("b = Transpose<perm = [0, 2, 1, 3]>(a)", {}),
    "Slice": ("b = Slice(a, s, e, k, m)", {"s": _i(-1), "e": _i(-INF), "k": _i(2), "m": _i(-1)}),
    "Pad": ("b = Pad(a, k)", {"k": _i(0, 0, 1, 0, 0, 0, -1, 0)}),
    "Expand": ("b = Expand(a, k)", {"k": _i(2, 3, 4, 1)}),
    "Gather": ("b = Gather<axis = 2>(a, k)", {"k": _i(0, 2, 1, 3)}),
    "Resize": ('b = Resize<coordinate_transformation_mode = "asymmetric">(a, , k)',
               {"k": _f(1, 1, 1.2, 1)}),
    "a Resize that takes the next": (
        'b = Resize<coordinate_transformation_mode = "tf_half_pixel_for_nn", '
        'nearest_mode = "ceil">(a, , k)', {"k": _f(1, 1, 1, 1)}),
    "MaxPool": ("b = MaxPool<kernel_shape = [1, 1], strides = [2, 1]>(a)", {}),
    "ReduceSum": ("b = ReduceSum(a)", {}),
    "ReduceL1": ("b = ReduceL1<axes = [1]>(a)", {}),
    "Clip": ("b = Clip(a, k)", {"k": np.array(1, np.float32)}),
    "Where": ("b = Where(k, a, z)", {"k": np.array([True, False, True, True]).reshape(4, 1),
                                    "z": _f(3)}),
}  # fmt: skip


def _models(body: str, constants: dict[str, Any]) -> Any:
    start = "a = Relu(x)" if "Relu" in body else "a = Selu(x)"
    return model(f"{start} {body} y = Softplus(b)", X, "y", constants, opset=17)


@pytest.mark.parametrize("name", NOTHING)
def test_what_does_nothing_goes(name: str) -> None:
    proto = _models(*NOTHING[name])
    first = operators(proto)[0]
    assert operators(simplified(proto, {"n": 3}, {"n": 1})) == [first, "Softplus"]


@pytest.mark.parametrize("name", SOMETHING)
def test_what_does_something_stays(name: str) -> None:
    proto = _models(*SOMETHING[name])
    assert operators(simplified(proto, {"n": 3})) == operators(proto)


def test_results_of_the_graph_keep_their_names_and_inputs_stay_inputs() -> None:
    proto = model("a = Relu(x) y = Identity(a) z = Identity(x) w = Identity(a)",
                  "float[2] x", "y, z, w")  # fmt: skip
    assert sorted(operators(simplified(proto))) == ["Identity", "Identity", "Relu"]


@pytest.mark.parametrize("op", ["Reshape", "Expand", "Tile"])
def test_what_the_callers_numbers_make_is_not_taken_for_its_operand(op: str) -> None:
    """That the result has the operand's shape is only declared."""
    proto = model(f"a = Relu(x) y = {op}(a, s)", "float[1,3] x, int64[2] s", "float[1,3] y")
    assert operators(simplified(proto, exact=False)) == ["Relu", op]


def test_a_mask_that_is_read_keeps_its_dropout() -> None:
    proto = model("a, m = Dropout(x) y = Cast<to = 1>(m) z = Relu(a)", "float[2] x", "y, z")
    assert "Dropout" in operators(simplified(proto))


def test_integers_too() -> None:
    body = "a = Abs(x) b = Mul(a, o) c = Add(b, z) y = Neg(c)"
    proto = model(body, "int64[2] x", "int64[2] y", {"o": _i(1), "z": _i(0)})
    assert operators(simplified(proto)) == ["Abs", "Neg"]
