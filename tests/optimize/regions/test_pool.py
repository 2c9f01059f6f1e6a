"""The law pool: an average pool behind a K×K is one larger kernel, where that costs less.

Weights are integers and windows hold a power of two, so that the answers are compared with `==`.
"""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from onnx import ModelProto

from onebyone.cost.profile import Profile
from onebyone.optimize import optimize

from ...graphs.laws.case import batch_norm, norm
from ...graphs.text import model
from ..exact import COUNTING, Outcome, optimized, rewritten

X = "float[3,6,13,9] x"
POOL = "AveragePool<kernel_shape = [2, 2], strides = [2, 2]>"
OUTSIDE = (
    "AveragePool averages over what is no output of the K×K: its windows leave the map, or may"
)


def _pooled(
    conv: str = "Conv(x, k, b)", pool: str = f"{POOL}(c)", x: str = X, **constants: object
) -> ModelProto:
    """A convolution, then an average pool."""
    given = {"k": (4, 6, 3, 3), "b": (4,)} | constants
    return model(f"c = {conv} y = {pool}", x, constants=given)


def _alone(proto: ModelProto, *sizes: dict[str, int]) -> Outcome:
    return optimized(proto, "pool", *sizes, profile=COUNTING)


@pytest.mark.parametrize(
    ("conv", "kernel", "pads"),
    [
        ("Conv(x, k, b)", [4, 4], [0, 0, 0, 0]),
        ("Conv<pads = [1, 1, 1, 1]>(x, k, b)", [4, 4], [1, 1, 1, 1]),
        ("Conv<pads = [2, 0, 1, 3]>(x, k)", [4, 4], [2, 0, 1, 3]),
        ('Conv<auto_pad = "SAME_UPPER">(x, k, b)', [4, 4], [1, 1, 1, 1]),
        ('Conv<auto_pad = "VALID">(x, k, b)', [4, 4], [0, 0, 0, 0]),
    ],
    ids=["plain", "padded", "unevenly", "same", "valid"],
)
def test_the_padding_of_the_convolution_does_no_harm(
    conv: str, kernel: list[int], pads: list[int]
) -> None:
    after = _alone(_pooled(conv))
    assert (after.ops, after.laws) == (["Conv"], {"pool"})
    assert after.attribute("Conv", "kernel_shape") == [kernel]
    assert after.attribute("Conv", "strides") == [[2, 2]]
    assert after.attribute("Conv", "pads") == [pads]
    assert after.saved > 0


@pytest.mark.parametrize(
    ("conv", "pool"),
    [
        ("Conv<strides = [2, 1]>(x, k, b)", f"{POOL}(c)"),
        ("Conv<dilations = [1, 2]>(x, k, b)", f"{POOL}(c)"),
        ("Conv(x, k, b)", "AveragePool<kernel_shape = [4, 1], strides = [4, 1]>(c)"),
        ("Conv(x, k, b)", "AveragePool<kernel_shape = [4, 2], strides = [3, 3]>(c)"),
        ("Conv(x, k, b)", "AveragePool<kernel_shape = [2, 2], strides = [4, 3]>(c)"),
    ],
    ids=["strided", "dilated", "one axis", "overlapping", "with gaps"],
)
def test_windows_of_any_size_and_stride(conv: str, pool: str) -> None:
    after = _alone(_pooled(conv, pool))
    assert (after.ops, after.laws) == (["Conv"], {"pool"})


@pytest.mark.parametrize("groups", [2, 6])
def test_groups_stay(groups: int) -> None:
    conv = f"Conv<group = {groups}, pads = [1, 1, 1, 1]>(x, k, b)"
    after = _alone(_pooled(conv, k=(12, 6 // groups, 3, 3), b=(12,)))
    assert after.weights() == [[12, 6 // groups, 4, 4]]


@pytest.mark.parametrize("axes", [1, 3])
def test_one_axis_and_three(axes: int) -> None:
    x = "float[2,6" + ",9" * axes + "] x"
    sizes = {"k": (4, 6, *(3,) * axes)}
    pool = f"AveragePool<kernel_shape = {[2] * axes}, strides = {[2] * axes}>(c)"
    after = _alone(_pooled(f"Conv<pads = {[1] * 2 * axes}>(x, k, b)", pool, x, **sizes))
    assert after.weights() == [[4, 6, *(4,) * axes]]


def test_a_free_batch_and_free_sizes_of_which_the_smallest_has_room() -> None:
    proto = _pooled("Conv<pads = [1, 1, 1, 1]>(x, k, b)", x="float[N,6,13,9] x")
    assert _alone(proto, {"N": 1}, {"N": 3}).ops == ["Conv"]
    proto = _pooled("Conv<pads = [2, 2, 1, 2]>(x, k, b)", x="float[N,6,H,W] x")
    assert _alone(proto, {"N": 1, "H": 1, "W": 1}, {"N": 3, "H": 7, "W": 12}).ops == ["Conv"]
    one = "AveragePool<kernel_shape = [1, 2], strides = [1, 2]>(c)"
    proto = _pooled("Conv<pads = [1, 1, 1, 1]>(x, k, b)", one, x="float[N,6,H,9] x")
    assert _alone(proto, {"N": 1, "H": 1}, {"N": 3, "H": 4}).ops == ["Conv"]


def test_a_free_size_that_is_a_multiple() -> None:
    """Twice anything has room for a window of two; 2h − 1 is no multiple, and one where h is."""
    conv = "Conv<pads = [1, 1, 1, 1]>"
    for start, sizes in ((0, ({"H": 1}, {"H": 2}, {"H": 5})), (1, ({"H": 3},))):
        body = f"u = Concat<axis = 2>(x, x) v = Slice(u, s, e, a) c = {conv}(v, k, b) y = {POOL}(c)"
        cut = {"s": np.array([start]), "e": np.array([2**31 - 1]), "a": np.array([2])}
        proto = model(body, "float[2,6,H,9] x", constants={"k": (4, 6, 3, 3), "b": (4,), **cut})
        assert ("pool" in _alone(proto, *sizes).laws) == (not start)


def test_what_stands_between_and_behind_enters_too() -> None:
    proto = model(
        f"c = Conv<pads = [1, 1, 1, 1]>(x, k, b) n = {batch_norm('c', 'n')} p = {POOL}(n) "
        "y = Conv(p, w, d)",
        X,
        constants={"k": (4, 6, 3, 3), "b": (4,), "w": (5, 4, 1, 1), "d": (5,), **norm("n", 4)},
    )
    after, told = rewritten(proto)
    assert [node.op_type for node in after.graph.node] == ["Conv", "Conv"]
    assert {"pool", "affine"} <= {row["law"] for row in told["laws"]}
    narrow = model(
        f"c = Conv<pads = [1, 1, 1, 1]>(x, k, b) p = {POOL}(c) y = Conv(p, w, d)",
        X,
        constants={"k": (4, 6, 3, 3), "b": (4,), "w": (2, 4, 1, 1), "d": (2,)},
    )
    assert optimized(narrow, "pool", only=["pool", "compose", "commute"], profile=COUNTING).ops == [
        "Conv"
    ]


def test_a_map_in_front_enters_first() -> None:
    proto = model(
        f"t = Conv(x, w) c = Conv<pads = [1, 1, 1, 1]>(t, k, b) y = {POOL}(c)",
        X,
        constants={"w": (12, 6, 1, 1), "k": (4, 12, 3, 3), "b": (4,)},
    )
    after = optimized(proto, "pool", only=["pool", "compose"], profile=COUNTING)
    assert after.weights() == [[4, 6, 4, 4]]


def test_it_is_proved() -> None:
    proto = _pooled("Conv<pads = [2, 1, 1, 1]>(x, k, b)", x="float[N,6,H,9] x")
    report = optimize(proto, only=["pool"], profile=COUNTING, lost_bits=np.inf).report
    assert [row.law for row in report.laws] == ["pool"]
    assert report.certificate.passed


# Refused ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("counted", [0, 1])
@pytest.mark.parametrize(
    ("more", "x"),
    [
        ("pads = [0, 1, 0, 0]", X),
        ("ceil_mode = 1", X),
        ("ceil_mode = 1", "float[3,6,H,W] x"),
        ('auto_pad = "SAME_LOWER"', X),
    ],
    ids=["padding", "rounding up", "rounding up a free size", "padding by itself"],
)
def test_a_window_that_leaves_the_map(more: str, x: str, counted: int) -> None:
    pool = POOL.replace(">", f", {more}, count_include_pad = {counted}>")
    after = _alone(_pooled("Conv(x, k, b)", f"{pool}(c)", x), {"H": 13, "W": 10})
    assert (after.saved, after.laws) == (0, set())
    assert OUTSIDE in after.refusals


@pytest.mark.parametrize("counted", [0, 1])
def test_rounding_up_and_padding_that_make_no_difference(counted: int) -> None:
    more = f", ceil_mode = 1, count_include_pad = {counted}>"
    even = "float[3,6,12,8] x"
    assert _alone(_pooled(pool=POOL.replace(">", more) + "(c)", x=even)).laws == {"pool"}
    same = POOL.replace(">", ', auto_pad = "SAME_UPPER">')
    assert _alone(_pooled(pool=f"{same}(c)", x=even)).laws == {"pool"}


def test_a_kernel_that_would_cost_more() -> None:
    slow = "AveragePool<kernel_shape = [2, 2]>(c)"
    after = _alone(_pooled(pool=slow))
    assert after.laws == set()
    assert "one larger kernel takes more multiply-accumulates than the K×K" in after.refusals


def test_a_cost_that_is_no_arithmetic_decides_too() -> None:
    """Where only what is read and written costs, a larger weight may be more than a map."""
    memory = Profile(peak=1e18, bandwidth=1.0, overhead=1e-9)
    proto = _pooled("Conv(x, k)", x="float[1,64,4,4] x", k=(64, 64, 3, 3))
    assert rewritten(proto, only=["pool"], profile=memory)[1]["laws"] == []
    assert rewritten(proto, only=["pool"])[1]["laws"] != []


def test_a_result_that_others_read() -> None:
    proto = model(f"c = Conv(x, k) y = {POOL}(c) z = Relu(c)", X, "y, z", {"k": (4, 6, 3, 3)})
    after = _alone(proto)
    assert after.laws == set()
    assert "AveragePool is not the only one that reads what the K×K gives" in after.refusals


def test_a_free_size_that_may_leave_no_room() -> None:
    """ONNX Runtime averages what there is of a map of one; a convolution fails on it."""
    proto = _pooled("Conv<pads = [1, 1, 1, 1]>(x, k, b)", x="float[N,6,H,9] x")
    after = _alone(proto, {"N": 2, "H": 1}, {"N": 1, "H": 6})
    assert after.laws == set()
    assert "a size is free, and may leave no room for a window of AveragePool" in after.refusals


def test_padding_that_hangs_on_a_free_size() -> None:
    conv = 'Conv<auto_pad = "SAME_UPPER", strides = [2, 2]>(x, k, b)'
    after = _alone(_pooled(conv, x="float[N,6,H,W] x"), {"N": 2, "H": 9, "W": 12})
    assert after.laws == set()
    assert "the padding of the K×K hangs on a size that is free" in after.refusals


def test_single_positions_are_for_other_laws() -> None:
    """A pool of one is a stride; behind a 1×1 a pool moves in front of it, or stays."""
    stride = "AveragePool<kernel_shape = [1, 1], strides = [2, 2]>(c)"
    after = _alone(_pooled(pool=stride))
    assert (after.laws, after.refusals) == (set(), [])
    assert optimized(_pooled(pool=stride), "demand").laws == {"demand"}
    after = _alone(_pooled("Conv(x, w)", w=(4, 6, 1, 1)))
    assert (after.laws, after.refusals) == (set(), [])


def test_a_stencil_that_cancels_stays_before_the_average() -> None:
    """Differences of neighbours are exact; of positions further apart they round."""
    edge = np.zeros((1, 1, 1, 3), np.float32)
    edge[..., 0], edge[..., 1] = 1, -1
    proto = _pooled("Conv(x, k)", x="float[2,1,9,12] x", k=edge)
    report = optimize(proto, only=["pool", "compose"], profile=COUNTING, verify=False).report
    assert not report.laws
    assert any("what cancels keeps its order" in row.reason for row in report.refusals)
    blurred = _pooled("Conv(x, k)", x="float[2,1,9,12] x", k=abs(edge))
    report = optimize(blurred, only=["pool"], profile=COUNTING, verify=False).report
    assert [row.law for row in report.laws] == ["pool"]


def test_the_count_is_that_of_the_larger_kernel() -> None:
    after = _alone(_pooled("Conv<pads = [1, 1, 1, 1]>(x, k)"))
    assert after.told["after"]["macs"] == prod((3, 4, 6, 6, 4, 4, 4))
