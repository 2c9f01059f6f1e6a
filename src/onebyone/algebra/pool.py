"""Axis maps that add up windows: average pooling, and the mean or sum over a whole axis.

An average over a window of several axes divides by the product of the per-axis counts, so it is
separable: one `AveragePool` per axis, each dividing by its own count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from onebyone.algebra.space import AxisMap, Matrix

__all__ = ["AveragePool", "Mean", "Sum"]

AutoPad = Literal["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]


@dataclass(frozen=True)
class Mean(AxisMap):
    """The mean over the axis, (1, n_in): global average pooling, ReduceMean.

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
    """The sum over the axis, (1, n_in): ReduceSum. A constant c becomes n·c.

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
    """One axis of ONNX AveragePool, every attribute.

    Output i averages inputs `i * stride - before + t * dilation`, t < kernel, dividing by the taps
    inside the input, or with `count_include_pad` inside the padded input (what `ceil_mode` adds
    beyond the padding is never counted: opset 19, and PyTorch). With `ceil_mode` a last window
    that would start behind the input is dropped.

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
    def _same(self) -> bool:
        return self.auto_pad.startswith("SAME")

    @property
    def _padded(self) -> bool:
        explicit = self.auto_pad == "NOTSET" and (self.before, self.after) != (0, 0)
        return explicit or (self._same and self.kernel > 1)

    @property
    def preserves_constants(self) -> bool:
        """True where each window divides by the taps it has, and has at least one.

        Counted padding breaks it. So do, in some engines before opset 19, counted windows that
        `ceil_mode` cuts off; and dilated windows with padding can miss the input altogether.
        """
        if self.count_include_pad:
            return not self._padded and not self.ceil_mode
        met = self.dilation == 1 and max(self.before, self.after) < self.kernel
        return met or not self._padded

    @property
    def is_selection(self) -> bool:
        return self.kernel == 1 and self.preserves_constants

    @property
    def _extent(self) -> int:
        return (self.kernel - 1) * self.dilation + 1

    def pads(self, n_in: int) -> tuple[int, int]:
        """(before, after) on an axis of n_in, with `auto_pad` worked out."""
        if not self._same:
            return (self.before, self.after) if self.auto_pad == "NOTSET" else (0, 0)
        total = max((-(-n_in // self.stride) - 1) * self.stride + self._extent - n_in, 0)
        less, more = total // 2, total - total // 2
        return (less, more) if self.auto_pad == "SAME_UPPER" else (more, less)

    def fits(self, n_in: int) -> bool:
        """Whether there is a whole window in a padded axis of n_in; where not, engines differ.

        >>> AveragePool(3, before=1).fits(2), AveragePool(3, before=1).fits(1)
        (True, False)
        """
        return n_in + sum(self.pads(n_in)) >= self._extent

    def out_size(self, n_in: int) -> int:
        before, after = self.pads(n_in)
        room = n_in + before + after - self._extent
        if not self.ceil_mode:  # rounded to zero where no window fits, as ONNX Runtime does
            return max((room if room >= 0 else room + self.stride - 1) // self.stride + 1, 0)
        windows = -(-room // self.stride) + 1
        return max(windows - ((windows - 1) * self.stride >= n_in + before), 0)

    def _taps(self, n_in: int, n_out: int) -> NDArray[np.int64]:
        """The position that each tap reads, (n_out, kernel), in the unpadded input."""
        starts = np.arange(n_out) * self.stride - self.pads(n_in)[0]
        return np.add.outer(starts, np.arange(self.kernel) * self.dilation)

    def rows(self, n_in: int, n_out: int) -> Matrix:
        before, after = self.pads(n_in) if self.count_include_pad else (0, 0)
        taps = self._taps(n_in, n_out)
        counts = ((taps >= -before) & (taps < n_in + after)).sum(axis=1)
        hits = (taps[:, :, None] == np.arange(n_in)).sum(axis=1)
        averages: Matrix = hits / np.maximum(counts, 1)[:, None]
        return averages
