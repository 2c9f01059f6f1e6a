"""What the original gives, and what is known of how the engine computes it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from onebyone.graph.read import read
from onebyone.optimize.answers import Answer, Reference, noise
from onebyone.optimize.inputs import Feed

from ..graphs.text import model


def floor(body: str, x: str = "float[1] x") -> float:
    """What the engine loses in the output of these nodes, at values of any size."""
    proto = model(body, x)
    y = {"y": np.zeros(1, np.float32)}
    answer = Answer(Feed("random", {}), y)
    return noise(read(proto), answer, Reference(y, "", independent=False), "y").floor


@pytest.mark.parametrize(
    ("body", "holds"),
    [
        ("y = Sigmoid(x)", True),
        ("s = Sigmoid(x) n = Neg(x) y = Concat<axis = 0>(n, s)", True),
        ("s = Sigmoid(x) r = Identity(s) y = Identity(r)", True),
        ("s = Sigmoid(x) y = Neg(s)", False),
        ("y = Identity(x)", False),
    ],
)
def test_a_sigmoid_is_seen_through_layout_alone(body: str, holds: bool) -> None:
    assert (floor(body) > 0) == holds


def test_a_tensor_joined_with_itself_again_and_again_is_looked_at_once() -> None:
    """2^70 paths lead back to the input, which is empty."""
    names = ["x", *(f"v{k}" for k in range(69)), "y"]
    body = " ".join(f"{b} = Concat<axis = 0>({a}, {a})" for a, b in pairwise(names))
    assert floor(body, "float[0] x") == 0
