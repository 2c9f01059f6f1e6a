"""Stack: a Concat that puts together what a Split took apart is no operator."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto

from onebyone.cost.profile import Profile

from ...graphs.text import model
from ..exact import optimized

BUSY = Profile(overhead=1.0)  # an operator costs more than all that it does
X = "float[2,5,4,7] x"


def _stacked(proto: ModelProto) -> list[str]:
    return optimized(proto, "stack", profile=BUSY).ops


PARTS = {"n": np.array([2, 3], np.int64), "m": np.array([1, 3, 1], np.int64)}


@pytest.mark.parametrize(
    "body",
    [
        "a = Sin(x) p, q = Split<axis = 1>(a, n) c = Concat<axis = -3>(p, q) y = Abs(c)",
        "a = Sin(x) p, q = Split<axis = 1>(a, n) y = Concat<axis = 1>(p, q)",
        "p, q = Split<axis = 1>(x, n) c = Concat<axis = 1>(p, q) y = Abs(c)",
    ],
)
def test_a_split_and_its_concat_are_nothing(body: str) -> None:
    proto = model(body, X, constants={"n": PARTS["n"]})
    left = [name for name in ("Sin", "Abs") if name in body]
    assert _stacked(proto) == left


@pytest.mark.parametrize(
    "body",
    [
        "a = Sin(x) p, q = Split<axis = 1>(a, n) y = Concat<axis = 1>(q, p)",
        "a = Sin(x) p, q = Split<axis = 1>(a, n) y = Concat<axis = 1>(p, q, q)",
        "a = Sin(x) p, q, r = Split<axis = 1>(a, m) y = Concat<axis = 1>(p, q, r, r)",
        "a = Sin(x) p, q = Split<axis = 2>(a) y = Concat<axis = 3>(p, q)",
        "p, q = Split<axis = 1>(x, n) y = Concat<axis = 1>(p, q)",
    ],
)
def test_a_concat_of_anything_else_stays(body: str) -> None:
    """Another order, parts twice, other axes; an input as an output."""
    proto = model(body, X, constants={k: v for k, v in PARTS.items() if f", {k})" in body})
    assert _stacked(proto) == [node.op_type for node in proto.graph.node]
