"""Expressions: sums collected and flattened, against the value factor by factor."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onebyone.algebra.channel import ChannelMap
from onebyone.algebra.expression import (
    Choice,
    Concat,
    Convolution,
    Leaf,
    Node,
    Sum,
    Term,
    collect,
    distinct,
    evaluate,
    flatten,
)
from onebyone.algebra.selection import Pad, Slice, Tile
from onebyone.algebra.word import Word

from .test_channel import channel_maps, integers
from .test_word import HEIGHT, WIDTH, OnAxis

X, Y = Leaf("x", 2), Leaf("y", 3)
VALUES = {
    leaf.value: np.random.default_rng(leaf.channels)
    .integers(-4, 5, (2, leaf.channels, HEIGHT, WIDTH))
    .astype(float)
    for leaf in (X, Y)
}
# Few and of one size, so that paths meet; the first keeps constants, the second does not.
SPACES = [OnAxis(2, Slice(step=-1)), OnAxis(2, Pad(1, -1))]


def value(term: Term) -> np.ndarray:
    return evaluate(term, VALUES.__getitem__, lambda space, x: space(x))


@st.composite
def words(draw: st.DrawFn, c_in: int, c_out: int) -> Word:
    """A word from c_in to c_out channels that keeps every position."""
    word, channels = Word(), c_in
    for _ in range(draw(st.integers(0, 2))):
        if draw(st.booleans()):
            word = word.then(Word((draw(st.sampled_from(SPACES)),)))
        else:
            width = draw(st.sampled_from([1, 3]))
            word = word.then(Word.of([draw(channel_maps(channels, width))]))
            channels = width
    if channels != c_out or draw(st.booleans()):
        word = word.then(Word.of([draw(channel_maps(channels, c_out))]))
    return word


@st.composite
def sums(draw: st.DrawFn, channels: int, depth: int = 2) -> Sum:
    terms = []
    for _ in range(draw(st.integers(1, 3))):
        if depth and draw(st.integers(0, 2)) == 0:
            inner: Node = draw(sums(draw(st.sampled_from([2, 3])), depth - 1))
        else:
            inner = draw(st.sampled_from([X, Y]))
        terms.append(Term(draw(words(inner.channels, channels)), inner))
    return Sum(tuple(terms))


def test_a_term_is_its_factors_one_by_one() -> None:
    f, g = ChannelMap(np.array([[1, 2]]), np.array([5])), ChannelMap(np.array([[3], [-1]]))
    flip, pad = OnAxis(2, Slice(step=-1)), OnAxis(3, Pad(0, 2))
    term = Term(Word.of([flip, f, pad, g]), X)
    assert (value(term) == g.apply(pad(f.apply(flip(VALUES["x"]))))).all()
    assert (term.channels, Term(Word.of([pad]), Y).channels) == (2, 3)


def test_nodes_are_what_they_say() -> None:
    x, y = Term(Word(), X), Term(Word(), Y)
    stacked = Term(Word(), Concat((x, y)))
    assert (value(stacked) == np.concatenate([VALUES["x"], VALUES["y"]], axis=1)).all()
    assert stacked.channels == 5
    assert (value(Term(Word(), Sum((y, y, y)))) == 3 * VALUES["y"]).all()
    assert (value(Term(Word(), Choice((y, Term(Word(), Sum((y,))))))) == VALUES["y"]).all()


def test_convolutions_are_the_graphs_to_evaluate() -> None:
    with pytest.raises(TypeError, match="evaluated by the graph"):
        value(Term(Word(), Convolution(None, 3, Term(Word(), X))))


@given(st.data())
def test_flattened_sums_have_the_same_value(data: st.DataObject) -> None:
    node = data.draw(sums(data.draw(st.sampled_from([1, 3]))))
    terms = flatten(node)
    assert not any(isinstance(term.node, Sum) for term in terms)
    assert np.array_equal(sum(value(term) for term in terms), value(Term(Word(), node)))


@given(st.data())
def test_collected_sums_have_the_same_value(data: st.DataObject) -> None:
    node = data.draw(sums(data.draw(st.sampled_from([1, 3]))))
    collected = collect(node)
    paths = [(id(term.node), term.word.spaces) for term in flatten(node)]
    if collected is None:
        assert len(set(paths)) == len(paths)
        return
    left = collected.node.terms if isinstance(collected.node, Sum) else (collected,)
    assert {(id(term.node), term.word.spaces) for term in left} == set(paths)
    assert len(left) == len(set(paths)) < len(paths)
    assert np.array_equal(value(collected), value(Term(Word(), node)))


@given(st.data())
def test_collected_without_commuting_sums_have_the_same_value(data: st.DataObject) -> None:
    node = data.draw(sums(data.draw(st.sampled_from([1, 3]))))
    collected = collect(node, commute=False)
    assert collected is None or np.array_equal(value(collected), value(Term(Word(), node)))


@pytest.mark.parametrize(("before", "place"), [(True, 1), (False, 0)])
def test_without_commuting_the_sum_stands_where_its_summands_stood(
    before: bool, place: int
) -> None:
    pad = SPACES[1]
    maps = [ChannelMap(np.full((3, 2), k), np.full(3, k)) for k in (1, 2)]
    words = [Word.of([pad, f] if before else [f, pad]) for f in maps]
    collected = collect(Sum(tuple(Term(word, X) for word in words)), commute=False)
    assert collected is not None
    assert set(collected.word.slots) == {place}
    mixed = Sum((Term(Word.of([pad, maps[0]]), X), Term(Word.of([maps[1], pad]), X)))
    assert collect(mixed, commute=False) is None


def test_without_commuting_maps_around_a_space_stay_around_it() -> None:
    f, g = ChannelMap(np.ones((3, 2))), ChannelMap(np.ones((1, 3)))
    around = Word.of([f, SPACES[0], g])
    assert collect(Sum((Term(around, X), Term(around, X))), commute=False) is None


@given(integers(3, 2), integers(3, 2), integers(3))
def test_biases_of_one_path_stay_in_their_slots(
    W: np.ndarray, V: np.ndarray, b: np.ndarray
) -> None:
    """W₁(Pad x) + b₁ + Pad(W₂x + b₂): one bias reaches the border and the other does not."""
    _, pad = SPACES
    late, early = Word.of([pad, ChannelMap(W, b)]), Word.of([ChannelMap(V, 2 * b), pad])
    node = Sum((Term(late, X), Term(early, X)))
    collected = collect(node)
    assert collected is not None
    assert (collected.word.slots, collected.word.spaces) == ((0, 0, 1), (pad,))
    assert (collected.word.maps[0].weight == W + V).all()
    assert np.array_equal(value(collected), value(Term(Word(), node)))


@pytest.mark.parametrize(
    "other",
    [
        Term(Word(), Y),
        Term(Word((OnAxis(2, Slice(step=-1)),)), Leaf("x", 2)),
        Term(Word((OnAxis(2, Tile(1)),)), X),
    ],
    ids=["another value", "another leaf", "another space"],
)
def test_terms_that_see_other_positions_are_not_collected(other: Term) -> None:
    maps = [ChannelMap(np.ones((3, channels))) for channels in (2, other.channels)]
    flip = Term(Word((OnAxis(2, Slice(step=-1)),)), X)
    terms = [term.then(Word.of([f])) for term, f in zip((flip, other), maps, strict=True)]
    assert collect(Sum(tuple(terms))) is None


def test_a_bias_above_a_nested_sum_is_added_once() -> None:
    twice = Term(Word(), Sum((Term(Word(), Y), Term(Word(), Y))))
    shifted = twice.then(Word.of([ChannelMap.diagonal(np.ones(3), np.array([1, 2, 3]))]))
    collected = collect(Sum((shifted, Term(Word(), Y))))
    assert collected is not None
    assert (value(collected) == 3 * VALUES["y"] + np.array([1, 2, 3])[:, None, None]).all()


def test_the_identity_branch_is_a_unit_matrix() -> None:
    f = ChannelMap(np.array([[0, 1, 0], [2, 0, 0], [0, 0, 3]]))
    collected = collect(Sum((Term(Word.of([f]), Y), Term(Word(), Y))))
    assert collected is not None
    assert collected.word.maps[0].weight.tolist() == [[1, 1, 0], [2, 1, 0], [0, 0, 4]]


def test_a_nested_choice_counts_as_the_sum_it_offers_first() -> None:
    y = Term(Word(), Y)
    inner = Choice((Term(Word(), Sum((y, y))), y), "sum")
    assert len(flatten(Sum((Term(Word(), inner), y)))) == 3


def test_constants_of_a_concat_are_a_shift() -> None:
    x, y, k = Term(Word(), X), Term(Word(), Y), Term(Word(), Leaf("k", 2))
    numbers = np.array([3.0, -1.0])
    once = distinct(Concat((k, x, y, k, x)), {0: numbers, 3: numbers})
    assert once is not None
    here = VALUES["x"], VALUES["y"]
    constant = np.broadcast_to(numbers.reshape(1, 2, 1, 1), here[0].shape)
    assert (value(once) == np.concatenate([constant, *here, constant, here[0]], axis=1)).all()
    zeros = distinct(Concat((x, k)), {1: np.zeros(2)})
    assert zeros is not None
    assert zeros.word.maps[0].bias is None
    assert distinct(Concat((k, k)), {0: numbers, 1: numbers}) is None


@given(st.lists(st.integers(0, 2), min_size=1, max_size=5))
def test_a_concat_is_a_copy_of_what_is_different_in_it(order: list[int]) -> None:
    # The last two are of as many channels, and two terms though one leaf.
    known = Term(Word(), X), Term(Word(), Y), Term(Word(), Y)
    terms = tuple(known[k] for k in order)
    once = distinct(Concat(terms))
    assert (once is None) == (len(set(order)) == len(order))
    if once is not None:
        whole = Term(Word(), Concat(terms))
        assert (value(once) == value(whole)).all()
        made_of = [once.node] if len(set(order)) == 1 else [t.node for t in once.node.terms]
        assert [leaf.value for leaf in made_of] == [
            known[k].node.value for k in dict.fromkeys(order)
        ]
