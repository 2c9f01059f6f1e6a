"""Channels that stay although they are dead: convolutions read widths that engines are fast at."""

from __future__ import annotations

import numpy as np
import pytest

from onebyone.cost.profile import DEFAULT, Profile

from ...graphs.text import model
from ..exact import Outcome, killed, optimized

X = "float[2,3,5,7] x"
READERS = {
    "a 1×1": ("y = Conv(r, v)", (5, 1, 1)),
    "a 3×3": ("y = Conv<pads = [1, 1, 1, 1]>(r, v)", (5, 3, 3)),
    "a depthwise 3×3": ("d = Conv<group = 24>(r, k) y = Conv(d, v)", (5, 1, 1)),
}


def pruned(live: int, all_: int = 24, multiple: int = 4, reader: str = "a 1×1") -> Outcome:
    """A 1×1 of which so many rows are not zero, in front of what reads them."""
    body, (c_out, *kernel) = READERS[reader]
    constants = {
        "w": killed("w", (all_, 3, 1, 1), rows=tuple(range(1, 1 + all_ - live))),
        "v": (c_out, all_, *kernel),
        "k": (all_, 1, 3, 3),
    }
    if "k)" not in body:
        del constants["k"]
    proto = model(f"t = Conv(x, w) r = Relu(t) {body}", X, "y", constants)
    return optimized(proto, "prune", profile=Profile(channels=multiple))


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(("live", "left"), [(20, 20), (19, 20), (18, 20), (17, 17)])
def test_convolutions_read_multiples(reader: str, live: int, left: int) -> None:
    after = pruned(live, reader=reader)
    assert after.weights()[0] == [left, 3, 1, 1]
    assert {shape[0] if shape[1] == 1 else shape[1] for shape in after.weights()[1:]} == {left}
    notes = {row["note"] for row in after.told["laws"]}
    said = (
        f"{left - live} dead channels stay to fill up multiples of 4: "
        'a profile of {"channels": 1} takes them out'
    )
    assert notes == {said if left > live else ""}


@pytest.mark.parametrize(
    ("live", "all_", "multiple", "left"),
    [
        (7, 24, 4, 7),  # a seventh more
        (11, 24, 4, 12),  # an eleventh
        (25, 27, 4, 25),  # there are only two that could stay
        (25, 28, 4, 28),  # so nothing changes
        (19, 24, 8, 19),
        (22, 27, 8, 24),
        (19, 24, 1, 19),
    ],
)
def test_at_most_an_eighth_more_stays(live: int, all_: int, multiple: int, left: int) -> None:
    assert pruned(live, all_, multiple).weights()[0] == [left, 3, 1, 1]


def test_matrix_products_read_any_width() -> None:
    dead = killed("w", (7, 24), columns=(1, 2, 5))
    proto = model("t = MatMul(x, w) r = Relu(t) y = MatMul(r, v)", "float[2,3,7] x", "y",
                  {"w": dead, "v": (24, 5)})  # fmt: skip
    after = optimized(proto, "prune", profile=DEFAULT)
    assert after.weights("MatMul") == [[7, 21], [21, 5]]


def test_grouped_convolutions_read_any_width() -> None:
    """A group of 6 and of 5, of which one could go: both would keep a multiple of four of none."""
    dead = killed("w", (24, 3, 1, 1), rows=(0, 12))
    proto = model("t = Conv(x, w) r = Relu(t) y = Conv<group = 2>(r, v)", X, "y",
                  {"w": dead, "v": (4, 12, 3, 3)})  # fmt: skip
    assert optimized(proto, "prune", profile=DEFAULT).weights() == [[22, 3, 1, 1], [4, 11, 3, 3]]


def test_what_is_added_up_keeps_one_width() -> None:
    body = "t = Conv(x, w) u = Conv(x, k) a = Add(t, u) r = Relu(a) y = Conv(r, v) z = Conv(t, h)"
    constants = {
        "w": killed("w", (24, 3, 1, 1), rows=(1, 4, 5, 6, 20)),
        "k": killed("k", (24, 3, 1, 1), rows=(0, 1, 4, 5, 6, 20)),
        "v": (5, 24, 1, 1),
        "h": (2, 24, 1, 1),
    }
    after = optimized(model(body, X, "y, z", constants), "prune", profile=DEFAULT)
    assert [shape[:2] for shape in after.weights()] == [[20, 3], [20, 3], [5, 20], [2, 20]]


def test_a_concat_is_wide_enough_if_its_parts_are() -> None:
    body = "t = Conv(x, w) u = Conv(x, k) c = Concat<axis = 1>(t, u) y = Conv(c, v) z = Conv(u, h)"
    constants = {
        "w": killed("w", (27, 3, 1, 1), rows=(1, 4)),  # 25
        "k": killed("k", (32, 3, 1, 1), rows=(2, 3)),  # 30, of which a convolution reads 32
        "v": (5, 59, 1, 1),
        "h": (2, 32, 1, 1),
    }
    after = optimized(model(body, X, "y, z", constants), "prune", profile=DEFAULT)
    # 25 + 32 = 57 would be 60, but only two are left: they go.
    assert [shape[:2] for shape in after.weights()] == [[25, 3], [32, 3], [5, 57], [2, 32]]


def test_channels_that_few_convolutions_read_stay_first() -> None:
    """As in a DenseNet: with dead ones of t, t would be of odd width and to be filled up too."""
    body = "t = Conv(x, w) u = Conv(t, k) c = Concat<axis = 1>(t, u) y = Conv(c, v)"
    constants = {
        "w": killed("w", (24, 3, 1, 1), rows=(0, 1, 2, 3)),  # 20
        "k": killed("k", (16, 24, 1, 1), rows=(0, 1)),  # 14
        "v": (5, 40, 1, 1),
    }
    after = optimized(model(body, X, "y", constants), "prune", profile=DEFAULT)
    assert [shape[:2] for shape in after.weights()] == [[20, 3], [16, 20], [5, 36]]


def test_constants_that_stay_keep_their_values() -> None:
    """The channels that stay hold 3 behind the activation, not 0."""
    dead = killed("w", (16, 3, 1, 1), rows=(0, 1, 2, 3, 4))  # 11 are left
    bias = np.full(16, 3, np.float32)
    proto = model("t = Conv(x, w, b) r = Relu(t) y = Conv(r, v)", X, "y",
                  {"w": dead, "b": bias, "v": (5, 16, 1, 1)})  # fmt: skip
    assert optimized(proto, "prune", profile=DEFAULT).weights() == [[12, 3, 1, 1], [5, 12, 1, 1]]
