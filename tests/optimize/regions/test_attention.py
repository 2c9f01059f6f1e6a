"""Attention of one head: channel maps pass the average that a Softmax makes, by `==`.

The weights are 0 and 1 exactly, where scores are far apart, or 1/L of L equal scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import ModelProto

from onebyone.algebra.laws import refused
from onebyone.graph.averages import average, average_axis, sums_to_one
from onebyone.optimize import optimize

from ...graphs.text import model
from ..exact import COUNTING, Outcome, optimized

Constants = Mapping[str, np.ndarray | Sequence[int]]
LAWS = ["affine", "commute", "compose", "linear"]


def picks(rows: int, columns: int) -> np.ndarray:
    """Scores of which one in each row is so far above the others that these weigh nothing."""
    scores = np.full((rows, columns), -(2.0**14), np.float32)
    scores[np.arange(rows), np.random.default_rng(rows).integers(0, columns, rows)] = 0
    return scores


LINEAR: Constants = {"wv": (3, 5), "bv": (5,), "wo": (5, 4), "bo": (4,)}
POINTWISE: Constants = {"wv": (5, 3, 1), "bv": (5,), "wo": (4, 5, 1), "bo": (4,)}
MANY: Constants = {"p": picks(11, 6)}
NARROW: Constants = {**MANY, "wo": (5, 2), "bo": (2,)}
FEW: Constants = {"p": picks(2, 13)}

PROJECTED = "v = MatMul(x, wv) u = Add(v, bv)"
OUT = "o = MatMul(t, wo) y = Add(o, bo)"

# A body, its inputs and constants, the multiply-accumulates that are enough, and laws.
PAYS: dict[str, tuple[str, str, Constants, int]] = {
    "both in front, onto fewer rows": (
        f"z = Add(c, p) a = Softmax<axis = -1>(z) {PROJECTED} t = MatMul(a, u) {OUT}",
        "float[2,11,1] c, float[2,6,3] x", {**LINEAR, **NARROW}, 2 * 6 * 3 * 2 + 2 * 66 * 2),
    "both behind, onto fewer rows": (
        f"z = Add(c, p) a = Softmax<axis = -1>(z) {PROJECTED} t = MatMul(a, u) {OUT}",
        "float[2,2,1] c, float[2,13,3] x", {**LINEAR, **FEW}, 2 * 2 * 3 * 4 + 2 * 26 * 3),
    "without biases": (
        "z = Add(c, p) a = Softmax<axis = -1>(z) v = MatMul(x, wv) t = MatMul(a, v) "
        "y = MatMul(t, wo)",
        "float[2,2,1] c, float[2,13,3] x", {**LINEAR, **FEW}, 2 * 2 * 3 * 4 + 2 * 26 * 3),
    "the product is the end": (
        f"z = Add(c, p) a = Softmax<axis = -1>(z) {PROJECTED} t = MatMul(a, u) y = Relu(t)",
        "float[2,2,1] c, float[2,13,3] x", {**LINEAR, **FEW}, 2 * 2 * 3 * 5 + 2 * 26 * 3),
    "only behind": (
        f"r = Relu(x) z = Add(c, p) a = Softmax<axis = -1>(z) t = MatMul(a, r) {OUT}",
        "float[2,11,1] c, float[2,6,5] x", {**LINEAR, **MANY}, 2 * 6 * 20 + 2 * 66 * 4),
    "one attention for a batch": (
        f"z = Add(c, p) a = Softmax<axis = -1>(z) {PROJECTED} t = MatMul(a, u) {OUT}",
        "float[2,1] c, float[3,13,3] x", {**LINEAR, **FEW}, 3 * 2 * 3 * 4 + 3 * 26 * 3),
    "one value for a batch": (
        f"z = Add(c, p) a = Softmax<axis = -1>(z) {PROJECTED} t = MatMul(a, u) {OUT}",
        "float[3,2,1] c, float[13,3] x", {**LINEAR, **FEW}, 3 * 2 * 3 * 4 + 3 * 26 * 3),
    "rows": (
        f"z = Add(c, p) a = Softmax<axis = -1>(z) {PROJECTED} t = MatMul(a, u) {OUT}",
        "float[2,1] c, float[13,3] x", {**LINEAR, **FEW}, 2 * 3 * 4 + 26 * 3),
    "channels first": (
        "z = Add(c, p) a = Softmax<axis = -1>(z) b = Transpose<perm = [0,2,1]>(a) "
        "u = Conv(x, wv, bv) t = MatMul(u, b) y = Conv(t, wo, bo)",
        "float[2,2,1] c, float[2,3,13] x", {**POINTWISE, **FEW}, 2 * 2 * 3 * 4 + 2 * 26 * 3),
    "channels first, summed by columns": (
        "z = Add(c, p) a = Softmax<axis = -2>(z) u = Conv(x, wv, bv) t = MatMul(u, a) "
        "y = Conv(t, wo, bo)",
        "float[2,1,2] c, float[2,3,13] x", {**POINTWISE, "p": picks(2, 13).T.copy()},
        2 * 2 * 3 * 4 + 2 * 26 * 3),
    "turned on the way": (
        "z = Add(c, p) a = Softmax<axis = -1>(z) u = Conv(x, wv, bv) "
        f"w = Transpose<perm = [0,2,1]>(u) t = MatMul(a, w) {OUT}",
        "float[2,2,1] c, float[2,3,13] x",
        {**LINEAR, "wv": (5, 3, 1), **FEW}, 2 * 2 * 3 * 4 + 2 * 26 * 3),
    "heads of one": (
        f"z = Add(c, p) a = Softmax<axis = -1>(z) {PROJECTED} r = Reshape(u, s) "
        "h = Transpose<perm = [0,2,1,3]>(r) g = MatMul(a, h) "
        f"i = Transpose<perm = [0,2,1,3]>(g) t = Reshape(i, k) {OUT}",
        "float[2,1,2,1] c, float[2,13,3] x",
        {**LINEAR, **FEW, "s": np.array([2, 13, 1, 5]), "k": np.array([0, 2, 5])},
        2 * 2 * 3 * 4 + 2 * 26 * 3),
    "an image": (
        "z = Add(c, p) a = Softmax<axis = -1>(z) b = Transpose<perm = [0,2,1]>(a) "
        "f = Conv(x, wv, bv) u = Reshape(f, s) t = MatMul(u, b) r = Reshape(t, k) "
        "y = Conv(r, wo, bo)",
        "float[2,2,1] c, float[2,3,13,1] x",
        {"wv": (5, 3, 1, 1), "bv": (5,), "wo": (4, 5, 1, 1), "bo": (4,), **FEW,
         "s": np.array([2, 5, -1]), "k": np.array([0, 0, 2, 1])},
        2 * 2 * 3 * 4 + 2 * 26 * 3),
    "a dropout and a view of the weights": (
        "z = Add(c, p) a = Softmax<axis = -1>(z) d = Dropout(a) e = Unsqueeze(d, one) "
        "g = Identity(e) h = Squeeze(g, one) v = MatMul(x, wv) u = Add(v, bv) "
        f"t = MatMul(h, u) {OUT}",
        "float[2,2,1] c, float[2,13,3] x", {**LINEAR, **FEW, "one": np.array([1])},
        2 * 2 * 3 * 4 + 2 * 26 * 3),
    "a batch normalisation on the way": (
        "z = Add(c, p) a = Softmax<axis = -2>(z) u = Conv(x, wv, bv) t = MatMul(u, a) "
        "n = BatchNormalization<epsilon = 0.0>(t, m, m, m, e) y = Conv(n, wo, bo)",
        "float[2,1,2] c, float[2,3,13] x",
        {**POINTWISE, "p": picks(2, 13).T.copy(), "m": (5,), "e": np.ones(5, np.float32)},
        2 * 2 * 3 * 4 + 2 * 26 * 3),
}  # fmt: skip


@pytest.mark.parametrize("case", PAYS.values(), ids=PAYS)
def test_maps_move_to_the_side_with_fewer_rows(case: tuple[str, str, Constants, int]) -> None:
    body, inputs, constants, macs = case
    proto = model(body, inputs, constants=constants)
    after = optimized(proto, "commute", only=LAWS, profile=COUNTING)
    assert "commute" in after.laws
    assert after.told["after"]["macs"] == macs
    assert optimize(proto, only=LAWS, profile=COUNTING, lost_bits=99).report.certificate.passed


@pytest.mark.parametrize("opset", [11, 13, 18, 22])
def test_opsets(opset: int) -> None:
    body, inputs, constants, macs = PAYS["both behind, onto fewer rows"]
    proto = model(body, inputs, constants=constants, opset=opset)
    after = optimized(proto, "commute", only=LAWS, profile=COUNTING)
    assert after.told["after"]["macs"] == macs


@pytest.mark.parametrize("length", [1, 2, 8])
def test_sizes_may_be_free(length: int) -> None:
    """Equal scores: the weights are 1/L."""
    body = f"z = Clip(s, l, l) a = Softmax<axis = -1>(z) {PROJECTED} t = MatMul(a, u) {OUT}"
    inputs = "float[N,Q,L] s, float[N,L,3] x"
    proto = model(body, inputs, constants={**LINEAR, "l": np.array(9, np.float32)})
    sizes = [{"N": 2, "Q": 3, "L": length}, {"N": 1, "Q": length, "L": 4}]
    for shapes, rows in (((2, 3, 8), 2 * 3), ((2, 9, 4), 2 * 4)):
        n, q, count = shapes
        given = {"s": shapes, "x": (n, count, 3)}
        after = optimized(proto, "commute", *sizes, only=LAWS, profile=COUNTING, shapes=given)
        products = n * q * count * (3 if q < count else 4)
        assert after.told["after"]["macs"] == rows * 12 + products


def test_a_bias_stays_behind_where_its_map_goes_in_front() -> None:
    """Into the average it does not go, where its size would be rounded once a position."""
    body, inputs, constants, _ = PAYS["both in front, onto fewer rows"]
    after = optimized(
        model(body, inputs, constants=constants), "commute", only=LAWS, profile=COUNTING
    )
    biases = [n.input[1] for n in after.proto.graph.node if n.op_type == "Add"]
    made = after.proto.graph.node[-1]
    assert made.op_type == "Add"
    assert len(biases) == 2  # of the scores, and all of both projections behind
    conv = "u = Conv(x, wv) t = MatMul(u, a) y = Conv(t, wo, bo)"
    body = f"z = Add(c, p) a = Softmax<axis = -2>(z) {conv}"
    constants = {**POINTWISE, "wo": (2, 5, 1), "bo": (2,), "p": picks(11, 6).T.copy()}
    proto = model(body, "float[2,1,11] c, float[2,3,6] x", constants=constants)
    after = optimized(proto, "commute", only=LAWS, profile=COUNTING)
    assert after.ops[-3:] == ["Conv", "MatMul", "Add"]


@pytest.mark.parametrize("rows", [4, 64])
@pytest.mark.parametrize("size", [10, 100])
def test_biases_that_are_larger_than_what_they_are_added_to(size: int, rows: int) -> None:
    report = optimize(rounded(rows, size), only=LAWS).report
    assert report.before.macs - report.after.macs >= 2 * min(rows, 48) * 32 * 20
    assert report.certificate.passed


def test_a_bias_that_takes_half_of_the_digits_stays_where_it_is() -> None:
    report = optimize(rounded(4, 10**6), only=LAWS).report
    assert report.before.macs == report.after.macs
    assert "adding a shift this large rounds" in " ".join(row.reason for row in report.refusals)


def rounded(rows: int, size: int) -> ModelProto:
    """Attention of weights that have all their digits, and biases so many times larger."""
    rng = np.random.default_rng(rows)
    shapes = {"wv": (24, 32), "bv": (32,), "wo": (32, 20), "bo": (20,)}
    drawn = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    constants = {name: (array * (size if array.ndim == 1 else 1)).astype(np.float32)
                 for name, array in drawn.items()}  # fmt: skip
    body = f"a = Softmax<axis = -1>(s) {PROJECTED} t = MatMul(a, u) {OUT}"
    return model(body, f"float[2,{rows},48] s, float[2,48,24] x", constants=constants)


# What is no average of a Softmax: the weights of the positions, and what is told.
REFUSED: dict[str, tuple[str, int]] = {
    "any weights": ("a = Relu(z)", 17),
    "the wrong axis": ("a = Softmax<axis = -2>(z)", 17),
    "all axes, before opset 13": ("a = Softmax<axis = 1>(z)", 11),
    "masked behind": ("b = Softmax<axis = -1>(z) r = Relu(z) a = Mul(b, r)", 17),
    "logarithms": ("a = LogSoftmax<axis = -1>(z)", 17),
    "turned over": ("b = Softmax<axis = -1>(z) a = Reshape(b, q)", 17),
    "in training": ("b = Softmax<axis = -1>(z) a = Dropout(b, ratio, on)", 17),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_what_is_no_average_lets_nothing_pass(case: tuple[str, int]) -> None:
    weights, opset = case
    body = f"z = Add(c, p) {weights} {PROJECTED} t = MatMul(a, u) {OUT}"
    constants: Constants = {**LINEAR, **FEW, "p": picks(2, 13)}
    constants = {**constants, "q": np.array([2, 2, 13])}
    inputs = "float[2,2,1] c, float[2,13,3] x"
    if "turned" in weights or "q)" in weights:
        # 13 rows of two, dealt out as two rows of thirteen: none of them sums to one.
        constants = {**constants, "p": picks(13, 2)}
        inputs = "float[2,13,1] c, float[2,13,3] x"
    if "on)" in weights:
        constants = {**constants, "ratio": np.array(0.5, np.float32), "on": np.array(False)}
        body, inputs = body.replace("on)", "on_)"), inputs + ", bool on_"
    proto = model(body, inputs, constants=constants, opset=opset)
    result = optimize(proto, only=LAWS, profile=COUNTING, lost_bits=99, verify=False)
    report = result.report
    assert report.before.macs == report.after.macs
    told = {row.reason for row in report.refusals}
    assert refused("commute", "weighed", operator="MatMul").reason in told


@pytest.mark.parametrize(("opset", "saves"), [(11, False), (13, True)])
def test_a_softmax_of_all_that_follows_is_one_along_an_axis_from_opset_13_on(
    opset: int, saves: bool
) -> None:
    body = "a = Softmax<axis = 1>(z) u = Conv(x, wv, bv) t = MatMul(u, a) y = Conv(t, wo, bo)"
    inputs = "float[2,13,2] z, float[2,3,13] x"
    proto = model(body, inputs, constants=POINTWISE, opset=opset)
    report = optimize(proto, only=LAWS, profile=COUNTING, lost_bits=99).report
    assert (report.after.macs < report.before.macs) == saves
    assert report.certificate.passed


def test_fewer_rows_of_more_channels_may_be_more_products() -> None:
    """24 → 2 channels at 13 positions, and 2 of them averaged; or 24 averaged, and at 2."""
    proto = model(
        "z = Add(c, p) a = Softmax<axis = -1>(z) v = MatMul(x, w) t = MatMul(a, v) y = Relu(t)",
        "float[2,2,1] c, float[2,13,24] x",
        constants={**FEW, "w": (24, 2)},
    )
    after = optimized(proto, "commute", only=LAWS, profile=COUNTING)
    assert (after.saved, after.told["after"]["macs"]) == (0, 2 * (13 * 48 + 26 * 2))


def test_where_it_does_not_pay() -> None:
    body = f"r = Relu(x) z = Add(c, p) a = Softmax<axis = -1>(z) t = MatMul(a, r) {OUT}"
    proto = model(body, "float[2,2,1] c, float[2,13,5] x", constants={**LINEAR, **FEW})
    after = optimized(proto, "commute", only=LAWS, profile=COUNTING)
    assert after.saved == 0
    assert refused("commute", "price", operator="MatMul").reason in after.refusals


def test_what_is_fastest_may_take_too_much_arithmetic() -> None:
    """Then what takes the least is done: here ten channels would be turned faster than 256."""
    rng = np.random.default_rng(0)
    constants = {name: rng.standard_normal(shape).astype(np.float32)
                 for name, shape in {"w": (256, 256), "o": (256, 10)}.items()}  # fmt: skip
    body = (
        "r = Relu(x) f = Transpose<perm = [1,0,2]>(r) a = Softmax<axis = -1>(s) "
        "t = MatMul(a, f) v = MatMul(t, w) y = MatMul(v, o)"
    )
    proto = model(body, "float[196,2,256] x, float[2,1,196] s", constants=constants)
    report = optimize(proto, only=LAWS).report
    assert report.before.macs - report.after.macs == 2 * (256 * 256 + 256 * 10 - 256 * 10)
    assert report.certificate.passed


def heads(count: int) -> Outcome:
    """Attention whose channels are cut into heads, each with weights of its own."""
    body = (
        "z = Add(c, p) a = Softmax<axis = -1>(z) v = MatMul(x, wv) u = Add(v, bv) "
        "r = Reshape(u, s) h = Transpose<perm = [0,2,1,3]>(r) g = MatMul(a, h) "
        "i = Transpose<perm = [0,2,1,3]>(g) t = Reshape(i, k) o = MatMul(t, wo) y = Add(o, bo)"
    )
    constants = {**FEW, "wv": (6, 12), "bv": (12,), "wo": (12, 4), "bo": (4,),
                 "s": np.array([2, 13, count, 12 // count]), "k": np.array([0, 2, 12])}  # fmt: skip
    proto = model(body, f"float[2,{count},2,1] c, float[2,13,6] x", constants=constants)
    return optimized(proto, "commute", only=LAWS, profile=COUNTING)


def test_heads_are_left_alone() -> None:
    assert heads(1).saved > 0
    assert heads(2).saved == heads(3).saved == heads(12).saved == 0


def test_two_attentions_by_the_same_weights_are_one() -> None:
    """A W₁x + A W₂x = A (W₁ + W₂) x; of other weights they are two."""
    body = (
        "z = Add(c, p) a = Softmax<axis = -1>(z) f = Add(d, p) b = Softmax<axis = -1>(f) "
        "v = MatMul(x, wv) w = MatMul(x, ww) t = MatMul(a, v) s = MatMul({}, w) y = Add(t, s)"
    )
    inputs = "float[2,2,1] c, float[2,2,1] d, float[2,13,3] x"
    constants = {**FEW, "wv": (3, 5), "ww": (3, 5)}
    once = 2 * 26 * 3 + 2 * 2 * 15
    laws = [*LAWS, "sum"]
    for weights, macs in (("a", once), ("b", 2 * once)):
        proto = model(body.format(weights), inputs, constants=constants)
        after = optimized(proto, "sum", only=laws, profile=COUNTING)
        assert after.told["after"]["macs"] == macs


def test_weights_that_come_of_the_same_value() -> None:
    """Scores of the tokens themselves: they stay as they are, and so do the weights."""
    rng = np.random.default_rng(3)
    shapes = {"wq": (24, 8), "wk": (24, 8), "wv": (24, 24), "wo": (24, 24), "bo": (24,)}
    constants = {k: rng.standard_normal(s).astype(np.float32) for k, s in shapes.items()}
    body = (
        "x = Mul(r, r) q = MatMul(x, wq) k = MatMul(x, wk) l = Transpose<perm = [0,2,1]>(k) "
        "s = MatMul(q, l) a = Softmax<axis = -1>(s) v = MatMul(x, wv) t = MatMul(a, v) "
        "o = MatMul(t, wo) m = Add(o, bo) y = Add(m, x)"
    )
    proto = model(body, "float[2,16,24] r", constants=constants)
    result = optimize(proto, only=LAWS)
    assert result.report.before.macs - result.report.after.macs == 2 * 16 * 24 * 24
    assert result.report.certificate.passed
    assert [row.proved for row in result.report.laws] == [True] * len(result.report.laws)


def nodes_of(body: str, inputs: str) -> dict[str, ir.Node]:
    graph = ir.from_proto(onnx.shape_inference.infer_shapes(model(body, inputs))).graph
    return {str(node.outputs[0].name): node for node in graph}


def test_which_operand_is_averaged() -> None:
    body = "a = Softmax<axis = -1>(s) b = Softmax<axis = -2>(s) y = MatMul(a, x) z = MatMul(x, b)"
    nodes = nodes_of(body, "float[2,5,5] s, float[2,5,5] x")
    left, right = average(nodes["y"], 2), average(nodes["z"], 1)
    assert (left.slot, left.axis, left.along) == (1, 2, 1)
    assert (right.slot, right.axis, right.along) == (0, 1, 2)
    assert average(nodes["y"], 0) is None
    assert average_axis(nodes["y"], {left.operand: 2}) == 2
    assert average_axis(nodes["y"], {left.operand: 1}) is None
    assert average_axis(nodes["z"], {right.operand: 1}) == 1


def test_a_product_with_itself_is_none() -> None:
    nodes = nodes_of("a = Softmax<axis = -1>(s) y = MatMul(a, a)", "float[2,5,5] s")
    assert average(nodes["y"], 2) is None


def test_the_axis_is_followed_through_views() -> None:
    body = (
        "a = Softmax<axis = -1>(s) b = Transpose<perm = [2,0,1]>(a) "
        "c = Flatten<axis = 1>(b) y = Relu(c)"
    )
    nodes = nodes_of(body, "float[2,3,5] s")
    values = {name: node.outputs[0] for name, node in nodes.items()}
    assert sums_to_one(values["b"], 0)
    assert not sums_to_one(values["b"], 2)
    assert sums_to_one(values["c"], 0)
    assert not sums_to_one(values["c"], 1)
    assert not sums_to_one(values["y"], 0)
