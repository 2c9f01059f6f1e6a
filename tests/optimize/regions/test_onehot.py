"""One-hot vectors: what a linear map makes of them is picked from a table, by `==`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

from onebyone.graph.evaluate import evaluate
from onebyone.graph.read import read
from onebyone.graph.write import to_proto
from onebyone.optimize import optimize

from ...graphs.run import differences, run
from ...graphs.text import model
from ..exact import COUNTING, Outcome, rewritten

Constants = Mapping[str, np.ndarray | Sequence[int]]
DEPTH = 7
LAWS = ["onehot", "linear", "affine", "compose", "split", "commute"]
# From further outside than any index that means something, on both sides.
EVERY = np.arange(-2 * DEPTH - 3, 2 * DEPTH + 4)
MARKS: Constants = {"d": np.array(DEPTH), "v": np.array([0, 1], np.float32)}
OTHERS: Constants = {"d": np.array([DEPTH]), "v": np.array([3, -2], np.float32)}
WIDE: Constants = {"w": (DEPTH, 4), "b": (4,)}
KERNEL: Constants = {"k": (4, DEPTH, 1, 1), "b": (4,)}


def every(dtype: type, *shape: int) -> np.ndarray:
    """Every index, again and again."""
    return np.resize(EVERY, shape).astype(dtype)


# A body, its inputs and constants, the shape and type of the indices, and the operators left.
TABLES: dict[str, tuple[str, str, Constants, np.ndarray, list[str]]] = {
    "tokens": (
        "h = OneHot(i, d, v) p = MatMul(h, w) y = Add(p, b)", "int64[5,11] i",
        {**MARKS, **WIDE}, every(np.int64, 5, 11), ["Clip", "Gather"]),
    "tokens, a free batch": (
        "h = OneHot(i, d, v) p = MatMul(h, w) y = Add(p, b)", "int64[N,11] i",
        {**MARKS, **WIDE}, every(np.int64, 3, 11), ["Clip", "Gather"]),
    "one vector each": (
        "h = OneHot(i, d, v) y = Gemm(h, w, b)", "int64[35] i",
        {**MARKS, **WIDE}, every(np.int64, 35), ["Clip", "Gather"]),
    "int32": (
        "h = OneHot(i, d, v) y = MatMul(h, w)", "int32[5,11] i",
        {**MARKS, "d": np.array(DEPTH, np.int32), **WIDE}, every(np.int32, 5, 11),
        ["Clip", "Gather"]),
    "two other numbers": (
        "h = OneHot(i, d, v) p = MatMul(h, w) y = Add(p, b)", "int64[5,11] i",
        {**OTHERS, **WIDE}, every(np.int64, 5, 11), ["Clip", "Gather"]),
    "channels first": (
        "h = OneHot<axis = 1>(i, d, v) y = Conv(h, k, b)", "int64[2,5,11] i",
        {**MARKS, **KERNEL}, every(np.int64, 2, 5, 11), ["Clip", "Gather", "Transpose"]),
    "of an axis further inside": (
        "h = OneHot<axis = -2>(i, d, v) y = MatMul(m, h)", "int64[2,5,11] i",
        {**MARKS, "m": (4, DEPTH)}, every(np.int64, 2, 5, 11), ["Clip", "Gather", "Transpose"]),
    "integers that are cast": (
        "h = OneHot(i, d, u) f = Cast<to = 1>(h) y = MatMul(f, w)", "int64[5,11] i",
        {**MARKS, **WIDE, "u": np.array([0, 1])}, every(np.int64, 5, 11), ["Clip", "Gather"]),
    "turned before a 1×1": (
        "h = OneHot(i, d, v) t = Transpose<perm = [0,3,1,2]>(h) y = Conv(t, k, b)",
        "int64[2,5,11] i", {**MARKS, **KERNEL}, every(np.int64, 2, 5, 11),
        ["Clip", "Gather", "Transpose"]),
    "several layers": (
        "h = OneHot(i, d, v) p = MatMul(h, w) q = Add(p, b) y = MatMul(q, o)", "int64[5,11] i",
        {**MARKS, **WIDE, "o": (4, 9)}, every(np.int64, 5, 11), ["Clip", "Gather"]),
    "compared": (
        "e = Equal(i, n) f = Cast<to = 1>(e) p = MatMul(f, w) y = Add(p, b)", "int64[5,11,1] i",
        {**WIDE, "n": np.arange(DEPTH)}, every(np.int64, 5, 11, 1), ["Clip", "Gather", "Squeeze"]),
    "compared, the other way round": (
        "e = Equal(n, i) f = Cast<to = 1>(e) y = Conv(f, k, b)", "int64[2,1,5,11] i",
        {**KERNEL, "n": np.arange(DEPTH).reshape(1, DEPTH, 1, 1)}, every(np.int64, 2, 1, 5, 11),
        ["Clip", "Gather", "Squeeze", "Transpose"]),
    "compared and chosen": (
        "e = Equal(i, n) f = Where(e, on, off) y = MatMul(f, w)", "int32[5,11,1] i",
        {**WIDE, "n": np.arange(DEPTH, dtype=np.int32)[None], "on": np.array(5, np.float32),
         "off": np.array([-1], np.float32)}, every(np.int32, 5, 11, 1),
        ["Clip", "Gather", "Squeeze"]),
    "cast, turned and cast": (
        "j = Unsqueeze(i, a) e = Equal(j, n) u = Cast<to = 7>(e)"
        " t = Transpose<perm = [0,3,1,2]>(u) f = Cast<to = 1>(t) y = Conv(f, k, b)",
        "int64[2,5,11] i", {**KERNEL, "n": np.arange(DEPTH), "a": np.array([3])},
        every(np.int64, 2, 5, 11), ["Clip", "Gather", "Transpose"]),
    "turned and compared": (
        "e = Equal(i, n) t = Transpose<perm = [0,2,1]>(e) f = Cast<to = 1>(t) y = MatMul(f, w)",
        "int64[2,1,5] i", {**WIDE, "n": np.arange(DEPTH)[:, None]},
        every(np.int64, 2, 1, 5), ["Clip", "Gather", "Squeeze"]),
    "an axis made for it": (
        "j = Unsqueeze(i, a) e = Equal(j, n) f = Cast<to = 1>(e) y = MatMul(f, w)",
        "int64[5,11] i", {**WIDE, "n": np.arange(DEPTH), "a": np.array([-1])},
        every(np.int64, 5, 11), ["Clip", "Gather"]),
}  # fmt: skip


def _assert_same(proto: ModelProto, after: ModelProto, feed: Mapping[str, np.ndarray]) -> None:
    (left,), (right,) = run(proto, feed), run(after, feed)
    assert differences(left, right) == []
    wanted, found = (evaluate(read(each), feed) for each in (proto, after))
    assert all(np.array_equal(wanted[name], found[name]) for name in wanted)


def _applied(proto: ModelProto, feed: Mapping[str, np.ndarray], **options: Any) -> Outcome:
    options = {"only": LAWS, "profile": COUNTING, **options}
    after = Outcome(*rewritten(proto, **options))
    _assert_same(proto, after.proto, feed)
    assert rewritten(after.proto, **options)[1]["laws"] == []
    return after


@pytest.mark.parametrize("case", TABLES.values(), ids=TABLES)
def test_rows_of_a_table_stand_for_a_product(
    case: tuple[str, str, Constants, np.ndarray, list[str]],
) -> None:
    body, inputs, constants, indices, left = case
    proto = model(body, inputs, constants=constants)
    after = _applied(proto, {"i": indices})
    assert "onehot" in after.laws
    assert after.told["after"]["macs"] == 0
    assert sorted(after.ops) == left
    result = optimize(proto, only=LAWS, profile=COUNTING, lost_bits=inf)
    assert result.report.certificate.passed
    alone = result.report.certificate.alone
    assert alone.proved == alone.rewrites > 0


# How indices are known to lie inside, and how many rows the table has then.
INSIDE: dict[str, tuple[str, str, Constants, int]] = {
    "the place of a maximum": ("i = ArgMax<axis = 2, keepdims = 0>(x)", "float[2,5,7] x", {}, 7),
    "of fewer": ("i = ArgMin<axis = -1, keepdims = 0>(x)", "float[2,5,3] x", {}, 3),
    "a remainder": ("i = Mod(x, m)", "int64[2,5] x", {"m": np.array(6)}, 6),
    "cut": ("i = Clip(x, l, m)", "int64[2,5] x", {"m": np.array(4), "l": np.array(-2)}, 7),
    "views and a cast": (
        "j = ArgMax<axis = 2>(x) k = Cast<to = 6>(j) i = Squeeze(k, m)", "float[2,5,7] x",
        {"m": np.array([2])}, 7),
    "truth values": ("i = Cast<to = 7>(x)", "bool[2,5] x", {}, 2),
}  # fmt: skip


@pytest.mark.parametrize("case", INSIDE.values(), ids=INSIDE)
def test_indices_that_cannot_lie_outside_are_not_cut(
    case: tuple[str, str, Constants, int],
) -> None:
    body, inputs, constants, rows = case
    depth = {"d": np.array(DEPTH, np.int32)} if "to = 6" in body else {}
    proto = model(f"{body} h = OneHot(i, d, v) y = MatMul(h, w)", inputs,
                  constants={**MARKS, **WIDE, **constants, **depth})  # fmt: skip
    rng = np.random.default_rng(3)
    shape = [d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim]
    kind = {1: np.float32, 7: np.int64, 9: np.bool_}[
        proto.graph.input[0].type.tensor_type.elem_type
    ]
    feed = {"x": rng.integers(-20, 20, shape).astype(kind)}
    after = _applied(proto, feed)
    assert after.ops.count("Clip") == body.count("Clip")
    (gather,) = [node for node in after.proto.graph.node if node.op_type == "Gather"]
    shapes = {t.name: list(t.dims) for t in after.proto.graph.initializer}
    assert shapes[gather.input[0]] == [rows, 4]
    assert optimize(proto, only=LAWS, profile=COUNTING).report.certificate.passed


def test_a_byte_has_a_row_for_each_value() -> None:
    """Bytes are cast: a Gather takes none, and 256 of them lie inside of 256 classes."""
    constants: Constants = {"n": np.arange(256, dtype=np.int64), "w": (256, 3)}
    body = "c = Cast<to = 7>(i) e = Equal(c, n) f = Cast<to = 1>(e) y = MatMul(f, w)"
    proto = model(body, "uint8[2,128,1] i", constants=constants)
    feed = {"i": np.arange(256, dtype=np.uint8).reshape(2, 128, 1)}
    after = _applied(proto, feed)
    assert sorted(after.ops) == ["Cast", "Gather", "Squeeze"]


def test_beside_other_channels_the_columns_are_split() -> None:
    body = "h = OneHot(i, d, v) c = Concat<axis = -1>(x, h) p = MatMul(c, w) y = Add(p, b)"
    constants: Constants = {**MARKS, "w": (DEPTH + 3, 4), "b": (4,)}
    proto = model(body, "int64[5,11] i, float[5,11,3] x", constants=constants)
    x = np.random.default_rng(0).integers(-4, 5, (5, 11, 3)).astype(np.float32)
    after = _applied(proto, {"i": every(np.int64, 5, 11), "x": x})
    assert after.laws >= {"onehot", "split"}
    assert after.told["after"]["macs"] == 55 * 3 * 4


def test_an_average_of_vectors_stands_behind_the_table() -> None:
    body = "h = OneHot(i, d, v) m = ReduceMean<axes = [1]>(h) y = MatMul(m, w)"
    proto = model(body, "int64[5,8] i", constants={**MARKS, **WIDE})
    after = _applied(proto, {"i": every(np.int64, 5, 8)})
    assert after.laws >= {"onehot", "commute"}
    assert after.told["after"]["macs"] == 0


def test_several_readers_each_have_a_table_and_cut_once() -> None:
    body = "h = OneHot(i, d, v) y = MatMul(h, w) z = MatMul(h, o)"
    proto = model(body, "int64[5,11] i", "y, z", {**MARKS, **WIDE, "o": (DEPTH, 9)})
    feed = {"i": every(np.int64, 5, 11)}
    after = _applied(proto, feed)
    assert sorted(after.ops) == ["Clip", "Gather", "Gather"]


def test_what_is_cast_to_other_numbers_or_turned_stays() -> None:
    """As truth values both are true, a half is no integer, and indices are not turned."""
    for body, inputs in (
        ("h = OneHot(i, d, u) t = Cast<to = 9>(h) f = Cast<to = 1>(t)", "int64[5,11] i"),
        ("h = OneHot(i, d, v) t = Cast<to = 6>(h) f = Cast<to = 1>(t)", "int64[5,11] i"),
        (
            "h = OneHot(i, d, u) t = Transpose<perm = [1,0,2]>(h) f = Cast<to = 1>(t)",
            "int64[5,11] i",
        ),
    ):
        constants: Constants = {**OTHERS, **WIDE, "u": np.array([3, -2]),
                                "v": np.array([0.5, 1], np.float32)}  # fmt: skip
        proto = model(f"{body} y = MatMul(f, w)", inputs, constants=constants)
        after = _applied(proto, {"i": every(np.int64, 5, 11)})
        assert "onehot" not in after.laws


def test_a_product_that_nothing_marks_stays() -> None:
    """A comparison with other numbers, along no axis, or of two axes that are broadcast."""
    for constants, inputs in (
        ({"n": np.array([0, 1, 3])}, "int64[5,11,1] i"),
        ({"n": np.array([1, 2, 3])}, "int64[5,11,1] i"),
        ({"n": np.arange(3)}, "int64[5,11,3] i"),
        ({"n": np.arange(3).reshape(3, 1, 1)}, "int64[1,11,3] i"),
    ):
        body = "e = Equal(i, n) f = Cast<to = 1>(e) y = MatMul(f, w)"
        proto = model(body, inputs, constants={**constants, "w": (3, 4)})
        shape = [d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim]
        after = _applied(proto, {"i": every(np.int64, *shape)})
        assert after.laws == set()


REFUSED: dict[str, tuple[str, Constants, int, str]] = {
    "no integers": ("float[5,11] i", MARKS, 17, "no integers"),
    "how many is computed": ("int64[5,11] i, int64 d", {"v": MARKS["v"]}, 17, "at run time"),
    "old": ("int64[5,11] i", MARKS, 11, "opset 11 cuts no integers"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_what_no_table_stands_for_is_refused(case: tuple[str, Constants, int, str]) -> None:
    inputs, constants, opset, why = case
    body = "h = OneHot(i, d, v) y = MatMul(h, w)"
    proto = model(body, inputs, "float[5,11,4] y", {**constants, **WIDE}, opset=opset)
    _, told = rewritten(proto, only=LAWS, profile=COUNTING)
    assert told["laws"] == []
    # The axis of a depth that is free is no number of channels: nothing is read as a map there.
    if "int64 d" not in inputs:
        assert [row["reason"] for row in told["refusals"] if why in row["reason"]]


def test_a_large_table_is_stored_once() -> None:
    """Rows for negative indices are the same rows, and a list of integers says which."""
    depth, width = 300, 256
    body = "h = OneHot(i, d, v) p = MatMul(h, w) y = Add(p, b)"
    constants: Constants = {
        "d": np.array(depth),
        "v": OTHERS["v"],
        "w": (depth, width),
        "b": (width,),
    }
    proto = model(body, "int64[5,N] i", constants=constants)
    feed = {"i": np.resize(np.arange(-depth - 4, depth + 4), (5, 160))}
    after = _applied(proto, feed)
    assert sorted(after.ops) == ["Clip", "Gather", "Gather"]
    shapes = {t.name: list(t.dims) for t in after.proto.graph.initializer}
    assert [depth + 1, width] in shapes.values()
    assert optimize(proto, only=LAWS, lost_bits=inf).report.certificate.passed


@pytest.mark.parametrize("body", [
    "h = OneHot<axis = 1>(i, d, v) y = Conv(h, k, b)",
    "h = OneHot(i, d, v) p = MatMul(h, w) y = Add(p, b)",
])  # fmt: skip
def test_a_table_is_rounded_once(body: str) -> None:
    """Weights with all their bits: each row is that of float64 until the graph is written."""
    rng = np.random.default_rng(5)
    shapes = {"w": (DEPTH, 4), "k": (4, DEPTH, 1, 1), "b": (4,), "v": (2,)}
    drawn = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    proto = model(body, "int64[2,5,11] i", constants={**drawn, "d": np.array(DEPTH)})
    alone = optimize(proto, only=LAWS, profile=COUNTING).report.certificate.alone
    assert (alone.rewrites, alone.proved) == (1, 1)


def test_small_products_and_weights_that_cancel() -> None:
    """Of a product with one that is not zero nothing cancels, whatever the signs of the weight."""
    weight = np.array([[1, -1], [-1, 1], [2, 2]], np.float32)
    constants: Constants = {"d": np.array(3), "v": MARKS["v"], "w": weight, "o": (2, 5)}
    body = "h = OneHot(i, d, v) p = MatMul(h, w) y = MatMul(p, o)"
    proto = model(body, "int64[5,11] i", constants=constants)
    result = optimize(proto, only=LAWS)
    assert [node.op_type for node in to_proto(result.model).graph.node] == ["Clip", "Gather"]
    _assert_same(proto, to_proto(result.model), {"i": every(np.int64, 5, 11)})
