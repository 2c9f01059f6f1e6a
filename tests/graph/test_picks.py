"""Picks of an axis: joined, counted, and found again in a part of the axis."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from onebyone.algebra.selection import Slice
from onebyone.graph.picks import (
    MAX_JOINED,
    Picks,
    chosen,
    even,
    join,
    picked,
    step_of,
    within,
)

WHOLE = 12
positions = st.lists(st.integers(0, WHOLE - 1), min_size=1, max_size=8)


def listed(picks: Picks | None) -> list[int]:
    if picks is None:
        return list(range(WHOLE))
    assert not isinstance(picks.taken, Slice)
    return list(picks.taken)


@given(positions)
def test_picks_are_a_set(taken: list[int]) -> None:
    assert listed(picked(taken, WHOLE)) == sorted(set(taken))


@given(positions, positions)
def test_two_readers_get_what_either_takes(one: list[int], other: list[int]) -> None:
    a, b = picked(one, WHOLE), picked(other, WHOLE)
    assert a is not None
    assert b is not None
    assert listed(join(a, b)) == sorted({*one, *other})
    assert join(a, b) == join(b, a)


@given(positions, st.lists(st.integers(0, 7), min_size=1), st.booleans())
def test_what_is_taken_is_found_in_the_part(have: list[int], order: list[int], flip: bool) -> None:
    part = picked(have, WHOLE)
    there = listed(part)
    wanted = [there[k % len(there)] for k in order] if not flip else there[::-1]
    found = within(wanted, part)
    places = range(len(there)) if found is None else found
    assert not isinstance(places, Slice)
    assert [there[k] for k in places] == wanted


@given(st.integers(0, 3), st.integers(1, 3), st.integers(1, 4), st.integers(1, 3))
def test_ranges_within_ranges_are_not_listed(start: int, step: int, count: int, skip: int) -> None:
    far = 10**12
    have = Picks(range(start, far, step), far + 9, len(range(start, far, step)))
    order = range(start + 2 * step, start + (2 + skip * count) * step, skip * step)
    found = within(order, have)
    assert isinstance(found, range)
    assert list(found) == [2 + skip * k for k in range(count)]
    assert within(order[::-1], have) == found[::-1]


@given(positions, positions)
def test_a_choice_of_a_choice(order: list[int], taken: list[int]) -> None:
    there = [k % len(order) for k in taken]
    asked = picked(there, len(order))
    if asked is not None:
        found = chosen(order, asked)
        assert found is not None
        assert not isinstance(found, Slice)
        assert list(found) == [order[k] for k in sorted(set(there))]


@given(positions)
def test_evenly_spaced_positions_are_one_slice(order: list[int]) -> None:
    cut = even(order)
    if cut is not None:
        assert list(range(WHOLE))[slice(cut.start, cut.stop, cut.step)] == order
    else:
        assert len(order) > 1


def test_of_a_free_axis_only_equal_picks_are_joined() -> None:
    first = Picks(Slice(0, 1), None, 1)
    assert join(first, Picks(Slice(0, 1, 1), None, 1)) == first
    assert join(first, Picks(Slice(-1, None), None, 1)) is None
    assert within(Slice(0, 1), first) is None
    assert within(Slice(0, 1), None) == Slice(0, 1)


def test_very_many_positions_are_taken_for_all() -> None:
    one, other = picked(range(0, 3 * MAX_JOINED, 3), 10**9), picked(range(1), 10**9)
    assert one is not None
    assert other is not None
    assert join(one, other) is None


@given(positions, st.integers(1, WHOLE))
def test_what_a_stride_takes(order: list[int], size: int) -> None:
    step, there = step_of(order, size), [k for k in order if k < size]
    if step is not None and there == order:
        assert order == list(range(0, size, step))
    evenly = range(0, size, 1 + order[0])
    stride = step_of(evenly, size)
    assert range(0, size, stride or 1) == evenly  # of one position there are many spellings
    assert (stride is None) == (evenly.step == 1)


def test_a_choice_of_a_choice_on_a_free_axis() -> None:
    every = Slice(0, None, 2)
    assert chosen(every, Picks(Slice(0, None, 3), None, 1)) == Slice(0, None, 6)
    assert chosen(every, Picks(Slice(1, None, 3), None, 1)) is None
    assert chosen(Slice(-2, None), Picks(Slice(0, None, 3), None, 1)) is None
    assert chosen(every, Picks(range(1), 4, 1)) is None
