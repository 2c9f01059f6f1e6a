"""Near misses: each with the law that nearly applied, at which node, and why it did not."""

from __future__ import annotations

import numpy as np
import pytest

from onebyone.algebra.laws import LAWS
from onebyone.graph.read import read
from onebyone.graph.shapes import Sizes, infer
from onebyone.optimize.refusals import refusals

from ..graphs.text import model

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
    found_refusals = refusals(found.graph, Sizes(found), laws or tuple(LAWS))
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
         "commute", "picks channels"),
        ("a = Add(x, b1) y = Conv<pads = [1, 1, 1, 1]>(a, k)", {**KERNEL, "b1": (3, 1, 1)},
         "affine", "zero padding does not commute with a shift"),
        ("c = Conv(x, k) y = Conv(c, w)", {**KERNEL, **W}, "compose", "cost less apart"),
    ],
)  # fmt: skip
def test_the_last_node_is_refused_for_a_reason(
    body: str, constants: dict[str, object], law: str, reason: str
) -> None:
    (found,) = [row for row in told(body, **constants) if row[1] == "y"]
    assert found[0] == law
    assert reason in found[2]


def test_a_bias_that_a_space_map_stops_is_told_at_the_space_map() -> None:
    body = "a = Conv(x, w, b) y = Pad(a, p)"
    rows = told(body, **W, **PADS)
    assert [(law, node) for law, node, _ in rows] == [("commute", "y")]
    assert told("a = Conv(x, w) y = Pad(a, p)", **W, **PADS) == []


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
