"""Selections against NumPy's own indexing, padding and tiling."""

from __future__ import annotations

import itertools
from typing import get_args

import numpy as np
import pytest

from onebyone.algebra.selection import Expand, Pad, PadMode, Select, Shift, Slice, Tile, subsample
from onebyone.algebra.space import apply
from onebyone.errors import UsageError

ENDS = [None, 0, 1, 2, -1, -2, 9, -9, 2**63 - 1, -(2**63)]


@pytest.mark.parametrize("n", [1, 2, 5])
def test_slice_is_pythons_but_never_starts_before_the_first(n: int) -> None:
    x = np.arange(1.0, n + 1)
    for start, stop, step in itertools.product(ENDS, ENDS, [1, 2, -1, -3]):
        cut = Slice(start, stop, step)
        first = start if start is None else max(start, -n)
        assert (apply({0: cut}, x) == x[first:stop:step]).all()
        assert cut.out_size(n) == len(x[first:stop:step])


def test_subsample_sees_what_a_strided_pointwise_convolution_sees() -> None:
    x = np.arange(7.0)
    assert (apply({0: subsample(3, 1)}, x) == x[1::3]).all()


@pytest.mark.parametrize("mode", get_args(PadMode))
@pytest.mark.parametrize(("before", "after"), [(0, 0), (1, 0), (0, 3), (2, 1)])
def test_pad_is_numpys(mode: PadMode, before: int, after: int) -> None:
    x = np.arange(1.0, 6.0)
    assert (apply({0: Pad(before, after, mode)}, x) == np.pad(x, (before, after), mode)).all()


@pytest.mark.parametrize(("before", "after"), [(-1, 0), (-1, -2), (2, -1), (-3, 2)])
def test_negative_pads_crop(before: int, after: int) -> None:
    x = np.arange(1.0, 6.0)
    grown = np.pad(x, (max(before, 0), max(after, 0)))
    wanted = grown[max(-before, 0) : len(grown) + min(after, 0)]
    assert (apply({0: Pad(before, after)}, x) == wanted).all()
    assert Pad(before, after).is_selection == (max(before, after) <= 0)


def test_a_crop_of_everything_leaves_nothing() -> None:
    assert Pad(-2, -2).matrix(3).shape == (0, 3)


@pytest.mark.parametrize("indices", [(0,), (3, 3, 1), (-1, 0, -4)])
def test_select_is_numpys_take(indices: tuple[int, ...]) -> None:
    x = np.arange(10.0, 14.0)
    assert (apply({0: Select(indices)}, x) == x[list(indices)]).all()


def test_select_names_an_index_that_does_not_exist() -> None:
    with pytest.raises(UsageError, match=r"got index 4 on an axis of 4, wanted -4\.\.3"):
        Select((0, 4)).matrix(4)


@pytest.mark.parametrize(("size", "n", "wanted"), [(4, 1, 4), (4, 4, 4), (1, 3, 3), (1, 1, 1)])
def test_expand_broadcasts(size: int, n: int, wanted: int) -> None:
    x = np.arange(1.0, n + 1)
    assert (apply({0: Expand(size)}, x) == np.broadcast_to(x, wanted)).all()


def test_expand_takes_its_size_at_run_time() -> None:
    assert Expand().out_size(1) is None
    assert Expand().matrix(1, 3).tolist() == [[1], [1], [1]]
    assert (Expand().matrix(3) == np.eye(3)).all()


def test_expand_refuses_an_axis_that_is_not_one() -> None:
    with pytest.raises(UsageError, match="got an axis of 2 to expand to 3"):
        Expand(3).matrix(2)


def test_tile_repeats_the_whole_axis() -> None:
    assert (apply({0: Tile(3)}, np.arange(2.0)) == np.tile(np.arange(2.0), 3)).all()


@pytest.mark.parametrize("offset", [-4, -1, 0, 2, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_shift_fills_with_zeros(offset: int, stride: int) -> None:
    x = np.arange(1.0, 5.0)
    far = np.pad(x, 20)
    wanted = far[20 + offset :][: 3 * stride : stride]
    assert (apply({0: Shift(offset, stride)}, x, {0: 3}) == wanted).all()
