"""Axis maps whose rows are one-hot or zero: every output copies one input, or is zero.

    (S x)[i] = x[s(i)]    or 0 where s(i) = -1

Where no row is zero the map is a *selection*: it maps constants to constants and commutes with
every elementwise function. Zero padding and the shifts of a K×K kernel have zero rows and do not.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from onebyone.algebra.space import AxisMap, Matrix, one_hot
from onebyone.errors import UsageError

__all__ = [
    "Beside", "Expand", "Gathered", "Pad", "Select", "Shift", "Slice", "SourceMap", "Tile",
    "subsample",
]  # fmt: skip

Sources = NDArray[np.int64]
PadMode = Literal["constant", "reflect", "edge", "wrap"]


class SourceMap(AxisMap):
    """An axis map given by the index `s(i)` of the input that output i copies."""

    @property
    def preserves_constants(self) -> bool:
        return self.is_selection

    @property
    def is_selection(self) -> bool:
        return True

    @abstractmethod
    def sources(self, n_in: int, n_out: int) -> Sources:
        """`s`: int64 (n_out,), each in [0, n_in) or -1 for a zero."""

    def rows(self, n_in: int, n_out: int) -> Matrix:
        return one_hot(self.sources(n_in, n_out), n_in)


@dataclass(frozen=True)
class Slice(SourceMap):
    """start:stop:step as in Python: crop, subsample; a negative step flips.

    Unlike Python's, one that starts before the first position takes the first, also backwards.

    >>> Slice(step=-2).sources(5, 3)
    array([4, 2, 0])
    """

    start: int | None = None
    stop: int | None = None
    step: int = 1

    def _range(self, n_in: int) -> range:
        # Python would leave such a slice empty: its bounds are clipped to −1, not to 0.
        start = self.start
        if self.step < 0 and start is not None:
            start = max(start, -n_in)
        return range(*slice(start, self.stop, self.step).indices(n_in))

    def out_size(self, n_in: int) -> int:
        return len(self._range(n_in))

    def sources(self, n_in: int, n_out: int) -> Sources:
        return np.array(self._range(n_in), dtype=np.int64)


def subsample(stride: int, offset: int = 0) -> Slice:
    """Every `stride`-th position from `offset` on: what a strided 1×1 convolution sees.

    >>> subsample(2, 1).out_size(6)
    3
    """
    return Slice(offset, None, stride)


@dataclass(frozen=True)
class Select(SourceMap):
    """The positions `indices`, in that order, repeats allowed.

    A negative index counts from the end. Raises `UsageError` for an index that does not exist.

    >>> Select((-1, 0, 0)).sources(4, 3)
    array([3, 0, 0])
    """

    indices: tuple[int, ...]

    def out_size(self, n_in: int) -> int:
        return len(self.indices)

    def sources(self, n_in: int, n_out: int) -> Sources:
        wrong = [i for i in self.indices if not -n_in <= i < n_in]
        if wrong:
            raise UsageError(
                f"got index {wrong[0]} on an axis of {n_in}, wanted {-n_in}..{n_in - 1}: "
                "check the indices"
            )
        return np.array(self.indices, dtype=np.int64) % n_in


class _Late(AxisMap):
    """A selection of which the positions are known only when the model runs."""

    @property
    def preserves_constants(self) -> bool:
        return True

    @property
    def is_selection(self) -> bool:
        return True

    def out_size(self, n_in: int) -> int | None:
        return None

    def rows(self, n_in: int, n_out: int) -> Matrix:
        raise UsageError("got a gather at run time, wanted a matrix: its positions are not known")


@dataclass(frozen=True)
class Gathered(_Late):
    """An axis of which positions are picked, any and any number of times.

    >>> Gathered().is_selection, Gathered().preserves_constants
    (True, True)
    """


@dataclass(frozen=True)
class Beside(_Late):
    """An axis that stays, on whose position it hangs which positions of others are picked.

    For a batch of images, each with picks of its own, it is the batch.
    """


@dataclass(frozen=True)
class Expand(SourceMap):
    """Broadcast an axis of size one to `size` (None: known only at run time).

    An axis that already has that size, and any axis expanded to one, stays as it is.

    >>> Expand(3).matrix(1).tolist()
    [[1.0], [1.0], [1.0]]
    """

    size: int | None = None

    def out_size(self, n_in: int) -> int | None:
        if n_in == 1:
            return self.size
        return n_in

    def sources(self, n_in: int, n_out: int) -> Sources:
        if self.size not in (None, 1, n_in) and n_in != 1:
            raise UsageError(
                f"got an axis of {n_in} to expand to {self.size}, wanted an axis of 1: "
                "check the shape that is asked for"
            )
        return np.arange(n_out) % n_in


@dataclass(frozen=True)
class Tile(SourceMap):
    """The whole axis `repeats` times over (None: known only at run time).

    >>> Tile(2).sources(3, 6)
    array([0, 1, 2, 0, 1, 2])
    """

    repeats: int | None = None

    def out_size(self, n_in: int) -> int | None:
        if self.repeats is None:
            return None
        return n_in * self.repeats

    def sources(self, n_in: int, n_out: int) -> Sources:
        return np.arange(n_out) % n_in


@dataclass(frozen=True)
class Pad(SourceMap):
    """`before` and `after` positions added by `mode`; negative counts crop.

    Modes: "constant" (zeros here), "reflect" (the border not repeated), "edge",
    "wrap". Zero padding keeps neither constants nor selections; the other modes keep both.

    >>> Pad(1, 2, "reflect").sources(4, 7)
    array([1, 0, 1, 2, 3, 2, 1])
    """

    before: int
    after: int
    mode: PadMode = "constant"

    @property
    def is_selection(self) -> bool:
        return self.mode != "constant" or max(self.before, self.after) <= 0

    def out_size(self, n_in: int) -> int:
        return max(n_in + self.before + self.after, 0)

    def sources(self, n_in: int, n_out: int) -> Sources:
        # Indices are padded as the positions are; −1, in the constant's place, stands for a zero.
        zero: dict[str, Any] = {"constant_values": -1} if self.mode == "constant" else {}
        grown = (max(self.before, 0), max(self.after, 0))
        padded: Sources = np.pad(np.arange(n_in), grown, mode=self.mode, **zero)
        first = max(-self.before, 0)
        return padded[first : first + n_out]


@dataclass(frozen=True)
class Shift(SourceMap):
    """T_k, one tap of a K×K kernel: output i reads input `i * stride + offset`, zero outside.

    Its output size is the kernel's, so `matrix` wants n_out. Not a selection: the border reads
    zeros wherever `offset` leaves the input.

    >>> Shift(-1).matrix(2, 2)
    array([[0., 0.],
           [1., 0.]])
    """

    offset: int
    stride: int = 1

    @property
    def is_selection(self) -> bool:
        return False

    def out_size(self, n_in: int) -> int | None:
        return None

    def sources(self, n_in: int, n_out: int) -> Sources:
        read = np.arange(n_out) * self.stride + self.offset
        return np.where((read >= 0) & (read < n_in), read, -1)
