"""demand: what repeats positions waits for all that is done position by position, by `==`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from onebyone.cost.profile import Profile
from onebyone.graph.write import to_proto
from onebyone.optimize import optimize

from ...graphs.run import differences, run
from ...graphs.text import feed, model
from ..exact import ANY_WIDTH, Outcome, optimized, rewritten

ROWS = "f = Gather<axis = 1>(x, i)"
# 41 picks of 7 rows of 3 channels.
INPUTS = "float[2,7,3] x, int64[41] i"
MLP: Mapping[str, Any] = {"w": (3, 11), "b": (11,), "v": (11, 5), "c": (5,)}


def delayed(
    body: str, constants: Mapping[str, Any], inputs: str = INPUTS, *sizes: dict[str, int],
    outputs: str = "y", **options: Any,
) -> Outcome:  # fmt: skip
    proto = model(body, inputs, outputs, constants)
    after = optimized(proto, "demand", *sizes, **options)
    if not sizes:
        assert optimize(proto, only=["demand"]).report.certificate.passed
    return after


def test_a_whole_mlp_moves_before_a_gather() -> None:
    body = f"{ROWS} p = MatMul(f, w) q = Add(p, b) r = Relu(q) s = MatMul(r, v) y = Add(c, s)"
    after = delayed(body, MLP)
    assert after.ops == ["MatMul", "Add", "Relu", "MatMul", "Add", "Gather"]
    assert after.laws == {"demand"}
    assert after.told["after"]["macs"] == 14 * (33 + 55)
    assert after.saved == (82 - 14) * (33 + 55)


def test_with_a_free_number_of_rows() -> None:
    body = f"{ROWS} p = MatMul(f, w) r = Relu(p) y = MatMul(r, v)"
    known = {"w": MLP["w"], "v": MLP["v"]}
    sizes: tuple[dict[str, int], ...] = ({"N": 2, "M": 9}, {"N": 1, "M": 30})
    shapes = {"x": (2, 7, 3), "i": (41,)}
    after = delayed(body, known, "float[N,7,3] x, int64[M] i", *sizes, shapes=shapes)
    assert after.ops[-1] == "Gather"


# What is done to 41 rows of which 7 are different, and the constants of it.
BEHIND: dict[str, tuple[str, Mapping[str, Any]]] = {
    "an activation": ("y = Relu(f)", {}),
    "what is read twice": ("a = Relu(f) b = Add(f, a) y = Mul(b, a)", {}),
    "what is done before it is known": ("a = Relu(f) n = Neg(a) y = Mul(f, n)", {}),
    "a factor of each channel": ("y = Mul(f, g)", {"g": (3,)}),
    "a factor of each sample": ("y = Mul(g, f)", {"g": (2, 1, 3)}),
    "an argmax over channels": ("y = Hardmax<axis = -1>(f)", {}),
    "a maximum over channels": ("m = ReduceMax<axes = [-1]>(f) y = Sub(f, m)", {}),
    "a concat of channels": ("a = Relu(f) y = Concat<axis = 2>(f, a, f)", {}),
    "an order of other axes": ("t = Transpose<perm = [2,1,0]>(f) y = Relu(t)", {}),
}


@pytest.mark.parametrize("case", BEHIND.values(), ids=BEHIND)
def test_what_is_done_row_by_row(case: tuple[str, Mapping[str, Any]]) -> None:
    body, constants = case
    after = delayed(f"{ROWS} {body}", constants)
    assert after.ops.count("Gather") == 1
    assert after.ops[-1] == "Gather"


SELECTIONS: dict[str, tuple[str, str, Mapping[str, Any]]] = {
    "a nearest resize": (
        'f = Resize<mode = "nearest", coordinate_transformation_mode = "asymmetric",'
        ' nearest_mode = "floor">(x, , s) y = Relu(f)', "float[2,3,4,5] x",
        {"s": np.array([1, 1, 2, 3], np.float32)}),
    "an expansion": ("f = Expand(x, s) y = Relu(f)", "float[2,1,5] x", {"s": np.array([2, 7, 5])}),
    "a tiling": ("f = Tile(x, s) y = Relu(f)", "float[2,3,5] x", {"s": np.array([1, 4, 1])}),
    "names of rows": ("f = GatherND(x, i) y = Relu(f)", "float[7,3] x, int64[41,1] i", {}),
    "names in a batch": (
        "f = GatherND<batch_dims = 1>(x, i) y = Relu(f)", "float[2,7,3] x, int64[2,41,1] i", {}),
    "channels that are repeated": (
        "f = Gather<axis = 2>(x, i) y = Relu(f)", "float[2,7,5] x, int64[41] i", {}),
}  # fmt: skip


@pytest.mark.parametrize("case", SELECTIONS.values(), ids=SELECTIONS)
def test_what_repeats(case: tuple[str, str, Mapping[str, Any]]) -> None:
    body, inputs, constants = case
    first = body.split(" = ")[1].split("(")[0].split("<")[0]
    after = delayed(body, constants, inputs)
    assert after.ops == ["Relu", first]


# Nothing moves: what is read elsewhere, what differs from row to row, what mixes rows.
STAYS: dict[str, tuple[str, str, Mapping[str, Any], str]] = {
    "the rows are read": (f"{ROWS} y = Relu(f) z = Neg(f)", INPUTS, {}, "y, z"),
    "the rows are a result": (f"{ROWS} y = Relu(f)", INPUTS, {}, "y, f"),
    "a factor of each row": (f"{ROWS} y = Mul(f, g)", INPUTS, {"g": (41, 1)}, "y"),
    "a factor of each row, of as many axes": (
        f"{ROWS} y = Mul(f, g)", INPUTS, {"g": (1, 41, 1)}, "y"),
    "another operand": (f"{ROWS} y = Add(f, z)", f"{INPUTS}, float[2,41,3] z", {}, "y"),
    "a maximum over rows": (f"{ROWS} y = ReduceMax<axes = [1]>(f)", INPUTS, {}, "y"),
    "a softmax over rows": (f"{ROWS} y = Hardmax<axis = 1>(f)", INPUTS, {}, "y"),
    "fewer rows": (
        "f = Gather<axis = 1>(x, i) y = Relu(f)", "float[2,7,3] x, int64[4] i", {}, "y"),
    "as many rows": (
        "f = Gather<axis = 1>(x, i) y = Relu(f)", "float[2,7,3] x, int64[7] i", {}, "y"),
    "channels that meet a matrix": (
        "f = Gather<axis = 2>(x, i) y = MatMul(f, g)", "float[2,7,5] x, int64[41] i",
        {"g": (41, 5)}, "y"),
    "axes that are added": (
        "f = Gather<axis = 1>(x, i) y = Relu(f)", "float[2,7,3] x, int64[9,5] i", {}, "y"),
    "an axis that goes elsewhere": (
        f"{ROWS} t = Transpose<perm = [1, 0, 2]>(f) y = Relu(t)", INPUTS, {}, "y"),
    "rows in reverse": (
        f"{ROWS} t = Slice(f, p, q, a, p) y = Relu(t)", INPUTS,
        {"p": np.array([-1]), "q": np.array([-99]), "a": np.array([1])}, "y"),
    "one of several pieces": (
        f"{ROWS} y, z = Split<axis = 2>(f, p)", INPUTS, {"p": np.array([1, 2])}, "y"),
    "a sum that leaves no rows": (
        f"{ROWS} y = ReduceSum<keepdims = 0>(f, a)", INPUTS, {"a": np.array([1, 2])}, "y"),
    "a sum that leaves an axis out": (
        f"{ROWS} y = ReduceSum<keepdims = 0>(f, a)", INPUTS, {"a": np.array([2])}, "y"),
    "what is made of nothing": (
        f"{ROWS} r = RandomUniform<shape = [2, 41, 3]>() y = Add(f, r)", INPUTS, {}, "y"),
    "zeros at the border": (
        "f = Pad(x, p) y = Exp(f)", "float[2,7,3] x", {"p": np.array([0, 5, 0, 0, 5, 0])}, "y"),
}  # fmt: skip


@pytest.mark.parametrize("case", STAYS.values(), ids=STAYS)
def test_where_nothing_moves(case: tuple[str, str, Mapping[str, Any], str]) -> None:
    body, inputs, constants, outputs = case
    proto = model(body, inputs, outputs, constants)
    before = [node.op_type for node in proto.graph.node]
    after, told = rewritten(proto, only=["demand"], profile=ANY_WIDTH)
    assert told["laws"] == []
    assert [node.op_type for node in after.graph.node] == before


def test_where_an_axis_goes_behind_it() -> None:
    """The last axis has another number then: nothing is asked of an axis that is not there."""
    body = (
        "r = Reshape(x, h) q = Gather<axis = 2>(r, i) t = Gather<axis = 0>(q, l) u = Relu(t)"
        " y = Neg(u)"
    )
    known = {"h": np.array([0, 3, 2]), "i": np.array([0, 1, 0]), "l": np.array(-1)}
    proto = model(body, "float[T,6] x", "y", known)
    after = optimize(proto, only=["demand"], profile=Profile(overhead=1e-9))
    assert after.report.certificate is not None
    assert after.report.certificate.passed
    for rows in (1, 4):
        feeds = feed(proto, T=rows)
        assert differences(run(proto, feeds)[0], run(to_proto(after.model), feeds)[0]) == []


def test_a_kernel_behind_an_activation_falls_into_phases() -> None:
    """U f K: the activation goes to the small map, and the K×K sees the upsampling."""
    resize = SELECTIONS["a nearest resize"][0].split(" y = ")[0]
    body = f"{resize} r = Relu(f) y = Conv<pads = [1, 1, 1, 1]>(r, k)"
    constants = {"s": np.array([1, 1, 2, 2], np.float32), "k": (64, 48, 3, 3)}
    proto = model(body, "float[2,48,4,5] x", constants=constants)
    _, told = rewritten(proto, profile=Profile(overhead=1e-9))
    assert {row["law"] for row in told["laws"]} >= {"phases", "demand"}
    assert told["after"]["macs"] * 9 == told["before"]["macs"] * 4
