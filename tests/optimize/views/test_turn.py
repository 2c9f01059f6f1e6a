"""layout: what stands between transposes is computed in the order of axes of its neighbours."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest
from onnx import ModelProto

from onebyone.cost.profile import DEFAULT, Profile
from onebyone.optimize import optimize

from ...graphs.laws.case import batch_norm, norm
from ...graphs.text import model
from ..exact import Outcome, optimized

X = "float[2,5,7,3] x"
TO_FIRST, TO_LAST = "Transpose<perm = [0, 3, 1, 2]>", "Transpose<perm = [0, 2, 3, 1]>"
WEIGHTS = {"u": (4, 3, 1, 1), "k": (4, 4, 3, 3), "v": (3, 4, 1, 1), "m": (4, 4)}
VECTORS = {
    "b": (4,),
    "c": (1, 1, 1, 4),
    "p": (5, 1, 4),
    "z": np.float32([2]),
    "rows": np.array([1, 2]),
    "from": np.array([1]),
    "to": np.array([4]),
    "at": np.array([-2]),
    "ends": np.array([0, 1, 0, 0, 0, 2, 3, 0]),
}


def layer(x: str, y: str, weight: str, options: str = "") -> str:
    """A convolution between two transposes, as Keras exports it."""
    return f"{y}_f = {TO_FIRST}({x}) {y}_c = Conv{options}({y}_f, {weight}) {y} = {TO_LAST}({y}_c) "


def built(body: str, outputs: str = "y", inputs: str = X, opset: int = 17) -> ModelProto:
    known = {**WEIGHTS, **VECTORS}
    used = {k: v for k, v in known.items() if f" {k})" in body or f" {k}," in body}
    return model(body, inputs, outputs, used, opset=opset)


def turned(body: str, outputs: str = "y", inputs: str = X, opset: int = 17) -> Outcome:
    return optimized(built(body, outputs, inputs, opset), "layout", profile=DEFAULT)


ONE, TWO = layer("x", "a", "u"), layer("r", "y", "v")
BETWEEN = {
    "an activation": "r = Relu(a) ",
    "arithmetic of two values": "s = Sigmoid(a) r = Mul(a, s) ",
    "a constant of every rank": "s = Add(a, b) t = Mul(s, c) q = Sub(t, p) r = Mul(q, z) ",
    "a sum of three": "s = Relu(a) t = Neg(a) r = Sum(a, s, t) ",
    "a softmax": "r = Softmax(a) ",
    "a softmax of rows": "r = Softmax<axis = 1>(a) ",
    "a pad": "r = Pad(a, ends) ",
    "a cut": "r = Slice(a, from, to, at) ",
    "a gate": "s = ReduceMean<axes = [1, 2]>(a) t = HardSigmoid(s) r = Mul(a, t) ",
    "a reduction of channels": "s = ReduceMax<axes = [-1]>(a) r = Sub(a, s) ",
    "a concat": "s = Neg(a) t = Concat<axis = -2>(a, s) r = Relu(t) ",
    "one number": "s = ReduceMax(a) r = Mul(a, s) ",
}


@pytest.mark.parametrize("between", BETWEEN)
def test_the_transposes_around_it_cancel(between: str) -> None:
    after = turned(ONE + BETWEEN[between] + TWO)
    assert after.laws == {"layout"}
    assert after.ops.count("Transpose") == 2
    assert after.ops[0] == after.ops[-1] == "Transpose"


def test_what_is_cast_keeps_its_type() -> None:
    after = turned(ONE + "h = Cast<to = 10>(a) g = Neg(h) r = Cast<to = 1>(g) " + TWO)
    assert after.ops == ["Transpose", "Conv", "Cast", "Neg", "Cast", "Conv", "Transpose"]


STAYS = {
    "a MatMul": "r = MatMul(a, m) ",
    "a LayerNormalization": "r = LayerNormalization(a, b) ",
    "two reshapes": "f = Flatten(a) s = Shape(a) r = Reshape(f, s) ",
    "fewer axes": "s = ReduceMax<axes = [0, 1], keepdims = 0>(a) r = Add(a, s) ",
    "pieces": "s, t = Split<axis = 3, num_outputs = 2>(a) r = Concat<axis = 3>(t, s) ",
}


@pytest.mark.parametrize("between", STAYS)
def test_what_hangs_on_the_order_of_its_axes_stays(between: str) -> None:
    after = turned(ONE + STAYS[between] + TWO, opset=18 if "num_outputs" in STAYS[between] else 17)
    assert after.laws == set()


def test_a_softmax_over_all_axes_behind_stays() -> None:
    """Before opset 13 everything from its axis on is one vector."""
    body = ONE + "r = Softmax<axis = 2>(a) " + TWO
    assert turned(body, opset=11).laws == set()
    assert turned(body, opset=13).laws == {"layout"}


def test_residual_blocks_are_turned_together() -> None:
    second = layer("r", "d", "k", "<pads = [1, 1, 1, 1]>") + "e = Add(d, r) q = Relu(e) "
    after = turned(ONE + "r = Relu(a) " + second + layer("q", "y", "v"))
    assert sorted(after.ops) == ["Add", "Conv", "Conv", "Conv", "Relu", "Relu", *["Transpose"] * 2]


def test_others_who_read_it_get_one_transpose() -> None:
    body = ONE + "r = Relu(a) " + TWO + layer("r", "z", "v")
    assert turned(body, "y, z").ops.count("Transpose") == 3
    # Two go and one comes; one goes and one comes.
    assert turned(ONE + "r = Relu(a) w = MatMul(r, m) " + TWO, "y, w").laws == {"layout"}
    assert (
        turned(f"r = Relu(x) w = Neg(r) y = {TO_FIRST}(r) z = Softmax(r)", "y, w, z").laws == set()
    )


def test_what_is_added_to_its_own_transpose_is_not_turned_for_ever() -> None:
    body = "r = Relu(x) q = Concat<axis = 3>(r, r) a = Add(q, q) n = Neg(q) "
    body += "t = Transpose<perm = [0, 3, 2, 1]>(a) y = Add(n, t)"
    after = turned(body, inputs="float[1,2,2,1] x")
    assert after.laws == set()


def test_what_has_axes_that_nobody_knows_stays() -> None:
    axes = "d = Sub(x, x) e = ReduceMax<keepdims = 0>(d) i = Cast<to = 7>(e) a = Add(i, from) "
    body = f"{axes} o = Unsqueeze(x, a) s = ReduceMax<axes = [-1]>(o) "
    body += "y = Transpose<perm = [2, 1, 0]>(s)"
    after = turned(body, "float[2,1,1] s, float[1,1,2] y", "float[2,5] x")
    assert "Transpose" in after.ops


def test_a_transpose_that_others_read_stays_and_is_paid_once() -> None:
    """To be rid of one that is small, as large a one would come beside the one that stays."""
    after = turned(f"a = {TO_LAST}(x) p = Slice(a, from, to, at) y = Neg(p)", "a, y")
    assert after.laws == set()
    assert after.ops == ["Transpose", "Slice", "Neg"]


def test_what_is_a_result_keeps_its_name_and_order() -> None:
    after = turned(ONE + "r = Relu(a) " + TWO, "r, y")
    assert [output.name for output in after.proto.graph.output] == ["r", "y"]


def test_orders_that_are_no_inverses_become_one() -> None:
    body = "a = Transpose<perm = [1, 3, 0, 2]>(x) r = Exp(a) y = Transpose<perm = [3, 1, 0, 2]>(r)"
    after = turned(body)
    assert after.ops == ["Transpose", "Exp"] or after.ops == ["Exp", "Transpose"]


def test_of_any_rank() -> None:
    for shape, there, back in (
        ("3,5", [1, 0], [1, 0]),
        ("2,3,5", [2, 0, 1], [1, 2, 0]),
        ("2,1,3,4,5", [0, 4, 1, 2, 3], [0, 2, 3, 4, 1]),
    ):
        body = f"a = Transpose<perm = {there}>(x) r = Abs(a) y = Transpose<perm = {back}>(r)"
        assert turned(body, inputs=f"float[{shape}] x").ops == ["Abs"]


def test_sizes_that_are_free() -> None:
    proto = built(ONE + "s = Add(a, c) r = Relu(s) " + TWO, inputs="float[n,h,w,3] x")
    after = optimized(proto, "layout", {"n": 1, "h": 5, "w": 7}, {"n": 3, "h": 1, "w": 2})
    assert after.ops.count("Transpose") == 2


def test_a_softmax_along_a_distant_axis_is_turned_for_itself() -> None:
    """The head of a detector: as many transposes are left, and none of them is large."""
    body = (
        "p = Reshape(x, parts) t = Transpose<perm = [0, 2, 1, 3]>(p) s = Softmax<axis = 1>(t) "
        "d = Conv(s, w) y = Reshape(d, whole)"
    )
    constants = {
        "parts": np.array([2, 4, 16, 90]),
        "whole": np.array([2, 4, 90]),
        "w": np.arange(16, dtype=np.float32).reshape(1, 16, 1, 1),
    }
    proto = model(body, "float[2,64,90] x", constants=constants)
    result = optimize(proto)
    assert result.report.certificate is not None
    assert result.report.certificate.passed
    assert [n.op_type for n in result.model.graph] == ["Reshape", "Softmax", "MatMul", "Reshape"]
    # Where no axis is distant, nothing is gained.
    assert not optimize(proto, only=["layout"], profile=Profile(softmax=1.0)).report.laws


AFFINE = "s = Mul(a, c) t = Add(s, b) r = Relu(t) "


def test_all_laws_work_there_as_they_do_between_channels_first() -> None:
    middle = layer("r", "d", "k", "<pads = [1, 1, 1, 1]>") + "e = Mul(d, c) q = Relu(e) "
    proto = built(ONE + AFFINE + middle + layer("q", "y", "v", "<strides = [2, 2]>"))
    result = optimize(proto, lost_bits=inf)
    assert {law.law for law in result.report.laws} == {"layout", "affine", "demand"}
    assert result.report.certificate is not None
    assert result.report.certificate.passed
    kinds = sorted(n.op_type for n in result.model.graph)
    assert kinds == ["Conv"] * 3 + ["Relu"] * 2 + ["Transpose"] * 2


def test_a_fused_normalisation_keeps_its_form() -> None:
    """Engines know a layer normalisation along the last axis."""
    body = (
        "a = Transpose<perm = [0, 2, 3, 1]>(x) m = ReduceMean<axes = [-1]>(a) d = Sub(a, m) "
        "q = Pow(d, two) v = ReduceMean<axes = [-1]>(q) e = Add(v, eps) s = Sqrt(e) n = Div(d, s) "
        "g = Mul(n, gain) h = Add(g, more) y = Transpose<perm = [0, 3, 1, 2]>(h)"
    )
    two, eps = np.float32(2), np.float32(1e-5)
    constants = {"two": np.full((), two), "eps": np.full((), eps), "gain": (8,), "more": (8,)}
    proto = model(body, "float[2,8,5,7] x", constants=constants)
    assert not optimize(proto, only=["layout"]).report.laws


def test_a_batch_normalisation_is_no_part_of_it() -> None:
    """Its channels stand on axis 1 for good."""
    body = ONE + f"r = {batch_norm('a', 'g')} " + TWO
    proto = model(body, X, constants={**{k: WEIGHTS[k] for k in "uv"}, **norm("g", 5)})
    assert optimized(proto, "layout", profile=DEFAULT).laws == set()


def test_a_transpose_in_a_branch_stays() -> None:
    """It reads what the graph computes, and is none of its nodes: no other takes its place."""
    branch = f"o = {TO_FIRST}(r)"
    body = (
        f"{ONE} r = Sum(a, a) y_f = {TO_FIRST}(r) y = Conv(y_f, v) "
        "s = ReduceMax<keepdims = 0>(y) f = Greater(s, z) "
        "q = If(f) <then_branch = t () => (float[2,4,5,7] o) { O }, "
        "else_branch = e () => (float[2,4,5,7] p) { P }>"
    )
    body = body.replace("O }", f"{branch} }}").replace("P }", f"{branch.replace('o =', 'p =')} }}")
    proto = model(body, X, "y, q", {**{k: WEIGHTS[k] for k in "uv"}, "z": np.array(2, np.float32)})
    once = optimized(proto, "layout", profile=DEFAULT)
    assert len(once.told["laws"]) <= 1
