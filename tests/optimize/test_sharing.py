"""Weights that several operators read: no result is larger than its original for nothing."""

from __future__ import annotations

import re
from math import inf
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx import ModelProto

from onebyone.cost.profile import DEFAULT, Profile
from onebyone.graph.write import to_proto
from onebyone.optimize import optimize
from onebyone.optimize.report import Report
from onebyone.optimize.sharing import is_kept, origin, readers

from ..graphs.laws.case import batch_norm, norm
from ..graphs.run import differences, run
from ..graphs.text import feed, model

X = "float[2,6,5,7] x, float[2,6,3,4] z"
W = {"w": (4, 6, 1, 1), "k": (4, 6, 3, 3)}


def changed(proto: ModelProto, **options: Any) -> tuple[ModelProto, Report]:
    """The optimised model, with the same answers."""
    options = {"verify": False, "profile": Profile(channels=1), "lost_bits": inf, **options}
    result = optimize(proto, **options)
    after, data = to_proto(result.model), feed(proto)
    assert differences(run(proto, data)[0], run(after, data)[0]) == []
    return after, result.report


def stored(proto: ModelProto) -> int:
    """The bytes of all initialisers."""
    return sum(len(tensor.raw_data) for tensor in proto.graph.initializer)


def both(body: str) -> str:
    """The same nodes on x and on z, as $, with results of their own."""
    return " ".join(re.sub(r"(?<=\b[a-z])_(?!\w)|_(?=_)", v, body.replace("$", v)) for v in "xz")


UNLIKE = {
    "a scale of its own behind each": "a_ = Conv($, w) y_ = Mul(a_, c_)",
    "a scale of its own before each": "a_ = Mul($, d_) y_ = Conv(a_, w)",
    "a K×K and a scale of its own": "a_ = Conv<pads = [1,1,1,1]>($, k) y_ = Mul(a_, c_)",
    "a normalisation of its own": "a_ = Conv($, k) y_ = " + batch_norm("a_", "n_"),
}
VECTORS = {f"c{v}": (4, 1, 1) for v in "xz"} | {f"d{v}": (6, 1, 1) for v in "xz"}


@pytest.mark.parametrize("name", UNLIKE)
def test_folds_that_differ_copy_no_weight(name: str) -> None:
    body = both(UNLIKE[name])
    known = {**W, **VECTORS, **norm("nx", 4), **norm("nz", 4)}
    proto = model(body, X, "yx, yz", {k: v for k, v in known.items() if k in body})
    after, report = changed(proto)
    assert report.after.parameters <= report.before.parameters
    assert stored(after) <= stored(proto)


ALIKE = {
    "one scale behind": "a_ = Conv($, w) y_ = Mul(a_, cx)",
    "one normalisation": "a_ = Conv($, k) y_ = " + batch_norm("a_", "nx"),
    "one map behind": "a_ = Conv($, w) y_ = Conv(a_, v)",
}


@pytest.mark.parametrize("name", ALIKE)
def test_folds_that_are_alike_keep_one_weight(name: str) -> None:
    body = both(ALIKE[name])
    known = {**W, **VECTORS, **norm("nx", 4), "v": (3, 4, 1, 1)}
    proto = model(body, X, "yx, yz", {k: v for k, v in known.items() if k in body})
    after, report = changed(proto)
    assert [node.op_type for node in after.graph.node] == ["Conv", "Conv"]
    assert len({node.input[1] for node in after.graph.node}) == 1
    assert report.after.parameters <= report.before.parameters


OTHERS = {
    "an embedding": "t = Reshape(w, n) g = Gather(t, at)",
    "an output": "g = Identity(w)",
    "a subgraph": "g = If<then_branch = a () => (float[2,40,5,7] r) { r = Conv(x, w) }, "
    "else_branch = b () => (float[2,40,5,7] e) { e = Conv(y, q) }>(go)",
}


@pytest.mark.parametrize("name", OTHERS)
def test_whoever_reads_it_keeps_it(name: str) -> None:
    body = f"p = Conv(x, w) y = Mul(p, cx) {OTHERS[name]}"
    # Large enough that a view of it is not stored by itself.
    known: dict[str, Any] = {"w": (40, 6, 1, 1), "cx": (40, 1, 1), "q": (40, 40, 1, 1)}
    known |= {"n": np.array([40, 6])}
    used = {k: v for k, v in known.items() if f"{k})" in body or f"{k}," in body}
    proto = model(body, "float[2,6,5,7] x, bool[1] go, int64[1] at", "y, g", used)
    _, report = changed(proto)
    assert report.after.parameters <= report.before.parameters


def test_a_copy_that_saves_multiply_accumulates_is_made() -> None:
    # 6 → 40 → 4 for one reader of the wide map; another reads it as it is.
    body = "a = Conv(x, u) y = Conv(a, v) b = Conv(z, u) s = Relu(b)"
    proto = model(body, X, "y, s", {"u": (40, 6, 1, 1), "v": (4, 40, 1, 1)})
    _, report = changed(proto)
    assert report.after.macs == report.before.macs - 70 * (40 * 6 + 4 * 40 - 4 * 6)


def test_a_copy_pays_for_its_bytes() -> None:
    # 120·100 numbers are read as it stands; the product's 100·100, and the 60·100 of u for z.
    body = "a = Conv(x, u) y = Conv(a, v) b = Conv(z, u) s = Relu(b)"
    weights = {"u": (60, 100, 1, 1), "v": (100, 60, 1, 1)}
    small = "float[1,100,1,1] x, float[1,100,1,1] z"
    proto = model(body, small, "y, s", weights)
    slow = Profile(peak=1e15, bandwidth=1e9, overhead=1e-9)
    assert changed(proto, profile=slow)[1].laws == ()
    assert [law.law for law in changed(proto)[1].laws] == ["compose"]


DEAD = np.array([[1, 2, 3, 4, 5, 6]] * 4, np.float32).reshape(4, 6, 1, 1)
DEAD[1] = DEAD[3] = 0


@pytest.mark.parametrize(("second", "rows"), [("Conv(b, v)", 2), ("Neg(b)", 4)])
def test_dead_rows_go_for_all_readers_or_none(second: str, rows: int) -> None:
    body = f"a = Conv(x, w) r = Relu(a) y = Conv(r, v) b = Conv(z, w) s = {second}"
    proto = model(body, X, "y, s", {"w": DEAD, "v": (3, 4, 1, 1)})
    after, report = changed(proto, only=["prune"])
    held = {t.name: t.dims[0] for t in after.graph.initializer if list(t.dims[1:]) == [6, 1, 1]}
    assert list(held.values()) == [rows]
    assert report.after.parameters <= report.before.parameters


@pytest.mark.parametrize("second", ["s = Conv(z, w)", "h = Gather<axis = 1>(z, j) s = Conv(h, w)"])
def test_a_shuffle_before_one_reader_of_a_weight_stays(second: str) -> None:
    body = f"a = Conv(x, u) r = Relu(a) g = Gather<axis = 1>(r, i) y = Conv(g, w) {second}"
    given = {"u": (6, 6, 1, 1), "w": (4, 6, 1, 1), "i": np.array([5, 0, 3, 1, 4, 2])}
    given |= {"j": np.array([3, 4, 5, 1, 0, 2])} if "j" in second else {}
    _, report = changed(model(body, X, "y, s", given))
    assert report.after.parameters == report.before.parameters


def test_a_shuffle_before_all_readers_of_a_weight_goes_into_it() -> None:
    body = both("r_ = Relu($) g_ = Gather<axis = 1>(r_, i) y_ = Conv(g_, w)")
    given = {"w": (4, 6, 1, 1), "i": np.array([5, 0, 3, 1, 4, 2])}
    after, report = changed(model(body, X, "yx, yz", given))
    assert report.after.parameters == report.before.parameters
    assert "Gather" not in [node.op_type for node in after.graph.node]


@pytest.mark.parametrize(
    ("rest", "positions", "laws"),
    [("", 1, ["rank"]), (" g = Gather(w, i)", 1, []), (" g = Gather(w, i)", 256, ["rank"])],
)
def test_low_rank_factors_beside_a_table_pay_for_themselves(
    rest: str, positions: int, laws: list[str]
) -> None:
    draw = np.random.default_rng(0)
    low = (draw.integers(-2, 3, (64, 20)) @ draw.integers(-2, 3, (20, 64))).astype(np.float32)
    inputs = f"float[1,{positions},64] x" + (", int64[2] i" if rest else "")
    outputs = "y, g" if rest else "y"
    proto = model(f"y = MatMul(x, w){rest}", inputs, outputs, {"w": low})
    report = optimize(proto, profile=Profile(bandwidth=1e9, peak=1e9, overhead=1e-9)).report
    assert [law.law for law in report.laws] == laws


def test_who_reads_a_weight_through_views() -> None:
    w = ir.val("w", const_value=ir.tensor([[1.0, 2.0]]))
    turned = ir.node("Transpose", [w])
    first, second = ir.node("MatMul", [ir.val("x"), turned.outputs[0]]), ir.node("Gather", [w])
    assert origin(turned.outputs[0]) is w
    assert list(readers(turned.outputs[0])) == [second, first]
    assert is_kept(turned.outputs[0], [first])
    assert not is_kept(w, [first, second])
    assert DEFAULT.reading(30) == round(30 * 4 / DEFAULT.bandwidth * 1e12)


@pytest.mark.parametrize("body", ["y = Add(x, x)", "t = Relu(x) u = Tanh(x) y = Sum(t, u, u)"])
def test_no_vector_of_twos_is_stored_for_a_sum(body: str) -> None:
    proto = model(body, "float[2,3,4,5] x")
    result = optimize(proto, verify=False)
    assert result.report.laws == ()
    assert result.report.after.parameters == 0


def test_what_lies_between_two_readers_of_a_weight_is_rewritten_too() -> None:
    """The last root first, also where the first region goes together with the last."""
    body = (
        "a = Conv(x, w) t = Conv(a, v) r = Relu(t) m = Mul(r, c) n = Add(m, d) "
        "p = Conv(n, w) q = Conv(n, u) y = Add(p, q)"
    )
    vectors = dict.fromkeys("cd", (6, 1, 1))
    known = {"w": (4, 6, 1, 1), "v": (6, 4, 1, 1), "u": (4, 6, 1, 1), **vectors}
    after, report = changed(model(body, "float[2,6,5,7] x", constants=known))
    assert {"compose", "sum", "affine"} <= {row.law for row in report.laws}
    assert [node.op_type for node in after.graph.node][-1] == "Conv"


def test_weights_are_shared_around_what_changes_too() -> None:
    """Regions that share weights are decided together, and read what was replaced meanwhile."""
    body = (
        "a = Mul(x, d) b = Conv(a, w) r = Relu(b) c = Conv(r, e) g = Conv(c, p) z = Relu(g) "
        "h = Mul(g, d) l = Conv(h, w) y = Relu(l)"
    )
    known = {"d": (6, 1, 1), "w": (6, 6, 1, 1), "e": (40, 6, 1, 1), "p": (6, 40, 1, 1)}
    after, report = changed(model(body, "float[2,6,5,7] x", "y, z", known))
    assert [node.op_type for node in after.graph.node].count("Conv") == 3
    assert sorted(law.root for law in report.laws) == ["b", "g", "l"]  # each once
