"""Words: every order of evaluation that is allowed gives the value of the original order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from onebyone.algebra.channel import ChannelMap
from onebyone.algebra.pool import AveragePool, Sum
from onebyone.algebra.resize import Resize
from onebyone.algebra.selection import Expand, Pad, Select, Slice, Tile, subsample
from onebyone.algebra.space import AxisMap, apply
from onebyone.algebra.weights import summed
from onebyone.algebra.word import Pending, Word, product

from .test_channel import WIDTHS, channel_maps

__all__ = ["OnAxis", "factors", "in_order"]

HEIGHT, WIDTH = 3, 1


@dataclass(frozen=True)
class OnAxis:
    """An axis map on one axis of (N, C, H, W); `rounds`: as if its weights were computed."""

    axis: int
    map: AxisMap
    rounds_constants: bool = False

    @property
    def preserves_constants(self) -> bool:
        return self.map.preserves_constants

    @property
    def broadcasts(self) -> bool:
        return self.map.broadcasts

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return apply({self.axis: self.map}, x)


# All of them exact: their weights are multiples of 1/16.
KEEPING = [
    Slice(step=-1),
    Slice(0, 2),
    subsample(2),
    Select((0, -1, 0)),
    Tile(2),
    Pad(0, 2, "edge"),
    AveragePool(2, 1, 0, 1),
    AveragePool(2, 2, ceil_mode=True),
    Resize("nearest", scale=2.0),
    Resize("linear", scale=2.0),
]
BREAKING = [Pad(1, 0), Pad(1, 2), Sum(), AveragePool(2, 1, 1, 1, count_include_pad=True)]

Factor = ChannelMap | OnAxis


@st.composite
def factors(draw: st.DrawFn, c_in: int, *, most: int = 6) -> list[Factor]:
    """Maps and spaces in the order in which they are applied to (N, c_in, HEIGHT, WIDTH)."""
    drawn: list[Factor] = []
    channels, sizes = c_in, {2: HEIGHT, 3: WIDTH}
    for _ in range(draw(st.integers(0, most))):
        if draw(st.booleans()):
            width = draw(WIDTHS)
            drawn.append(draw(channel_maps(channels, width)))
            channels = width
        else:
            axis = draw(st.sampled_from([2, 3]))
            here = [Expand(3)] if sizes[axis] == 1 else []
            axis_map = draw(st.sampled_from([*KEEPING, *BREAKING, *here]))
            drawn.append(OnAxis(axis, axis_map, draw(st.integers(0, 3)) == 0))
            sizes[axis] = axis_map.out_size(sizes[axis]) or 0
            assume(0 < sizes[axis] < 20)
    return drawn


def in_order(drawn: list[Factor], x: np.ndarray) -> np.ndarray:
    for factor in drawn:
        x = factor.apply(x) if isinstance(factor, ChannelMap) else factor(x)
    return x


def walks(word: Word, i: int = 0, j: int = 0) -> Iterator[list[tuple[int, int]]]:
    """Every monotone walk from (i, j) to the end all of whose states are allowed."""
    if not word.allows(i, j):
        return
    if (i, j) == (len(word.spaces), len(word.maps)):
        yield [(i, j)]
    if i < len(word.spaces):
        yield from ([(i, j), *rest] for rest in walks(word, i + 1, j))
    if j < len(word.maps):
        yield from ([(i, j), *rest] for rest in walks(word, i, j + 1))


def walked(word: Word, walk: list[tuple[int, int]], x: np.ndarray) -> np.ndarray:
    """The word along a walk; a pending bias is added where it has to be, and no sooner."""
    pending: Pending = None
    for (i, j), (_, to) in pairwise(walk):
        assert (pending is not None) == word.biased(i, 0, j)
        if to > j:
            x, pending = word.maps[j].linear.apply(x), word.advance(pending, i, j, to)
        else:
            if not word.spaces[i].preserves_constants:
                x, pending = added(x, pending), None
            assert word.arrives(i, j) == (word.arriving(i, j) is not None)
            x, pending = word.spaces[i](x), summed(pending, word.arriving(i, j))
    return added(x, pending)


def added(x: np.ndarray, pending: Pending) -> np.ndarray:
    return x if pending is None else x + pending[:, None, None]


def sample(channels: int) -> np.ndarray:
    rng = np.random.default_rng(channels)
    return rng.integers(-4, 5, (2, channels, HEIGHT, WIDTH)).astype(float)


@given(WIDTHS, st.data())
def test_every_allowed_walk_gives_the_same_value(c_in: int, data: st.DataObject) -> None:
    drawn = data.draw(factors(c_in))
    word, x = Word.of(drawn), sample(c_in)
    expected = in_order(drawn, x)
    found = list(walks(word))
    assert found
    for walk in found:
        assert np.array_equal(walked(word, walk, x), expected)


@given(WIDTHS, st.data())
def test_without_biases_or_with_constants_kept_every_order_is_allowed(
    c_in: int, data: st.DataObject
) -> None:
    word = Word.of(data.draw(factors(c_in)))
    kept = Word.of([f for f in word.spaces if f.preserves_constants]).then(
        Word((), word.maps, (0,) * len(word.maps))
    )
    for free in (word.linear, kept):
        states = np.ndindex(len(free.spaces) + 1, len(free.maps) + 1)
        assert all(free.allows(i, j) for i, j in states)


@pytest.mark.parametrize("axis_map", BREAKING, ids=str)
@pytest.mark.parametrize("keeping", [None, Slice(step=-1)])
def test_a_refused_state_has_a_counterexample(axis_map: AxisMap, keeping: AxisMap | None) -> None:
    """What would be to add to W S x depends on the position or on the size: it is no bias."""
    f = ChannelMap(np.array([[1, 2], [0, 1], [3, 0]]), np.array([5, 6, 7]))
    spaces = [OnAxis(2, m) for m in (keeping, axis_map) if m is not None]
    word = Word.of([f, *spaces])
    assert not word.allows(len(spaces), 0)
    needed = set()
    for height in (2, 3):
        x = np.random.default_rng(0).integers(-4, 5, (1, 2, height, 1)).astype(float)
        difference = in_order([f, *spaces], x) - f.linear.apply(in_order(spaces, x))
        needed |= {tuple(column) for column in difference[0, :, :, 0].T}
    assert len(needed) > 1


@pytest.mark.parametrize("axis_map", KEEPING, ids=str)
def test_an_allowed_state_owes_just_the_bias(axis_map: AxisMap) -> None:
    f = ChannelMap(np.array([[1, 2], [0, 1], [3, 0]]), np.array([5, 6, 7]))
    word, x = Word.of([f, OnAxis(2, axis_map)]), sample(2)
    assert word.allows(1, 0)
    difference = in_order([f, *word.spaces], x) - f.linear.apply(in_order(list(word.spaces), x))
    assert (difference == np.array([5, 6, 7])[:, None, None]).all()


def test_a_bias_may_be_passed_by_a_map_that_comes_later() -> None:
    f = ChannelMap(np.array([[1, 2]]), np.array([5]))
    word = Word.of([OnAxis(2, Pad(1, 0)), f, OnAxis(3, Pad(0, 1))])
    allowed = {(i, j) for i, j in np.ndindex(3, 2) if word.allows(i, j)}
    assert allowed == {(0, 0), (0, 1), (1, 0), (1, 1), (2, 1)}
    assert [word.biased(i, 0, 1) for i in range(3)] == [False, True, False]


def test_a_bias_comes_out_of_attention_and_does_not_go_in() -> None:
    f, attention = ChannelMap(np.array([[1, 2]]), np.array([5])), OnAxis(2, Slice(step=-1), True)
    before, behind = Word.of([f, attention]), Word.of([attention, f])
    assert [before.enters(0, i) for i in range(2)] == [True, True]
    assert [behind.enters(0, i) for i in range(2)] == [False, True]
    # Its map may go in all the same: the bias is added when it arrives behind.
    assert behind.allows(0, 1)
    assert behind.advance(None, 0, 0, 1) is None
    assert behind.arriving(0, 1) == [5]
    assert before.arriving(0, 1) is None
    assert behind.inner.maps[0].bias is None


def test_what_arrives_is_mapped_by_what_is_applied_already() -> None:
    f, g = ChannelMap(np.array([[1, 2]]), np.array([5])), ChannelMap(np.array([[3]]), np.array([1]))
    word = Word.of([OnAxis(2, Slice(step=-1), True), f, g])
    assert word.arriving(0, 2) == [3 * 5 + 1]
    assert not word.arrives(0, 0)


@given(WIDTHS, st.data())
def test_out_of_order_is_where_factors_have_overtaken(c_in: int, data: st.DataObject) -> None:
    drawn = data.draw(factors(c_in))
    word = Word.of(drawn)
    places = [[k for k, f in enumerate(drawn) if isinstance(f, ChannelMap) == mapped]
              for mapped in (False, True)]  # fmt: skip
    for i, j in np.ndindex(len(word.spaces) + 1, len(word.maps) + 1):
        done = {*places[0][:i], *places[1][:j]}
        # A space is out of order with a map when the later of the two is done and the other not.
        expected = [
            k
            for k, at in enumerate(places[0])
            if any((at in done) != (b in done) and (max(at, b) in done) for b in places[1])
        ]
        assert sorted(word.out_of_order(i, j)) == expected


@given(WIDTHS, st.data())
def test_words_join_as_their_factors_do(c_in: int, data: st.DataObject) -> None:
    drawn = data.draw(factors(c_in))
    at = data.draw(st.integers(0, len(drawn)))
    joined, whole = Word.of(drawn[:at]).then(Word.of(drawn[at:])), Word.of(drawn)
    assert (joined.spaces, joined.maps, joined.slots) == (whole.spaces, whole.maps, whole.slots)


@given(st.data())
def test_product_multiplies_from_the_left(data: st.DataObject) -> None:
    f, g = data.draw(channel_maps(2, 3)), data.draw(channel_maps(3, 1))
    x = sample(2)
    assert (product([f, g]).apply(x) == g.apply(f.apply(x))).all()
    assert product([f]) is f


def test_a_map_can_be_replaced() -> None:
    f, g = (ChannelMap(np.full((2, 2), k)) for k in (1, 2))
    word = Word.of([f, OnAxis(2, Tile(2)), f]).with_map(g, at=1)
    assert (word.maps, word.slots) == ((f, g), (0, 1))
