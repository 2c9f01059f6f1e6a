"""Near misses: each with the law that nearly applied, at which node, and why it did not."""

from __future__ import annotations

import re

import numpy as np
import pytest

from onebyone.algebra.laws import LAWS
from onebyone.cost.profile import DEFAULT
from onebyone.graph.read import read
from onebyone.graph.shapes import Sizes, infer
from onebyone.optimize.refusals import refusals
from onebyone.optimize.rewritten import Task

from ..graphs.text import model
from .exact import killed

X = "float[2,3,5,4] x"
W = {"w": (3, 3, 1, 1), "v": (3, 3, 1, 1), "b": (3,)}
KERNEL = {"k": (3, 3, 3, 3)}
PADS = {"p": np.array([0, 0, 1, 1, 0, 0, 1, 1])}


def told(
    body: str, *laws: str, outputs: str = "y", inputs: str = X, **constants: object
) -> list[tuple[str, str, str]]:
    """(law, output of the node, reason) of each refusal."""
    proto = model(body, inputs, outputs, constants)
    for node in proto.graph.node:
        node.name = node.output[0]
    found = read(proto)
    infer(found)
    usual = tuple(law.name for law in LAWS.values() if not law.asked)
    found_refusals = refusals(Task(found, Sizes(found), DEFAULT), laws or usual)
    return [(refusal.law, refusal.node, refusal.reason) for refusal in found_refusals]


@pytest.mark.parametrize(
    ("body", "constants", "law", "reason"),
    [
        ("a = Conv(x, w) r = Relu(a) y = Conv(r, v)", W, "compose", "Relu is nonlinear"),
        ("a = Conv(x, w) r = Softmax(a) y = Conv(r, v)", W, "compose", "Softmax is nonlinear"),
        ("a = Conv(x, w) r = MaxPool<kernel_shape = [2, 2]>(a) y = Conv(r, v)", W,
         "commute", "MaxPool is not linear"),
        ("a = Conv(x, u) y = Conv(a, t)", {"u": (1, 3, 1, 1), "t": (4, 1, 1, 1)},
         "compose", "stays factored"),
        ("p = AveragePool<kernel_shape = [2, 2]>(x) y = Conv(p, w)", W,
         "commute", "it does not pay to move a channel map past AveragePool"),
        ("a = Relu(x) p = Pad(a, p0) y = Conv(p, w, b)", {**W, "p0": PADS["p"]},
         "commute", "Pad does not keep constants"),
        ("q = Concat<axis = 1>(x, x) y = Conv(q, u)", {"u": (2, 6, 1, 1)},
         "split", "it does not pay"),
        ("g = Gather<axis = 1>(x, i) y = Conv(g, w)", {**W, "i": np.array([2, 0, 1])},
         "commute", "Gather acts on channels"),
        ("g = Slice(x, i, j, i) y = MatMul(g, m)",
         {"m": (4, 6), "i": np.array([1]), "j": np.array([2])},
         "commute", "it does not pay to move a channel map past Slice"),
        ("g = Gather<axis = 1>(x, i) y = MatMul(g, m)", {"m": (4, 6), "i": np.array(2)},
         "commute", "it does not pay to move a channel map past Gather"),
        ("g = ReduceMean<axes = [3]>(x) y = MatMul(g, m)", {"m": (1, 6)},
         "commute", "ReduceMean acts on channels"),
        ("a = Add(x, b1) y = Conv<pads = [1, 1, 1, 1]>(a, k)", {**KERNEL, "b1": (3, 1, 1)},
         "affine", "zero padding does not commute with a shift"),
        ("c = Conv(x, k) y = Conv(c, u)", {**KERNEL, "u": (8, 3, 1, 1)},
         "compose", "cost less apart"),
        ("q = Concat<axis = 2>(x, x) y = Conv(q, w)", W,
         "commute", "it does not pay to move a channel map past Concat"),
        ("p = Pad(x, c0) y = Conv(p, u)",
         {"u": (2, 5, 1, 1), "c0": np.array([0, 1, 0, 0, 0, 1, 0, 0])},
         "commute", "Pad acts on channels"),
        ("a = Add(x, b1) y = ConvTranspose(a, k)", {**KERNEL, "b1": (3, 1, 1)},
         "affine", "stamps a constant as often as a position is hit"),
        ("a = Conv(x, u, c) y = Conv<pads = [1, 1, 1, 1]>(a, t)",
         {"u": (8, 3, 1, 1), "c": (8,), "t": (2, 8, 3, 3)},
         "compose", "zero padding does not commute with a shift"),
    ],
)  # fmt: skip
def test_the_last_node_is_refused_for_a_reason(
    body: str, constants: dict[str, object], law: str, reason: str
) -> None:
    (found,) = [row for row in told(body, **constants) if row[1] == "y"]
    assert found[0] == law
    assert reason in found[2]


def test_a_bias_that_a_space_map_stops_is_told_at_the_space_map() -> None:
    body = "a = Conv(x, w, b) y = ReduceSum<keepdims = 1>(a, i)"
    rows = told(body, i=np.array([2]), **W)
    assert [(law, node) for law, node, _ in rows] == [("commute", "y")]
    assert told(body.replace(", b)", ")"), i=np.array([2]), **W) == []
    # No map would be moved onto more positions.
    assert told("a = Conv(x, w, b) y = Pad(a, p)", **W, **PADS) == []


def test_two_kernels_are_no_near_miss() -> None:
    assert told("a = Conv(x, k) y = Conv(a, k)", **KERNEL) == []


def test_a_product_of_two_values_is_no_near_miss() -> None:
    assert told("s = Relu(x) a = Mul(x, s) y = Conv(a, w)", w=W["w"]) == []
    # A vector that widens what it meets is no channel map either.
    assert (
        told("a = Mul(x1, c) y = Conv(a, w)", inputs="float[2,1,5,4] x1", c=(3, 1, 1), w=W["w"])
        == []
    )


def test_a_shared_result_stays() -> None:
    body = "a = Conv(x, w) r = Relu(a) y = Conv(a, v)"
    assert ("compose", "y", "the result of Conv has other consumers") in told(
        body, outputs="y, r", **W
    )


def test_weights_computed_at_run_time() -> None:
    rows = told("y = Conv(x, z)", inputs=X + ", float[2,3,1,1] z")
    assert [(law, node) for law, node, _ in rows] == [("compose", "y")]
    assert "its weight is no constant" in rows[0][2]


def test_only_laws_in_force_are_told() -> None:
    body = "a = Conv(x, w) r = Relu(a) y = Conv(r, v)"
    assert told(body, "commute", **W) == []
    assert [law for law, _, _ in told(body, "compose", **W)] == ["compose"]


def test_nothing_is_told_where_nothing_is_near() -> None:
    assert told("r = Relu(x) y = Sigmoid(r)") == []
    assert told("y = Conv(x, w)", **W) == []


AFTER_A_STRIDE = {
    "the result of Relu is read at other positions too": "r = Relu(t) y = S(r, v) z = Abs(r)",
    "Conv rounds its sizes up, or pads by itself": 'r = Conv<auto_pad = "SAME_UPPER">(t, k) '
    "y = S(r, v) z = Neg(x)",
    "Softmax does more than one position at a time along this axis": "r = Softmax<axis = 2>(t) "
    "y = S(r, v) z = Neg(x)",
    "to select on the way costs more than is saved": "a = Add(t, q) z = Neg(q) r = Relu(a) "
    "y = S(r, v)",
}


@pytest.mark.parametrize("reason", AFTER_A_STRIDE)
def test_a_stride_that_stays_says_why(reason: str) -> None:
    steps = AFTER_A_STRIDE[reason].replace("S(", "Conv<strides = [2, 2]>(")
    body = f"t = Conv<group = 3>(x, d) {steps}"
    weights = {"d": (3, 1, 1, 1), **W, **KERNEL}
    used = {name: shape for name, shape in weights.items() if f" {name})" in body}
    inputs = f"{X}, float[2,3,5,4] q"
    assert ("demand", "y", reason) in told(body, outputs="y, z", inputs=inputs, **used)


CROP = {"s": np.array([1]), "e": np.array([3]), "a": np.array([2])}
BEFORE_A_CROP = {
    "the result of Relu is read at other positions too": "r = Relu(t) z = Abs(r)",
    "Resize does more than one position at a time along this axis": "z = Abs(q) "
    'r = Resize<mode = "linear">(t, , f)',
    "Softmax does more than one position at a time along this axis": "z = Abs(q) "
    "m = Softmax<axis = 2>(t) r = Neg(m)",
    "Concat joins positions along this axis": "z = Abs(q) r = Concat<axis = 2>(t, q)",
    "to select on the way costs more than is saved": "m = Add(t, q) r = Relu(m) z = Abs(q)",
}


@pytest.mark.parametrize("reason", BEFORE_A_CROP)
def test_a_crop_that_stays_says_why(reason: str) -> None:
    body = f"t = Conv(x, w) {BEFORE_A_CROP[reason]} y = Slice(r, s, e, a)"
    scales = {"f": np.float32([1, 1, 2, 1])} if ", f)" in body else {}
    inputs = f"{X}, float[2,3,5,4] q"
    found = told(body, "demand", outputs="y, z", inputs=inputs, w=W["w"], **CROP, **scales)
    assert found == [("demand", "y", reason)]


def test_a_crop_behind_a_kernel_on_a_free_axis_says_why() -> None:
    body = "t = Conv<pads = [1, 1, 1, 1]>(x, k) r = Relu(t) y = Slice(r, s, e, a)"
    found = told(body, "demand", inputs="float[2,3,H,4] x", **KERNEL, **CROP)
    assert found == [("demand", "y", "the size of this axis is free, and Conv hangs on it")]


NOTHING_LOST = {
    "of channels": ("t = Conv(x, w) y = Slice(t, s, e, one)", "y"),
    "of an input": ("r = Relu(x) y = Slice(r, s, e, a) z = Abs(r)", "y, z"),
    "several that share out what there is": (
        "t = Conv(x, w) r = Relu(t) y = Slice(r, s, e, a) z = Slice(r, e, far, a)",
        "y, z",
    ),
    "a query of a packed one": (
        "t = Conv(x, u) p = Reshape(t, n) c = Transpose<perm = [2, 0, 1, 3, 4]>(p) "
        "y = Slice(c, s, e, zero) z = Abs(c)",
        "y, z",
    ),
}


@pytest.mark.parametrize("name", NOTHING_LOST)
def test_nothing_is_told_of_crops_that_lose_nothing(name: str) -> None:
    body, outputs = NOTHING_LOST[name]
    known = {**CROP, "w": W["w"], "u": (6, 3, 1, 1), "one": np.array([1]), "zero": np.array([0])}
    known |= {"far": np.array([9]), "n": np.array([2, 2, 3, 5, 4])}
    words = re.findall(r"\w+", body)
    used = {key: given for key, given in known.items() if key in words}
    assert told(body, "demand", outputs=outputs, **used) == []


def test_zeros_that_stay_say_why() -> None:
    rows = killed("w", (6, 3, 1, 1), rows=(1, 4))
    columns = killed("v", (4, 6, 1, 1), columns=(2,))
    body = "t = Conv(x, w, b) y = Conv<pads = [1, 1, 1, 1]>(t, v) z = Abs(t)"
    found = told(body, "prune", outputs="y, z", w=rows, b=(6,), v=columns)
    assert found == [
        (
            "prune",
            "t",
            "2 rows of zeros stay: they fill up a width, or others add to, pad or need them",
        ),
        (
            "prune",
            "y",
            "1 columns of zeros stay: they fill up a width, or others read what they meet",
        ),
    ]


def test_a_shuffle_that_stays_says_why() -> None:
    found = told("t = Relu(x) y = Gather<axis = 1>(t, i)", "permute", i=np.array([2, 0, 1]))
    reason = "others count on the order of these channels, or on two orders"
    assert found == [("permute", "y", reason)]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_normalisation_of_other_channels_is_no_kernel(channels: int) -> None:
    """Axis 1 is normalised and the last one mapped: there is nothing to multiply the map into."""
    vector = killed("s", (channels,))
    body = "n = BatchNormalization(x, s, s, s, v) y = MatMul(n, w)"
    found = told(
        body, inputs=f"float[2,{channels},5] x", outputs="y, n", s=vector, v=vector**2, w=(5, 3)
    )
    assert [law for law, _, _ in found if law == "compose"] == []
