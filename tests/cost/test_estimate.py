"""The modelled time of a graph, node by node."""

from __future__ import annotations

import pytest

from onebyone.cost.estimate import estimate
from onebyone.cost.profile import Profile
from onebyone.graph.count import tally
from onebyone.graph.read import read
from onebyone.graph.shapes import Sizes, infer

from ..graphs.text import model

# A start, a MAC and an element a second.
UNIT = Profile(
    peak=1.0,
    bandwidth=4.0,
    overhead=1.0,
    transpose=3.0,
    split=2.0,
    resize=5.0,
    softmax=7.0,
    stamp=1.5,
)
X = "float[2,3,5,4] x"  # 40 positions, 120 elements


def seconds(body: str, inputs: str = X, shapes: dict | None = None, **constants: tuple) -> float:
    found = read(model(body, inputs, constants=constants))
    infer(found)
    sizes = Sizes(found, shapes)
    return estimate(found.graph, sizes, tally(found, sizes), UNIT)


@pytest.mark.parametrize(
    ("body", "constants", "expected"),
    [
        ("y = Relu(x)", {}, 1 + 2 * 120),
        ("y = Conv(x, w)", {"w": (7, 3, 1, 1)}, 1 + 40 * 21),
        ("y = Conv<group = 3>(x, w)", {"w": (3, 1, 1, 1)}, 1 + 2 * 120 + 3),
        ("y = ConvTranspose(x, w)", {"w": (3, 7, 1, 1)}, 1 + 40 * 21 * 1.5),
        ("y = Transpose(x)", {}, 1 + 2 * 120 * 3),
        ("y = Softmax<axis = 1>(x)", {}, 1 + 2 * 120 * 7),
        ("y = Softmax<axis = -3>(x)", {}, 1 + 2 * 120 * 7),
        ("y = Softmax<axis = 2>(x)", {}, 1 + 2 * 120),
        ("y = Softmax(x)", {}, 1 + 2 * 120),
        ("p, y = Split<axis = 3>(x)", {}, 1 + 2 * 120 * 2),
        ("y = Flatten(x)", {}, 1),
        ("r = Relu(x) y = Flatten(r)", {}, 2 + 2 * 120),
        ("s = Shape(x) y = ConstantOfShape(s)", {}, 1 + 1 + 120),
    ],
)
def test_work_or_traffic_and_a_start(
    body: str, constants: dict[str, tuple[int, ...]], expected: int
) -> None:
    assert seconds(body, **constants) == expected


def test_free_dimensions_have_the_sizes_asked_for() -> None:
    assert seconds("y = Relu(x)", "float[n,3] x", {"x": (5, 3)}) == 1 + 2 * 15
