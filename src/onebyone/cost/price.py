"""What an operator costs at given sizes: all prices are made here, from a manner and a load.

    time = overhead + max(MACs / peak, 4·moved / bandwidth)

    manner          moved                          work
    view            nothing                        none
    pass            read + written                 its MACs
    split           2·written · `split`            none
    scatter         2·written · `transpose`        none
    interpolation   read + written                 `resize` MACs for each number written

The report adds the same prices up over a whole graph (`cost.estimate`), so what pays here cannot
raise the time that it tells.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from onebyone.cost.profile import Profile

__all__ = ["Load", "Manner", "detour", "manner", "time"]


class Manner(Enum):
    """How an operator goes about its numbers."""

    VIEW = "no number moves"
    PASS = "numbers are read and written in the order in which they stand"
    SPLIT = "a result is cut up in stretches"
    SCATTER = "numbers go one by one to other places"
    INTERPOLATION = "each number is a weighted sum of its neighbours"


@dataclass(frozen=True)
class Load:
    """What an operator does: multiply-accumulates, numbers read (weights too), numbers written."""

    macs: float = 0
    read: float = 0
    written: float = 0


_VIEWS = frozenset({"Dropout", "Flatten", "Identity", "Reshape", "Shape", "Squeeze", "Unsqueeze"})
_SELECTIONS = frozenset({"Gather", "Slice"})
_RESIZES = frozenset({"Resize", "Upsample"})


def manner(op_type: str, *, of_positions: bool = True, interpolates: bool = False) -> Manner:
    """How an operator of the standard domain goes about its numbers.

    Args:
        op_type: its name.
        of_positions: of one that selects, whether positions or whole channels, which stand in one
            stretch each.
        interpolates: of one that resizes, whether it does more than copy the nearest.

    >>> manner("Slice"), manner("Slice", of_positions=False)
    (<Manner.SCATTER: ...>, <Manner.PASS: ...>)
    """
    if op_type in _VIEWS:
        return Manner.VIEW
    if op_type == "Split":
        return Manner.SPLIT
    if op_type == "Transpose" or (op_type in _SELECTIONS and of_positions):
        return Manner.SCATTER
    return Manner.INTERPOLATION if op_type in _RESIZES and interpolates else Manner.PASS


def time(how: Manner, load: Load, profile: Profile) -> int:
    """Picoseconds of one operator; a whole number, so that sums hang on no order.

    >>> time(Manner.SCATTER, Load(written=100), Profile(bandwidth=4.0, overhead=1.0, transpose=3))
    601000000000000
    """
    if how is Manner.VIEW:
        return profile.time()
    if how is Manner.SPLIT:
        return profile.time(elements=2 * load.written * profile.split)
    if how is Manner.SCATTER:
        return profile.time(elements=2 * load.written * profile.transpose)
    work = load.written * profile.resize if how is Manner.INTERPOLATION else load.macs
    return profile.time(work, load.read + load.written)


def detour(op_type: str, rank: int, profile: Profile) -> int:
    """What a convolution pays that is not over images: engines turn it into one and back."""
    return profile.time() if op_type == "Conv" and rank != 4 else 0
