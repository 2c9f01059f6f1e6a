"""Runs of views: what is claimed of them symbolically, against NumPy at concrete sizes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product as every
from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onebyone.algebra.layout import (
    CHANNEL,
    Dim,
    Reshape,
    Transpose,
    View,
    channel_axis_after,
    dim,
    divide,
    product,
    trace,
)

SYMBOLS = ("#C", "h", "n")
FACTORS = [dim(2), dim(3), dim(1), CHANNEL, dim(1, "h"), dim(1, "n")]
DIMS = [*FACTORS, dim(6), dim(2, "h"), dim(1, "h", "n")]
N, H, W = dim(1, "n"), dim(1, "h"), dim(1, "w")

shapes = st.lists(st.sampled_from(DIMS), min_size=1, max_size=4).map(tuple)


def number(d: Dim, values: dict[str, int]) -> int:
    return d[0] * prod(values[s] for s in d[1])


def moved(x: np.ndarray, views: Sequence[View], values: dict[str, int]) -> np.ndarray:
    for view in views:
        if isinstance(view, Transpose):
            x = x.transpose(view.permutation)
        else:
            x = x.reshape([number(d, values) for d in view.shape])
    return x


def sample(shape: Sequence[Dim], values: dict[str, int]) -> np.ndarray:
    sizes = [number(d, values) for d in shape]
    return np.arange(prod(sizes)).reshape(sizes)


def assignments() -> list[dict[str, int]]:
    """Sizes for the symbols, one among them."""
    sizes = every((4, 1), (3, 1), (2, 5))
    return [dict(zip(SYMBOLS, chosen, strict=True)) for chosen in sizes]


def aligned(draw: st.DrawFn, shape: tuple[Dim, ...]) -> tuple[Dim, ...]:
    """The same elements with neighbours joined and axes of one put in or left out."""
    after: list[Dim] = []
    for d in shape:
        if after and draw(st.booleans()):
            after[-1] = product([after[-1], d])
        elif d != dim(1) or draw(st.booleans()):
            after.append(d)
    return tuple(after) or (dim(1),)


def parts(draw: st.DrawFn, d: Dim) -> list[Dim]:
    """d cut into its factors, in some order."""
    numbers = [n for n in (2, 3) if d[0] % n == 0]
    factors = [dim(n) for n in numbers] + [dim(1, s) for s in d[1]]
    rest = divide(d, product(factors))
    assert rest is not None
    return draw(st.permutations(factors)) + [rest] * (rest != dim(1))


@st.composite
def run_of_views(draw: st.DrawFn) -> tuple[tuple[Dim, ...], list[View]]:
    """A shape and views that fit it: transposes, joins, cuts, and regroupings out of step."""
    start = shape = draw(shapes)
    views: list[View] = []
    for _ in range(draw(st.integers(0, 5))):
        kind = draw(st.sampled_from(["transpose", "join", "cut", "any"]))
        if kind == "transpose":
            permutation = tuple(draw(st.permutations(range(len(shape)))))
            views.append(Transpose(permutation))
            shape = tuple(shape[k] for k in permutation)
            continue
        if kind == "join":
            shape = aligned(draw, shape)
        elif kind == "cut":
            shape = tuple(part for d in shape for part in parts(draw, d))
        else:
            shape = tuple(draw(st.permutations(shape)))
        views.append(Reshape(shape))
    return start, views


@given(run_of_views())
def test_a_trace_is_what_numpy_does(drawn: tuple[tuple[Dim, ...], list[View]]) -> None:
    start, views = drawn
    found = trace(start, views)
    for values in assignments() if found is not None else ():
        x = sample(start, values)
        y = moved(x, views, values)
        before, after = ([k for axis in axes for k in axis] for axes in (found.before, found.after))
        atoms = x.reshape([number(found.sizes[k], values) for k in before])
        assert (atoms.transpose([before.index(k) for k in after]).reshape(y.shape) == y).all()


@given(run_of_views())
def test_what_is_claimed_of_a_run_is_true(drawn: tuple[tuple[Dim, ...], list[View]]) -> None:
    start, views = drawn
    found = trace(start, views)
    for values in assignments() if found is not None else ():
        x = sample(start, values)
        y = moved(x, views, values)
        if found.is_identity:
            assert x.shape == y.shape
        if found.is_identity or sum(found.before, ()) == sum(found.after, ()):
            assert (x.ravel() == y.ravel()).all()
        if found.permutation is not None:
            assert np.array_equal(x.transpose(found.permutation), y)


@given(shapes, st.data())
def test_there_and_back_is_the_identity(start: tuple[Dim, ...], data: st.DataObject) -> None:
    cut = tuple(part for d in start for part in parts(data.draw, d))
    there = Reshape(aligned(data.draw, data.draw(st.sampled_from([start, cut]))))
    permutation = tuple(data.draw(st.permutations(range(len(there.shape)))))
    run = [there, Transpose(permutation), Transpose(tuple(np.argsort(permutation))), Reshape(start)]
    found = trace(start, run)
    assert found is not None
    assert found.is_identity


@given(shapes, st.data())
def test_a_run_that_moves_elements_is_not_the_identity(
    start: tuple[Dim, ...], data: st.DataObject
) -> None:
    permutation = tuple(data.draw(st.permutations(range(len(start)))))
    found = trace(start, [Transpose(permutation)])
    assert found is not None
    values = dict.fromkeys(SYMBOLS, 5)
    x = sample(start, values)
    assert found.is_identity == np.array_equal(x, x.transpose(permutation))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((H, W), (W, H)),
        ((dim(4), dim(6)), (dim(6), dim(4))),
        ((N, dim(2), CHANNEL), (N, CHANNEL, dim(2))),
        ((H,), (dim(2), H)),
        ((H, W), (H,)),
    ],
)
def test_cuts_that_sizes_do_not_decide_are_left_open(
    before: tuple[Dim, ...], after: tuple[Dim, ...]
) -> None:
    assert trace(before, [Reshape(after)]) is None


def test_tokens_and_back_through_other_views() -> None:
    tokens = [Reshape((N, CHANNEL, product([H, W]))), Transpose((0, 2, 1))]
    last = [Reshape((N, H, W, CHANNEL)), Transpose((0, 3, 1, 2))]
    found = trace((N, CHANNEL, H, W), tokens + last)
    assert found is not None
    assert found.is_identity


def test_a_run_that_is_one_transpose_says_which() -> None:
    run = [
        Reshape((N, CHANNEL, product([H, W]))),
        Transpose((0, 2, 1)),
        Reshape((N, H, W, CHANNEL)),
    ]
    found = trace((N, CHANNEL, H, W), run)
    assert found is not None
    assert found.permutation == (0, 2, 3, 1)
    assert sum(found.before, ()) != sum(found.after, ())


def test_axes_of_one_may_be_moved_anywhere_in_one_reshape() -> None:
    found = trace((dim(1), H, dim(1), W), [Transpose((1, 0, 3, 2))])
    assert found is not None
    assert not found.is_identity
    assert sum(found.before, ()) == sum(found.after, ())
    assert found.permutation == (1, 0, 3, 2)


@given(shapes, shapes)
def test_a_whole_axis_stands_where_it_is_said_to(
    before: tuple[Dim, ...], after: tuple[Dim, ...]
) -> None:
    for axis in range(len(before)) if product(before) == product(after) else ():
        found = channel_axis_after(before, after, axis)
        for values in assignments() if found is not None else ():
            x = np.indices([number(d, values) for d in before])[axis]
            y = x.reshape([number(d, values) for d in after])
            assert (y == np.indices(y.shape)[found]).all()


@given(st.permutations(FACTORS), st.integers(0, 5), st.integers(0, 5))
def test_a_quotient_times_the_divisor_is_the_whole(
    factors: list[Dim], taken: int, other: int
) -> None:
    whole, part = product(factors[:taken]), product(factors[other:])
    rest = divide(whole, part)
    assert divide(product([whole, part]), part) == whole
    assert rest is None or product([rest, part]) == whole


def test_nothing_is_divided_by_zero() -> None:
    assert divide(dim(0), dim(0)) is None
    assert divide(dim(0), dim(3)) == dim(0)
