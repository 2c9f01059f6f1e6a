"""What a node gives for known operands, and when that is not for us to say."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest

from onebyone.algebra.weights import Array
from onebyone.graph.simplify.known import Known, computed, stored


def _run(op: str, *operands: Array | Known, **attributes: int | str) -> Known | None:
    known = [x if isinstance(x, Known) else Known(np.asarray(x)) for x in operands]
    node = ir.node(op, [ir.val(f"x{k}") for k in range(len(known))], attributes)
    found = computed(node, known, 17)
    return None if found is None else found[0]


def _f(*numbers: float) -> Array:
    return np.array(numbers, np.float32)


def test_float64_is_kept_and_rounded_once() -> None:
    third = _run("Div", _f(1), _f(3))
    assert third is not None
    assert third.wide.item() == 1 / 3
    nine = _run("Mul", third, _f(3))
    assert nine is not None
    assert (nine.wide.item(), stored(nine).dtype) == (1, np.float32)


def test_a_step_behind_what_every_engine_gives_is_taken_as_the_engine_takes_it() -> None:
    # 0.7 is less than 0.7 in float32; ten times that is 7 there, and less in float64.
    seven = _run("Mul", _f(0.7), _f(10))
    assert seven is not None
    floor = _run("Floor", seven)
    assert floor is not None
    assert floor.array.item() == 7
    whole = _run("Cast", seven, to=ir.DataType.INT64)
    assert whole is not None
    assert whole.array.item() == 7


def test_a_step_that_hangs_on_the_last_bit_is_left_to_the_engine() -> None:
    unsure = Known(_f(7), np.array([7 - 1e-9]), determined=False)
    assert _run("Floor", unsure) is None
    assert _run("Less", unsure, _f(7)) is None
    assert _run("Cast", unsure, to=ir.DataType.INT32) is None
    sure = Known(_f(7.5), np.array([7.5 - 1e-9]), determined=False)
    assert _run("Floor", sure) is not None


def test_integers_are_the_engines() -> None:
    minus = _run("Div", np.array([-7]), np.array([2]))
    assert minus is not None
    assert minus.array.item() == -3
    assert _run("Div", np.array([1]), np.array([0])) is None
    assert _run("Div", np.array([-(2**63)]), np.array([-1])) is None
    assert _run("Pow", np.array([2]), np.array([-1])) is None
    assert _run("ReduceMean", np.array([1, 2])) is None


@pytest.mark.parametrize("number", [np.nan, np.inf, 2.0**63, -(2.0**64)])
def test_what_no_integer_holds_is_left_to_the_engine(number: float) -> None:
    assert _run("Cast", np.array([number]), to=ir.DataType.INT64) is None


def test_infinity_where_float64_has_none_is_left_to_the_engine() -> None:
    assert _run("Mul", _f(1e30), _f(1e30)) is None
    assert _run("Sub", _f(np.inf), _f(np.inf)) is None
    assert _run("Add", _f(-np.inf), _f(1)) is not None
    assert _run("Cast", _f(1e6), to=ir.DataType.FLOAT16) is None


@pytest.mark.parametrize("kind", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
def test_every_floating_type(kind: type) -> None:
    x = np.array([1, 2, 4], kind)
    for op in ("Exp", "Sqrt", "Softmax", "ReduceSum", "Neg"):
        found = _run(op, x)
        assert found is not None, op
        assert stored(found).dtype == kind
    filled = _run("ConstantOfShape", np.array([2]), value=ir.tensor(np.array([3], kind)))
    assert filled is not None
    assert (filled.array.dtype, filled.array.tolist()) == (kind, [3, 3])


@pytest.mark.parametrize("op", ["RandomNormalLike", "Bernoulli", "DequantizeLinear", "Unknown"])
def test_what_is_never_computed(op: str) -> None:
    assert _run(op, _f(1), _f(1)) is None


def test_a_scatter_that_adds_is_left_alone() -> None:
    at, put = np.array([[0]]), _f(1)
    assert _run("ScatterND", _f(1, 2), at, put) is not None
    assert _run("ScatterND", _f(1, 2), at, put, reduction="add") is None
