"""Positions along one axis: which are asked for, and how those are taken from a part of them.

Where the size of the axis is a number, positions are counted from 0. Where it is free they are
`start:stop:step`, read as ONNX and Python read it, and nothing but equality is known of two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from onebyone.algebra.selection import Slice

__all__ = [
    "MAX_JOINED",
    "Asked",
    "Late",
    "Order",
    "Picks",
    "Size",
    "chosen",
    "count",
    "even",
    "join",
    "picked",
    "picks_of",
    "sizes_left",
    "step_of",
    "within",
]

Size = int | ir.SymbolicDim

MAX_JOINED = 65536
"""Positions that are listed one by one, to join two picks say; more are taken for all."""


@dataclass(frozen=True)
class Late:
    """Positions by indices that are known only when the model runs, any and in any order.

    Args:
        indices: the value that holds them, of as many numbers as there are picks.
        batch: along so many leading axes each position has picks of its own, in the rows of
            `indices`; they are along the next axis then.
        size: how many are picked, of each of these.
    """

    indices: ir.Value
    batch: int
    size: int

    def __len__(self) -> int:
        return self.size


Order = Sequence[int] | Slice | Late
"""Positions in the order in which a node takes them, some perhaps more than once."""


@dataclass(frozen=True)
class Picks:
    """Some but not all positions along an axis, increasing.

    Args:
        taken: the positions, as a range where they are evenly spaced; a slice on a free axis; or
            those of indices.
        whole: the size of the axis; None where it is free.
        size: how many are taken.

    >>> Picks(range(1, 7, 3), 8, 2).count(8), Picks(Slice(1, -1), None, "n - 2").count(8)
    (2, 6)
    """

    taken: range | tuple[int, ...] | Slice | Late
    whole: int | None
    size: Size = field(compare=False)

    def count(self, whole: int) -> int:
        """How many are taken of `whole` positions."""
        return count(self.taken, whole)


def count(order: Order, whole: int) -> int:
    """How many positions an order takes of `whole` ones."""
    if isinstance(order, Slice):
        return order.out_size(whole)
    return len(order)


Asked = Mapping[int, Picks]
"""Axis of a value -> the positions that are asked for there; of all other axes, all."""


def sizes_left(shape: ir.Shape, asked: Asked) -> list[Size]:
    """The sizes of a value of which only what is asked for is computed."""
    return [asked[axis].size if axis in asked else size for axis, size in enumerate(shape)]


def picked(positions: Sequence[int], whole: int) -> Picks | None:
    """Picks of an axis of known size; None where that is all of it, or nothing.

    >>> picked([4, 0, 2, 2], 5)
    Picks(taken=range(0, 5, 2), whole=5, size=3)
    >>> print(picked([1, 0], 2))
    None
    """
    # A set: a reader may take positions twice or backwards, they are computed once, in order.
    taken = _increasing(positions)
    if not taken or len(taken) == whole:
        return None
    return Picks(taken, whole, len(taken))


def picks_of(order: Order, whole: Size, taken: Size) -> Picks | None:
    """The set of the positions that an order takes; None for all of them.

    Args:
        order: the positions of an axis.
        whole: its size.
        taken: how many positions that are, where the size is free.
    """
    if isinstance(order, Slice):
        return Picks(order, None, taken)
    if isinstance(order, Late):
        return Picks(order, None, order.size)
    assert isinstance(whole, int)
    return picked(order, whole)


def _increasing(positions: Sequence[int]) -> range | tuple[int, ...]:
    if not isinstance(positions, range):
        return _compact(sorted(set(positions)))
    if positions.step < 0:
        return positions[::-1]
    return positions


def _compact(taken: Sequence[int]) -> range | tuple[int, ...]:
    """As a range, where it is one."""
    if isinstance(taken, range):
        return taken
    if not taken:
        return range(0)
    # A range that begins, steps and ends like these is these, if it is as long and agrees.
    evenly = _evenly(taken[0], taken[-1], len(taken))
    if tuple(evenly) == tuple(taken):
        return evenly
    return tuple(taken)


def _evenly(first: int, last: int, count: int) -> range:
    """So many positions from the first to the last one; none where no whole step leads there."""
    step, rest = divmod(last - first, max(count - 1, 1))
    if rest or (step == 0 and count > 1):
        return range(0)
    return range(first, last + (1 if step >= 0 else -1), step or 1)


def even(order: Order) -> Slice | None:
    """Positions as start:stop:step; None where they are not evenly spaced.

    >>> even((3, 1)), even((0, 3, 4))
    (Slice(start=3, stop=0, step=-2), None)
    >>> even((2, 1, 0))
    Slice(start=2, stop=None, step=-1)
    """
    if isinstance(order, Slice):
        return order
    if isinstance(order, Late):
        return None
    taken = _compact(order)
    if isinstance(taken, tuple):
        return None
    if taken.stop < 0:  # beyond the first position, which a -1 would not say
        return Slice(taken.start, None, taken.step)
    return Slice(taken.start, taken.stop, taken.step)


def step_of(order: Order, size: Size) -> int | None:
    """g where an order takes every g-th position from the first on, as a stride does; else None.

    >>> step_of((0, 3, 6), 8), step_of((0, 3, 6), 10), step_of(Slice(0, None, 2), "n")
    (3, None, 2)

    The first position alone is what a stride of the whole axis takes, however it is spelled:

    >>> step_of(range(1), 5), step_of(range(0, 5, 7), 5), step_of((1,), 5)
    (5, 5, None)
    """
    if not isinstance(order, Slice | Late) and tuple(order[:2]) == (0,) and size != 1:
        assert isinstance(size, int)  # positions are listed only of such an axis
        return size
    cut = even(order)
    if cut is None or cut.start or cut.step < 2:
        return None
    # A stride goes on to the end.
    if isinstance(order, Slice | Late):
        ends = cut.stop is None
    else:
        ends = isinstance(size, int) and order[-1] + cut.step >= size
    if ends:
        return cut.step
    return None


def join(*asked: Picks) -> Picks | None:
    """What any of these asks for; None where that may be everything.

    >>> join(Picks(range(1), 9, 1), Picks(range(8, 9), 9, 1)).taken
    range(0, 9, 8)
    """
    first, *others = dict.fromkeys(asked)
    if not others:  # a size that is a number says more than one with a name
        return next((picks for picks in asked if isinstance(picks.size, int)), first)
    every = [picks.taken for picks in (first, *others)]
    taken = [each for each in every if isinstance(each, range | tuple)]
    if len(taken) < len(every) or sum(map(len, taken)) > MAX_JOINED:
        return None  # of a free axis nothing is known but that these are not the same
    assert first.whole is not None
    return picked([position for each in taken for position in each], first.whole)


def within(order: Order, have: Picks | None) -> Order | None:
    """An order counted among the positions that are there; None where it takes all, in order.

    >>> within((6, 2, 6), Picks(range(2, 8, 2), 9, 3)), within((2, 3), Picks(range(2, 4), 9, 2))
    ((2, 0, 2), None)
    """
    if have is None:
        return order
    # Of a free axis there is all, or just what each reader takes: `join` knows no other union.
    if isinstance(order, Slice | Late) or isinstance(have.taken, Slice | Late):
        if order == have.taken:
            return None
        return order
    found = _compact(_places(_compact(order), have.taken))
    if found == range(len(have.taken)):
        return None
    return found


def _places(order: Sequence[int], among: Sequence[int]) -> Sequence[int]:
    # Huge ranges are not listed: the place of each is linear in its position.
    if isinstance(order, range) and isinstance(among, range):
        return _evenly(among.index(order[0]), among.index(order[-1]), len(order))
    place = {position: k for k, position in enumerate(among)}
    return [place[position] for position in order]


def chosen(order: Order, picks: Picks) -> Order | None:
    """Those positions of an order that are asked of its result; None where nobody can tell.

    >>> chosen(range(9, 0, -3), Picks(range(0, 3, 2), 3, 2))
    range(9, 0, -6)

    Of an axis of any size, every g-th of every s-th position from the first on is every gs-th:

    >>> chosen(Slice(0, None, 2), Picks(Slice(0, None, 3), None, "n"))
    Slice(start=0, stop=None, step=6)
    """
    taken = picks.taken
    if isinstance(order, Slice) and isinstance(taken, Slice):
        every, of_these = step_of(order, picks.size), step_of(taken, picks.size)
        if every and of_these:
            return Slice(0, None, every * of_these)
        return None
    if isinstance(order, Slice | Late) or isinstance(taken, Slice | Late):
        return None
    if isinstance(order, range) and isinstance(taken, range):  # a slice of a range is one
        return order[taken.start : taken.stop : taken.step]
    return tuple(order[k] for k in taken)
