"""What is as cheap as it stands stays as it is: not an operator or a number for another."""

from __future__ import annotations

import re
from math import inf

import numpy as np
import pytest

from onebyone.graph.write import to_proto
from onebyone.optimize import optimize

from ..graphs.run import differences, run
from ..graphs.text import feed, integers, model

CONSTANTS = {
    "w": integers("w", (5, 7)),
    "r": integers("r", (7,)),
    "c": np.array([3], np.float32),
    "k": integers("k", (7, 1, 1, 1)),
}


def _constants(body: str) -> dict[str, np.ndarray]:
    return {name: c for name, c in CONSTANTS.items() if re.search(rf"\b{name}\b", body)}


@pytest.mark.parametrize(
    ("body", "inputs"),
    [
        # A mask that the Sub broadcasts: its sign is the Sub's, and no scale of its own.
        ("s = MatMul(x, w) m = Mul(z, c) y = Sub(s, m)", "float[2,3,5] x, float[2,1,7] z"),
        ("s = MatMul(x, w) m = Mul(z, c) y = Sub(s, m)", "float[2,3,5] x, float[2,3,7] z"),
        # Minus one is stored nowhere.
        ("e = Sub(r, x) b = MatMul(z, w) y = Add(e, b)", "float[2,3,7] x, float[2,3,5] z"),
    ],
)
def test_it_stays(body: str, inputs: str) -> None:
    proto = model(body, inputs, constants=_constants(body))
    result = optimize(proto, verify=False, lost_bits=inf)
    assert result.report.laws == ()
    left, given = (
        [(n.op_type, *n.input) for n in each.graph.node] for each in (to_proto(result.model), proto)
    )
    assert left == given


@pytest.mark.parametrize(
    ("body", "shape", "operators"),
    [
        ("s = Sum(x, z, u) t = Mul(s, c) y = MatMul(t, w)", [2, 3, 5], ["Sum", "MatMul"]),
        ("s = Sum(x, z, x) a = Add(s, c) y = Conv(a, k)", [2, 1, 3, 5], ["Sum", "Conv"]),
    ],
)
def test_a_sum_of_three_stays_one_operator(
    body: str, shape: list[int], operators: list[str]
) -> None:
    inputs = ", ".join(f"float{shape} {name}" for name in "xzu")
    proto = model(body, inputs, constants=_constants(body))
    after = to_proto(optimize(proto, verify=False, lost_bits=inf).model)
    assert [node.op_type for node in after.graph.node] == operators
    (a,), (b,) = run(proto, feed(proto)), run(after, feed(proto))
    assert differences(a, b) == []
