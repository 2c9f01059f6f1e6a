"""What an operator costs at given sizes: all prices are made here, from a manner and a load.

    time = overhead + max(MACs / peak, 4·moved / bandwidth)

    manner          moved                          work
    view            nothing                        none
    pass            read + written                 its MACs
    stretch         2·written                      none
    split           2·written · `split`            none
    scatter         2·written · `transpose`        none
    blocks          2·written · `blocks`           none
    lines           2·written · `softmax`          none
    stamp           read + written                 `stamp` for each of its MACs
    interpolation   read + written                 `resize` MACs for each number written

The report adds the same prices up over a whole graph (`cost.estimate`), so what pays here cannot
raise the time that it tells.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from onebyone.cost.profile import Profile
from onebyone.graph.ops import OPERATORS, Operator
from onebyone.graph.ops.row import Effort, Manner, Where

__all__ = ["Load", "Manner", "detour", "manner", "time"]


class Load(NamedTuple):
    """What an operator does: multiply-accumulates, numbers read (weights too), numbers written."""

    macs: float = 0
    read: float = 0
    written: float = 0


def manner(
    op_type: str,
    *,
    of_positions: bool = True,
    of_rows: bool = False,
    interpolates: bool = False,
    afar: bool = False,
) -> Manner:
    """How an operator of the standard domain goes about its numbers, by its row.

    Args:
        op_type: its name.
        of_positions: of what cuts, whether positions or whole channels, which stand in one stretch
            each.
        of_rows: of a gather by indices, or of a transpose, whether what it moves stands in one
            stretch each. (Rows of 64 numbers took 0.1 ns a number, single numbers 2.5 ns,
            GatherElements 0.4 to 0.9.)
        interpolates: of one that resizes, whether it does more than copy the nearest.
        afar: of one along an axis, whether that is none of the last two.

    >>> manner("Softmax"), manner("Softmax", afar=True)
    (<Manner.PASS: ...>, <Manner.LINES: ...>)
    """
    row: Operator | None = OPERATORS.get(op_type)
    if row is None:
        return Manner.PASS
    if row.effort is Effort.FREE:
        return Manner.VIEW
    if row.manner_where is None:
        return row.manner
    holds = {
        Where.WHOLE_CHANNELS: not of_positions,
        Where.ROWS: of_rows,
        Where.INTERPOLATING: interpolates,
        Where.AFAR: afar,
    }
    where, there = row.manner_where
    return there if holds[where] else row.manner


def time(how: Manner, load: Load, profile: Profile) -> int:
    """Picoseconds of one operator; a whole number, so that sums hang on no order.

    >>> time(Manner.SCATTER, Load(written=100), Profile(bandwidth=4.0, overhead=1.0, transpose=3))
    601000000000000
    """
    if how is Manner.PASS:
        return profile.time(load.macs, load.read + load.written)
    if how in _COPIES:
        return profile.time(elements=2 * load.written * _COPIES[how](profile))
    if how is Manner.STAMP:
        return profile.time(load.macs * profile.stamp, load.read + load.written)
    assert how is Manner.INTERPOLATION, how
    return profile.time(load.written * profile.resize, load.read + load.written)


# How many times dearer than a copy of the result it is, of what does nothing but copy.
_COPIES: dict[Manner, Callable[[Profile], float]] = {
    Manner.VIEW: lambda _: 0,
    Manner.STRETCH: lambda _: 1,
    Manner.SPLIT: lambda profile: profile.split,
    Manner.SCATTER: lambda profile: profile.transpose,
    Manner.BLOCKS: lambda profile: profile.blocks,
    Manner.LINES: lambda profile: profile.softmax,
}


def detour(op_type: str, rank: int | None, profile: Profile) -> int:
    """What a convolution pays that is not over images: engines turn it into one and back."""
    if op_type != "Conv" or rank in (None, 4):
        return 0
    return profile.time()
