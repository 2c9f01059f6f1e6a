"""Axis maps that add up windows: average pooling, and the mean or sum over a whole axis.

An average over a window of several axes divides by the product of the per-axis counts, so it is
separable: one `AveragePool` per axis, each dividing by its own count.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from onebyone.algebra.space import AxisMap, Few, Matrix, dense
from onebyone.algebra.window import Window

__all__ = ["AveragePool", "Mean", "Sum"]

AutoPad = Literal["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]


@dataclass(frozen=True)
class Mean(AxisMap):
    """The mean over the axis, (1, n_in): global average pooling.

    >>> Mean().matrix(4)
    array([[0.25, 0.25, 0.25, 0.25]])
    """

    preserves_constants = True
    is_selection = False

    def out_size(self, n_in: int) -> int:
        return 1

    def rows(self, n_in: int, n_out: int) -> Matrix:
        return np.full((1, n_in), 1 / n_in)


@dataclass(frozen=True)
class Sum(AxisMap):
    """The sum over the axis, (1, n_in). A constant c becomes n·c.

    >>> Sum().matrix(3)
    array([[1., 1., 1.]])
    """

    preserves_constants = False
    is_selection = False

    def out_size(self, n_in: int) -> int:
        return 1

    def rows(self, n_in: int, n_out: int) -> Matrix:
        return np.ones((1, n_in))


@dataclass(frozen=True)
class AveragePool(AxisMap):
    """One axis of an average pool.

    Output i averages what its window sees (`window`), dividing by the taps inside the input, or
    with `count_include_pad` inside the padded input; what `ceil_mode`, rounding up, adds beyond the
    padding is never counted. `auto_pad` pads so that the size over the stride is kept, with the odd
    position behind (upper) or before (lower), or not at all ("VALID").

    >>> AveragePool(kernel=2, stride=2, before=1, after=1, count_include_pad=True).matrix(2)
    array([[0.5, 0. ],
           [0. , 0.5]])
    """

    kernel: int
    stride: int = 1
    before: int = 0
    after: int = 0
    dilation: int = 1
    ceil_mode: bool = False
    count_include_pad: bool = False
    auto_pad: AutoPad = "NOTSET"

    @property
    def _padded(self) -> bool:
        if self.auto_pad == "NOTSET":
            return (self.before, self.after) != (0, 0)
        return self.auto_pad != "VALID" and self.kernel > 1

    @property
    def preserves_constants(self) -> bool:
        """True where each window divides by the taps it has, and has at least one.

        Counted padding breaks it. So do, in engines that count what rounding up adds, counted
        windows that are cut off; and dilated windows with padding can miss the input altogether.
        """
        if self.count_include_pad:
            return not self._padded and not self.ceil_mode
        met = self.dilation == 1 and max(self.before, self.after) < self.kernel
        return met or not self._padded

    @property
    def is_selection(self) -> bool:
        return self.kernel == 1 and self.preserves_constants

    @property
    def stays_inside(self) -> bool:
        """Whether no window leaves the axis, where there is room for one."""
        return not self._padded and not self.ceil_mode

    def plain(self, n_in: int | None) -> AveragePool:
        """The same map on an axis of n_in, None for any, without what makes no difference there.

        >>> AveragePool(2, stride=2, ceil_mode=True).plain(4) == AveragePool(2, stride=2)
        True
        """
        alone = AveragePool(self.kernel, self.stride, dilation=self.dilation)
        if n_in is None:
            same = not self._padded and (not self.ceil_mode or self.stride == 1)
        else:
            same = self.pads(n_in) == (0, 0) and self.out_size(n_in) == alone.out_size(n_in)
        if same:
            return alone
        return self

    def window(self, n_in: int) -> Window:
        """The window on an axis of n_in, with `auto_pad` worked out; sizes not yet rounded up."""
        window = Window(self.kernel, self.stride, self.before, self.after, self.dilation)
        if self.auto_pad == "NOTSET":
            return window
        pads = (0, 0)
        if self.auto_pad != "VALID":
            pads = window.same_pads(n_in, odd_before=self.auto_pad == "SAME_LOWER")
        return replace(window, before=pads[0], after=pads[1])

    def pads(self, n_in: int) -> tuple[int, int]:
        """(before, after) on an axis of n_in, with `auto_pad` worked out."""
        window = self.window(n_in)
        return window.before, window.after

    def fits(self, n_in: int) -> bool:
        """Whether there is a whole window in a padded axis of n_in; where not, engines differ."""
        return self.window(n_in).fits(n_in)

    def out_size(self, n_in: int) -> int:
        window = self.window(n_in)
        # Where no window fits, engines divide a negative number, and round that towards zero: up.
        rounds_up = self.ceil_mode or not window.fits(n_in)
        if rounds_up:
            window = window.rounded_up()
        return window.out_size(n_in)

    def few(self, n_in: int, n_out: int) -> Few:
        window = self.window(n_in)
        taps = window.taps(n_out)
        before, after = (window.before, window.after) if self.count_include_pad else (0, 0)
        counts = ((taps >= -before) & (taps < n_in + after)).sum(axis=1)
        hits = (taps >= 0) & (taps < n_in)
        # A window of padding alone averages nothing: zero, not 0 / 0.
        return taps.clip(0, n_in - 1), hits / np.maximum(counts, 1)[:, None]

    def rows(self, n_in: int, n_out: int) -> Matrix:
        return dense(self.few(n_in, n_out), n_in)
