"""prune: what is constant in all of its channels goes whole: branches, gates, parts of a concat."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

from onebyone.cost.profile import Profile
from onebyone.optimize import optimize

from ...graphs.text import model
from ..exact import ANY_WIDTH, COUNTING, killed, optimized

X = "float[2,3,5,7] x"
FREE = "float[N,3,H,7] x"
EIGHT = Profile(channels=8)


def _off(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


def _model(body: str, inputs: str = X, outputs: str = "y", **constants: Any) -> ModelProto:
    return model(body, inputs, outputs, constants)


CONV = "pads = [1, 1, 1, 1]"
ZERO = {"v": _off(3, 4, 3, 3)}
BRANCHES = {
    "a last layer of zeros": (f"t = Conv<{CONV}>(x, w) r = Relu(t) b = Conv<{CONV}>(r, v)", ZERO),
    "with a bias": (f"t = Conv<{CONV}>(x, w) b = Conv<{CONV}>(t, v, c)", {**ZERO, "c": (3,)}),
    "behind a nonlinearity": (f"t = Conv<{CONV}>(x, w) u = Conv<{CONV}>(t, v, c) b = Sigmoid(u)",
                              {**ZERO, "c": _off(3)}),
    "a layer scale of zeros": (
        f"t = Conv<{CONV}>(x, w) u = Conv<{CONV}>(t, v) b = Mul(u, s)",
        {"v": (3, 4, 3, 3), "s": _off(3, 1, 1)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BRANCHES)
@pytest.mark.parametrize("join", ["Add(x, b)", "Sub(b, x)", "Max(x, b)"])
def test_a_branch_that_is_constant_goes_whole(name: str, join: str) -> None:
    nodes, constants = BRANCHES[name]
    proto = _model(f"{nodes} j = {join} y = Tanh(j)", w=(4, 3, 3, 3), **constants)
    after = optimized(proto, "prune")
    assert "Conv" not in after.ops
    assert after.laws <= {"prune"}
    assert after.told["after"]["macs"] == 0


def test_on_free_sizes() -> None:
    nodes, constants = BRANCHES["with a bias"]
    proto = _model(f"{nodes} j = Add(b, x) y = Relu(j)", FREE, w=(4, 3, 3, 3), **constants)
    assert optimized(proto, "prune", {"N": 1, "H": 1}, {"N": 3, "H": 6}).ops == ["Add", "Relu"]


def test_adding_zeros_leaves_nothing() -> None:
    nodes, constants = BRANCHES["a last layer of zeros"]
    proto = _model(f"{nodes} j = Add(b, x) y = Relu(j)", w=(4, 3, 3, 3), **constants)
    assert optimized(proto, "prune").ops == ["Relu"]


def test_a_block_of_tokens() -> None:
    proto = _model(
        "t = MatMul(x, w) r = Relu(t) u = MatMul(r, v) b = Add(u, c) y = Add(b, x)",
        "float[N,7,3] x",
        w=(3, 8),
        v=_off(8, 3),
        c=(3,),
    )
    assert optimized(proto, "prune", {"N": 1}, {"N": 2}).ops == ["Add"]


def test_a_gate_that_always_says_the_same() -> None:
    proto = _model(
        "e = Conv(x, s) q = Relu(e) p = GlobalAveragePool(q) t = Conv(p, w) r = Relu(t) "
        "u = Conv(r, v, c) g = Relu(u) m = Mul(q, g) y = Tanh(m)",
        s=(3, 3, 1, 1),
        w=(4, 3, 1, 1),
        v=_off(3, 4, 1, 1),
        c=np.array([2, -1, 3], np.float32),
    )
    assert optimized(proto, "prune").ops == ["Conv", "Relu", "Mul", "Tanh"]


def test_of_one_block_after_another() -> None:
    proto = _model(
        f"t = Conv<{CONV}>(x, w) a = Conv<{CONV}>(t, v) j = Add(x, a) r = Relu(j) "
        f"u = Conv<{CONV}>(r, w) b = Conv<{CONV}>(u, v) k = Add(r, b) y = Relu(k)",
        w=(4, 3, 3, 3),
        **ZERO,
    )
    assert optimized(proto, "prune").ops == ["Relu"]


def test_it_is_proved() -> None:
    nodes, constants = BRANCHES["a last layer of zeros"]
    proto = _model(f"{nodes} j = Add(b, x) y = Relu(j)", FREE, w=(4, 3, 3, 3), **constants)
    report = optimize(proto, only=["prune"]).report
    assert report.certificate.passed
    assert report.after.macs == 0
    (row,) = report.laws
    assert (row.law, row.saved_macs) == ("prune", report.before.macs)


@pytest.mark.parametrize(
    ("body", "constants"),
    [
        # Its channels vary: one row is not zero.
        (f"b = Conv<{CONV}>(x, v) y = Add(x, b)", {"v": killed("v", (3, 3, 3, 3), rows=(0, 1))}),
        # A constant behind zeros is none at the borders.
        (f"u = Conv(x, z, c) b = Conv<{CONV}>(u, v) y = Add(x, b)",
         {"z": _off(4, 3, 1, 1), "c": (4,), "v": (3, 4, 3, 3)}),
    ],
    ids=["a row", "borders"],
)  # fmt: skip
def test_what_varies_stays(body: str, constants: dict[str, Any]) -> None:
    assert "Conv" in optimized(_model(body, **constants), "prune").ops


def test_what_gives_the_result_its_size_stays() -> None:
    """x has one position: without the branch the sum would have one, too."""
    proto = _model(
        "e = Conv(x, s) q = Relu(e) b = Conv(z, v, c) y = Add(q, b)",
        "float[2,2,1,1] x, float[2,4,5,7] z",
        s=(3, 2, 1, 1),
        v=_off(3, 4, 1, 1),
        c=(3,),
    )
    assert optimized(proto, "prune").weights() == [[3, 2, 1, 1], [3, 4, 1, 1]]


def test_what_the_caller_reads_stays() -> None:
    nodes, constants = BRANCHES["with a bias"]
    proto = _model(f"{nodes} y = Add(b, x)", outputs="y, b", w=(4, 3, 3, 3), **constants)
    assert "Conv" in optimized(proto, "prune").ops


# Parts of a concat --------------------------------------------------------------------------------

PARTS = f"a = Conv(x, w) b = Conv<{CONV}>(x, k) c = Conv<{CONV}>(x, v, d) j = Concat<axis = 1>"
WEIGHTS = {"w": (7, 3, 1, 1), "k": (8, 3, 3, 3), "v": _off(9, 3, 3, 3), "d": (9,)}


@pytest.mark.parametrize("profile", [ANY_WIDTH, EIGHT], ids=["any width", "blocks of eight"])
@pytest.mark.parametrize("order", ["a, b, c", "c, a, b"])
def test_a_part_of_a_concat_goes_whole(order: str, profile: Profile) -> None:
    """Fifteen channels are left: none of the sixteenth is computed to fill them up."""
    proto = _model(f"{PARTS}({order}) r = Relu(j) y = Conv(r, h)", h=(4, 24, 1, 1), **WEIGHTS)
    after = optimized(proto, "prune", profile=profile)
    assert after.weights() == [[7, 3, 1, 1], [8, 3, 3, 3], [4, 15, 1, 1]]


def test_what_nobody_reads_of_a_concat_goes_too() -> None:
    columns = tuple(range(15, 24))
    weights = {**WEIGHTS, "v": (9, 3, 3, 3), "h": killed("h", (4, 24, 1, 1), columns=columns)}
    proto = _model(f"{PARTS}(a, b, c) r = Relu(j) y = Conv(r, h)", **weights)
    assert optimized(proto, "prune").weights() == [[7, 3, 1, 1], [8, 3, 3, 3], [4, 15, 1, 1]]


def test_all_but_one_part() -> None:
    proto = _model(
        "a = Conv(x, w) c = Conv(x, v, d) j = Concat<axis = 1>(c, a, c) y = Conv(j, h)",
        w=(7, 3, 1, 1), v=_off(9, 3, 1, 1), d=(9,), h=(4, 25, 1, 1),
    )  # fmt: skip
    assert optimized(proto, "prune").ops == ["Conv", "Conv"]


def test_a_chain_that_only_a_dead_part_reads_goes_with_it() -> None:
    proto = _model(
        f"a = Conv(x, w) t = Conv<{CONV}>(x, k) r = Relu(t) c = Conv<{CONV}>(r, v, d) "
        "s = Relu(c) j = Concat<axis = 1>(a, s) y = Conv(j, h)",
        w=(7, 3, 1, 1), k=(8, 3, 3, 3), v=_off(9, 8, 3, 3), d=(9,), h=(4, 16, 1, 1),
    )  # fmt: skip
    assert optimized(proto, "prune").weights() == [[7, 3, 1, 1], [4, 7, 1, 1]]


def test_parts_on_free_sizes_are_proved() -> None:
    proto = _model(f"{PARTS}(a, c, b) r = Relu(j) y = Conv(r, h)", FREE, h=(4, 24, 1, 1), **WEIGHTS)
    report = optimize(proto, only=["prune"], profile=COUNTING).report
    assert report.certificate.passed
    assert [row.law for row in report.laws] == ["prune"]


@pytest.mark.parametrize(
    "tail",
    [
        # A constant other than zero, beside padding.
        f"r = Relu(j) y = Conv<{CONV}>(r, h)",
        # Somebody counts on all channels.
        "r = Relu(j) y = Softmax<axis = 1>(r)",
    ],
    ids=["borders", "another reader"],
)
def test_a_part_that_is_asked_for_stays(tail: str) -> None:
    kernel = {"h": (4, 24, 3, 3)} if "h)" in tail else {}
    d = {"d": np.arange(1, 10, dtype=np.float32)}
    proto = _model(f"{PARTS}(a, b, c) {tail}", **(WEIGHTS | d | kernel))
    assert 9 in [shape[0] for shape in optimized(proto, "prune").weights()]


def test_a_piece_of_a_split_stays_beside_the_others() -> None:
    """A Split into no channels is none."""
    proto = _model(
        "t = Conv(x, w) a, b = Split<axis = 1>(t, n) r = Relu(b) j = Concat<axis = 1>(a, r) "
        "y = Conv(j, h)",
        w=(9, 3, 1, 1),
        n=np.array([5, 4]),
        h=killed("h", (4, 9, 1, 1), columns=(5, 6, 7, 8)),
    )
    assert optimized(proto, "prune").weights() == [[6, 3, 1, 1], [4, 6, 1, 1]]
