"""Differences beside their terms: what opening them loses, against a direct look at each row."""

from __future__ import annotations

import numpy as np
import pytest

from onebyone.algebra.channel import ChannelMap
from onebyone.algebra.difference import condition, is_difference
from onebyone.algebra.expression import (
    Concat,
    Leaf,
    Sum,
    Term,
    collect,
    evaluate,
    flatten,
    repeats,
    unstacked,
)
from onebyone.algebra.selection import Slice
from onebyone.algebra.word import Word

from .test_word import HEIGHT, WIDTH, OnAxis

X, Y = Leaf("x", 2), Leaf("y", 2)
FLIP = OnAxis(2, Slice(step=-1))
RNG = np.random.default_rng(0)
VALUES = {name: RNG.integers(-4, 5, (2, 2, HEIGHT, WIDTH)).astype(float) for name in "xy"}


def times(*scale: float) -> Word:
    return Word.of([ChannelMap.diagonal(np.array(scale))])


def dense(*rows: list[int]) -> Word:
    return Word.of([ChannelMap(np.array(rows))])


def term(leaf: Leaf, word: Word | None = None) -> Term:
    return Term(word or Word(), leaf)


def difference(x: Term, y: Term) -> Term:
    return Term(Word(), Sum((x, y.then(times(-1, -1))), closed=True))


def value(of: Term) -> np.ndarray:
    return evaluate(of, VALUES.__getitem__, lambda space, x: space(x))


def test_an_edge_is_opened_and_collected() -> None:
    flipped = term(X, Word.of([FLIP]))
    edge = Concat((difference(flipped, term(X)), term(X)))
    assert repeats(edge.terms)
    opened = collect(unstacked(edge), opens=True)
    assert opened is not None
    assert np.array_equal(value(opened), value(Term(Word(), edge)))
    # [flipped − x; x] reads x once, by [−I; I].
    _, own = flatten(opened.node)
    assert own.word.maps[0].weight.tolist() == [[-1, 0], [0, -1], [1, 0], [0, 1]]
    closed = collect(unstacked(edge))
    assert closed is None  # the difference is one thing, and x another


def test_the_loss_is_told_by_output_row() -> None:
    edge = Concat((difference(term(Y), term(X)), term(X)))
    for _ in range(20):
        w1, w2 = RNG.integers(-3, 4, (2, 5, 2))
        told = condition(unstacked(edge), np.hstack([w1, w2]))
        apart = np.abs(w1).sum(1) + np.abs(w2 - w1).sum(1)
        rows = [a / b if b else np.inf for a, b in zip(apart, np.abs(w2).sum(1), strict=True) if a]
        assert told == max(rows)


W = np.array([[1, 2, 3, 4], [0, 0, 0, 0], [2, 1, 1, 1]])
BARE = {
    "alone": ([difference(term(X), term(Y))], W[:, :2]),
    "beside another": ([difference(term(X), term(Y)), term(Leaf("z", 2))], W),
    "beside the same elsewhere": (
        [difference(term(X), term(Y)), term(Y, Word.of([FLIP]))], W),
    "two of them": (
        [difference(term(X), term(Y)), difference(term(Y), term(X)), term(Y)], np.hstack([W, W])),
    "beside nothing in a row": ([difference(term(X), term(Y)), term(Y)], W * [1, 1, 0, 0]),
}  # fmt: skip


@pytest.mark.parametrize("name", BARE)
def test_a_difference_that_is_bare_loses_all(name: str) -> None:
    terms, behind = BARE[name]
    assert condition(unstacked(Concat(tuple(terms))), behind[:, : 2 * len(terms)]) == np.inf


def test_without_a_difference_nothing_is_lost() -> None:
    assert condition(unstacked(Concat((term(X), term(X)))), W) == 0
    # Rows of zeros read nothing.
    edge = Concat((difference(term(X), term(Y)), term(Y)))
    assert condition(unstacked(edge), np.zeros((3, 4))) == 0


def test_a_sum_is_looked_at_by_its_own_rows() -> None:
    edge = difference(term(Y), term(X))
    behind = edge.then(dense([1, 2], [3, 1]))
    other = term(X, dense([4, 4], [1, 1]))
    assert condition(Sum((behind, other))) == max((3 + 5) / 8, (4 + 2) / 2)
    other = term(X, dense([2, 4], [3, 1]))
    assert condition(Sum((behind, other))) == (3 + 3) / 6
    other = term(X, dense([1, 2], [0, 0]))
    assert condition(Sum((behind, other))) == np.inf


@pytest.mark.parametrize(
    ("terms", "whether"),
    [
        ([term(X), term(Y, times(-1, -1))], True),
        ([term(X, times(-1, 1)), term(Y, times(1, -1))], True),
        ([term(X), term(X, Word.of([FLIP]).then(times(-1, -1)))], True),
        ([term(X), term(Y)], False),
        ([term(X), term(Y, times(-1, 1))], False),
        # They cancel elsewhere than at x = y.
        ([term(X, times(2, 2)), term(Y, times(-2, -2))], False),
        ([term(X), term(Y, dense([-1, 0], [0, -1]))], False),
        ([term(X), term(Y, times(-1, -1)), term(Y, times(-1, -1))], False),
    ],
)
def test_what_a_difference_is(terms: list[Term], whether: bool) -> None:
    assert is_difference(terms) is whether
