"""Shared values: what one reader takes for itself, and what all readers together do without."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

from onebyone.optimize import optimize

from ...graphs.text import model
from ..exact import COUNTING, Outcome, optimized

X = "float[2,4,5,7] x"
POSITIONS = 2 * 5 * 7
TWO = "a = Conv(q, a1) y = Relu(a) b = Conv(q, b1) z = Sigmoid(b)"


def whole(proto: ModelProto, *sizes: dict[str, int], **options: Any) -> Outcome:
    """The model by all laws: equal, done at once, whatever the order of its nodes."""
    return optimized(proto, "", *sizes, only=None, profile=COUNTING, **options)


def saved(body: str, outputs: str = "y, z", inputs: str = X, **constants: Sequence[int]) -> float:
    """The multiply-accumulates that are saved at each position."""
    return whole(model(body, inputs, outputs, constants)).saved / POSITIONS


# A reader for itself ------------------------------------------------------------------------------

# d is computed from x, and widened; the residual reads that, and the first of two 1×1s.
RESIDUAL = "e = Conv(d, e1) a0 = Conv(e, w1) a = Relu(a0) b = Conv(a, w2) s = Add(e, b) y = Relu(s)"
DEPTHWISE = "d = Conv<group = 4, pads = [1, 1, 1, 1]>(x, k)"
MIXER = {"e1": (8, 4, 1, 1), "w1": (10, 8, 1, 1), "w2": (8, 10, 1, 1), "k": (4, 1, 3, 3)}


def test_one_of_two_readers_composes_what_both_read() -> None:
    after = whole(model(f"{DEPTHWISE} {RESIDUAL}", X, constants=MIXER))
    assert after.saved == POSITIONS * (8 * 10 - 4 * 10)
    # And d is not computed twice.
    assert sorted(after.weights()) == [[4, 1, 3, 3], [8, 4, 1, 1], [8, 10, 1, 1], [10, 4, 1, 1]]


def test_a_value_that_narrows_is_read_as_it_is() -> None:
    narrow = {**MIXER, "e1": (3, 4, 1, 1), "w1": (10, 3, 1, 1), "w2": (3, 10, 1, 1)}
    assert whole(model(f"{DEPTHWISE} {RESIDUAL}", X, constants=narrow)).saved == 0


def test_a_chain_behind_a_shared_value_is_read_where_it_is_narrowest() -> None:
    body = f"r = Relu(x) n = Conv(r, v) q = Conv(n, p) c = Relu(q) {TWO}"
    sizes = {"v": (2, 4, 1, 1), "p": (8, 2, 1, 1), "a1": (5, 8, 1, 1), "b1": (3, 8, 1, 1)}
    assert saved(body, "y, z, c", **sizes) == 8 * (5 + 3) - 2 * (5 + 3)


UPSAMPLED = (
    'u = Resize<mode = "nearest", coordinate_transformation_mode = "asymmetric", '
    'nearest_mode = "floor">(x, , scales) q = Conv(b, p) c = Concat<axis = 1>(u, q) '
)


@pytest.mark.parametrize("readers", [2, 3])
def test_what_only_a_shared_concat_reads_is_not_computed_twice(readers: int) -> None:
    body = UPSAMPLED + " ".join(f"c{k} = Conv(c, w{k}) y{k} = Relu(c{k})" for k in range(readers))
    constants: dict[str, np.ndarray | Sequence[int]] = {
        "scales": np.array([1, 1, 2, 3], np.float32), "p": (5, 9, 1, 1),
        **{f"w{k}": (6 + k, 4 + 5, 1, 1) for k in range(readers)},
    }  # fmt: skip
    outputs = ", ".join(f"y{k}" for k in range(readers))
    after = whole(model(body, f"{X}, float[2,9,10,21] b", outputs, constants))
    # The upsampled part is multiplied before it grows, q is there for all.
    assert after.saved == sum((6 + k) * 4 * (6 - 1) * POSITIONS for k in range(readers))
    assert after.ops.count("Conv") == 1 + 2 * readers
    assert "Concat" not in after.ops


def test_a_region_waits_for_what_it_reads_inside_of_another() -> None:
    """P₂P₁ is multiplied out behind the concat; who reads its result there comes a round later."""
    body = UPSAMPLED.replace("q = Conv(b, p)", "o = Conv(b, p1) q = Conv(o, p2)") + (
        "c0 = Conv(c, w0) y = Relu(c0) z = Relu(c)"
    )
    constants = {
        "scales": np.array([1, 1, 2, 3], np.float32),
        "p1": (30, 9, 1, 1), "p2": (5, 30, 1, 1), "w0": (6, 9, 1, 1),
    }  # fmt: skip
    after = whole(model(body, f"{X}, float[2,9,10,21] b", "y, z", constants))
    assert after.saved == 6 * POSITIONS * (30 * 9 + 5 * 30 - 5 * 9) + 5 * POSITIONS * 6 * 4
    assert after.ops.count("Conv") == 3


# All readers together -----------------------------------------------------------------------------

SQUARE = {"p": (4, 4, 1, 1), "a1": (3, 4, 1, 1), "b1": (6, 4, 1, 1)}


def test_two_readers_do_without_a_value_at_the_same_price() -> None:
    assert saved(f"q = Conv(x, p) {TWO}", **SQUARE) == 4 * 4


def test_by_no_law_nothing_is_done_without() -> None:
    proto = model(f"q = Conv(x, p) {TWO}", X, "y, z", SQUARE)
    assert optimized(proto, "split", profile=COUNTING).saved == 0


@pytest.mark.parametrize("reader", ["c = Relu(q)", "c = Identity(q)", "c = Softmax<axis = 1>(q)"])
def test_a_reader_that_needs_the_value_keeps_it(reader: str) -> None:
    after = whole(model(f"q = Conv(x, p) {TWO} {reader}", X, "y, z, c", SQUARE))
    assert after.saved == 0
    assert "the result of Conv has other consumers" in after.refusals


def test_a_value_whose_readers_would_pay_more_stays() -> None:
    assert saved(f"q = Conv(x, p) {TWO}", p=(2, 4, 1, 1), a1=(3, 2, 1, 1), b1=(6, 2, 1, 1)) == 0


def test_a_narrow_value_goes_where_its_map_costs_more_than_it_spares() -> None:
    sizes = {"p": (3, 4, 1, 1), "a1": (2, 3, 1, 1), "b1": (2, 3, 1, 1)}
    # 12 + 6 + 6 as it stands, 8 + 8 without.
    assert saved(f"q = Conv(x, p) {TWO}", **sizes) == 8


def test_a_wide_value_goes_that_a_1x1_and_a_3x3_read() -> None:
    body = (
        "q = Conv(x, p) a = Conv(q, a1) y = Relu(a) b = Conv<pads = [1, 1, 1, 1]>(q, k) z = Sin(b)"
    )
    sizes = {"p": (64, 4, 1, 1), "a1": (4, 64, 1, 1), "k": (3, 64, 3, 3)}
    assert saved(body, **sizes) == 64 * (4 + 4 + 3 * 9) - 4 * (4 + 3 * 9)


def test_a_scale_that_two_maps_read_goes_into_both() -> None:
    body, constants = f"e = Conv(x, p) r = Relu(e) q = Mul(r, s) {TWO}", {**SQUARE, "s": (4, 1, 1)}
    assert whole(model(body, X, "y, z", constants)).ops.count("Mul") == 0
    assert whole(model(f"{body} c = Sin(q)", X, "y, z, c", constants)).ops.count("Mul") == 1


def test_what_is_behind_a_pool_goes_with_it() -> None:
    body = f"e = Conv(x, p) q = AveragePool<kernel_shape = [2, 2], strides = [2, 2]>(e) {TWO}"
    after = whole(model(body, X, "y, z", SQUARE))
    assert after.saved == POSITIONS * 16  # the map itself, at all positions
    assert after.ops.count("Conv") == 2


def test_what_the_readers_still_need_of_its_region_is_kept() -> None:
    """A scale behind padding goes into both maps, and the map before it is computed once."""
    body = "e = Conv(x, p, c) q = Conv<group = 2, pads = [1, 0, 1, 0]>(e, s, d) " + TWO
    sizes = {"p": (2, 8, 1, 1), "c": (2,), "s": (2, 1, 1, 1), "d": (2,),
             "a1": (3, 2, 1, 1), "b1": (6, 2, 1, 1)}  # fmt: skip
    after = whole(model(body, "float[2,8,5,7] x", "y, z", sizes))
    assert after.saved == 2 * (2 * 7 * 7)
    assert after.ops.count("Conv") == 3


def test_a_value_whose_price_is_unknown_is_not_kept_for_nothing() -> None:
    """The shift stays, for it rounds what it is added to: to scale its slices is a node more."""
    body = (
        "o = Tanh(x) t = Conv<pads = [0, 1, 0, 1]>(o, w) a = Add(t, c) q = Div(a, s) "
        "u = Slice(q, one, most, axis) y = Sin(u) v = Slice(q, none, last, axis) z = Cos(v)"
    )
    numbers = {"one": 1, "most": 99, "none": 0, "last": -1, "axis": 3}
    constants = {name: np.array([value], np.int64) for name, value in numbers.items()}
    shift, scale = np.full((3, 1, 1), -1.2e7, np.float32), np.array(1e6, np.float32)
    constants |= {"w": (3, 1, 1, 1), "c": shift, "s": scale}
    proto = model(body, "float[2,1,50,77] x", "y, z, t", constants)
    assert not optimize(proto, verify=False).report.laws


def test_what_a_kept_value_reads_is_kept_too() -> None:
    """Else two forms of the same price would take turns, each cheaper by what is not counted."""
    body = (
        "d = Sub(x, near) m = MatMul(d, w) n = MatMul(other, v) t = Add(m, n) "
        "a = Slice(t, one, end, one) b = Slice(t, zero, last, one) c = Sub(a, b) "
        "e = Mul(c, scale) y = Add(e, shift)"
    )
    ends = {"zero": [0], "one": [1], "last": [-1], "end": [2**31 - 1]}
    known = {name: np.array(numbers) for name, numbers in ends.items()}
    drawn = np.random.default_rng(0).standard_normal
    known |= {"w": drawn((3, 1), np.float32), "v": drawn((4, 1), np.float32)}
    known |= {"scale": np.array(3.5, np.float32), "shift": np.array(-2.25, np.float32)}
    inputs = "float[2,5,3] x, float[2,5,3] near, float[2,5,4] other"
    assert not optimize(model(body, inputs, "y", known), verify=False).report.laws


def test_a_value_goes_though_its_sizes_are_read() -> None:
    body = f"q = Conv(x, p) {TWO} s = Shape(q)"
    proto = model(body, "float[N,4,H,W] x", "float y, float z, int64[4] s", SQUARE)
    after = whole(proto, {"N": 2, "H": 5, "W": 7}, {"N": 1, "H": 1, "W": 3})
    assert after.ops.count("Conv") == 2


def test_values_that_share_a_reader_go_one_after_the_other() -> None:
    """The sum reads both, and each of them has a reader of its own."""
    body = (
        "q = Conv(x, p) o = Conv(x, p1) t = Add(q, o) y = Relu(t) "
        "a = Conv(q, a1) z = Relu(a) b = Conv(o, b1) w = Relu(b)"
    )
    sizes = {"p": (6, 4, 1, 1), "p1": (6, 4, 1, 1), "a1": (3, 6, 1, 1), "b1": (3, 6, 1, 1)}
    # t = (P + P₁)x, and each of the others on x.
    assert saved(body, "y, z, w", **sizes) == 24 + 24 + 18 + 18 - 24 - 12 - 12


def test_a_weight_that_others_read_is_not_copied_for_it() -> None:
    body = f"q = Conv(x, p) {TWO} r = Relu(x) c = Conv(r, a1) v = Sin(c)"
    after = whole(model(body, X, "y, z, v", SQUARE))
    assert after.saved == 0


def test_all_readers_change_or_none() -> None:
    """One product is too large for float16."""
    sizes = {"p": np.full((4, 4, 1, 1), 256, np.float16),
             "a1": np.full((3, 4, 1, 1), 1 / 256, np.float16),
             "b1": np.full((6, 4, 1, 1), 256, np.float16)}  # fmt: skip
    proto = model(f"q = Conv(x, p) {TWO}", "float16[2,4,5,7] x",
                  "float16[2,3,5,7] y, float16[2,6,5,7] z", sizes)  # fmt: skip
    result = optimize(proto, verify=False, profile=COUNTING)
    assert not result.report.laws
    assert [node.op_type for node in result.model.graph].count("Conv") == 3


def test_what_goes_is_reported_once_and_proved() -> None:
    proto = model(f"q = Conv(x, p) {TWO}", X, "y, z", SQUARE)
    report = optimize(proto, profile=COUNTING, lost_bits=inf).report
    (law,) = report.laws
    assert (law.law, law.saved_macs, law.proved) == ("compose", POSITIONS * 16, True)
    assert set(law.nodes) >= {"a", "b", "q"}
    assert report.certificate is not None
    assert report.certificate.passed
