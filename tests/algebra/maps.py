"""Hypothesis strategies for axis maps, every attribute drawn."""

from __future__ import annotations

from typing import get_args

from hypothesis import strategies as st

from onebyone.algebra.pool import AutoPad, AveragePool, Mean, Sum
from onebyone.algebra.resize import COORDINATES, ROUNDINGS, Resize
from onebyone.algebra.selection import Expand, Pad, PadMode, Select, Shift, Slice, Tile
from onebyone.algebra.space import AxisMap

__all__ = ["SIZES", "axis_maps", "out_size", "pools", "resizes"]

SIZES = range(1, 12)

_ends = st.integers(-3, 3) | st.none()
_steps = st.sampled_from([1, 2, 3, -1, -2])
_slices = st.builds(Slice, _ends, _ends, _steps)
_modes = st.sampled_from(get_args(PadMode))
_pads = st.builds(Pad, st.integers(0, 3), st.integers(0, 3), _modes)
_crops = st.builds(Pad, st.integers(-1, 0), st.integers(-1, 0), _modes)
_tiles = st.builds(Tile, st.integers(1, 3))
_selects = st.builds(Select, st.lists(st.sampled_from([0, -1]), min_size=1, max_size=4).map(tuple))
_selections = _slices | _pads | _crops | _tiles | _selects | st.just(Expand(1))

pools = st.builds(
    AveragePool,
    kernel=st.integers(1, 4),
    stride=st.integers(1, 3),
    before=st.integers(0, 2),
    after=st.integers(0, 2),
    dilation=st.integers(1, 2),
    ceil_mode=st.booleans(),
    count_include_pad=st.booleans(),
    auto_pad=st.sampled_from(get_args(AutoPad)),
)

resizes = st.builds(
    Resize,
    mode=st.sampled_from(["nearest", "linear", "cubic"]),
    coordinates=st.sampled_from(list(COORDINATES)),
    scale=st.sampled_from([0.3, 0.5, 0.6, 1.5, 1.7, 2.0, 3.0]) | st.none(),
    size=st.none(),
    rounding=st.sampled_from(list(ROUNDINGS)),
    cubic_a=st.sampled_from([-0.75, -0.5]),
    exclude_outside=st.booleans(),
    antialias=st.booleans(),
    roi=st.sampled_from([(0.0, 1.0), (0.25, 0.75), (-0.5, 1.25)]),
)

_shifts = st.builds(Shift, st.integers(-3, 3), st.integers(1, 2))
_wholes = st.sampled_from([Mean(), Sum()])
axis_maps = _selections | pools | resizes | _shifts | _wholes


def out_size(axis_map: AxisMap, n_in: int, otherwise: int) -> int | None:
    """What the map says, `otherwise` where it leaves it open, None where nothing is put out."""
    known = axis_map.out_size(n_in)
    size = otherwise if known is None else known
    return size if size > 0 else None
