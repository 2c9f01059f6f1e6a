"""Resize along one axis: every output is a weighted sum of its neighbours in the input.

Output i lies at a coordinate x(i) of the input, given by the coordinate mode. With a kernel k of
radius R (linear 1, cubic 2) and a stretch s (1, or min(scale, 1) with antialias)

    (S v)[i] = Σ_j k(s·(j - x(i))) v[clamp(j)]

where j runs over the integers, normalised to Σ = 1 with antialias, and with `exclude_outside`,
which also drops the j outside. Nearest rounds x(i) instead. So the rows sum to one in every mode
but "tf_crop_and_resize", which puts zeros where x(i) leaves the input.

Source of the modes and their names: the Resize of the exchange format, versions 10 to 19; the cubic
kernel: R. Keys, "Cubic convolution interpolation for digital image processing", IEEE TASSP 29
(1981), equation 4.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from onebyone.algebra.space import AxisMap, Few, Matrix, dense
from onebyone.errors import UsageError

__all__ = ["COORDINATES", "MODES", "ROUNDINGS", "Resize", "fit"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Frame:
    """What a coordinate mode may depend on. The scale is a ratio `after / before`, so that the
    positions of a resize to n_out are rounded once, and its ties are ties."""

    n_in: int
    n_out: int
    before: float
    after: float
    roi: tuple[float, float]

    def back(self, x: Floats) -> Floats:
        """x / scale."""
        return x * self.before / self.after

    @property
    def index(self) -> Floats:
        return np.arange(self.n_out, dtype=np.float64)


def _half_pixel(f: _Frame) -> Floats:
    return f.back(f.index + 0.5) - 0.5


def _half_pixel_symmetric(f: _Frame) -> Floats:
    # n_in/2 · (1 - n_out/(scale·n_in)), the centre of the output on the centre of the input.
    return (f.n_in - f.n_out * f.before / f.after) / 2 + _half_pixel(f)


def _pytorch_half_pixel(f: _Frame) -> Floats:
    if f.n_out <= 1:
        return np.zeros(f.n_out)
    return _half_pixel(f)


def _align_corners(f: _Frame) -> Floats:
    # The first and the last output lie on the first and the last input; a single one on the first.
    return f.index * (f.n_in - 1) / max(f.n_out - 1, 1)


def _asymmetric(f: _Frame) -> Floats:
    return f.back(f.index)


def _tf_half_pixel_for_nn(f: _Frame) -> Floats:
    return f.back(f.index + 0.5)


def _tf_crop_and_resize(f: _Frame) -> Floats:
    start, end = f.roi
    if f.n_out == 1:
        return np.array([0.5 * (start + end) * (f.n_in - 1)])
    return start * (f.n_in - 1) + f.index * (end - start) * (f.n_in - 1) / (f.n_out - 1)


COORDINATES: Mapping[str, Callable[[_Frame], Floats]] = {
    "half_pixel": _half_pixel,
    "half_pixel_symmetric": _half_pixel_symmetric,
    "pytorch_half_pixel": _pytorch_half_pixel,
    "align_corners": _align_corners,
    "asymmetric": _asymmetric,
    "tf_half_pixel_for_nn": _tf_half_pixel_for_nn,
    "tf_crop_and_resize": _tf_crop_and_resize,
}

# Those in which x(i + scale) = x(i) + 1 for a whole scale, and which ask no size otherwise.
_PERIODIC = frozenset(
    {"asymmetric", "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel",
     "tf_half_pixel_for_nn"}
)  # fmt: skip

# "simple" is what engines do where a file does not say: floor where the axis grows.
ROUNDINGS: Mapping[str, Callable[[Floats, _Frame], Floats]] = {
    "round_prefer_floor": lambda x, f: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x, f: np.floor(x + 0.5),
    "floor": lambda x, f: np.floor(x),
    "ceil": lambda x, f: np.ceil(x),
    "simple": lambda x, f: np.floor(x) if f.after >= f.before else np.ceil(x),
}


def _linear(t: Floats, a: float) -> Floats:
    hat: Floats = np.maximum(1 - np.abs(t), 0)
    return hat


def _cubic(t: Floats, a: float) -> Floats:
    t = np.abs(t)
    near = ((a + 2) * t - (a + 3)) * t * t + 1
    far = ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
    return np.where(t <= 1, near, np.where(t < 2, far, 0.0))


MODES: Mapping[str, tuple[Callable[[Floats, float], Floats], int]] = {
    "linear": (_linear, 1),
    "cubic": (_cubic, 2),
}


@dataclass(frozen=True)
class Resize(AxisMap):
    """One axis of a resize by interpolation.

    The output size is `size`, or else floor(n_in * scale) in float32, as engines have it; without
    both it is known only at run time. The coordinates use `scale`, or else n_out / n_in; but with
    `unknown_scale` (scales computed at run time, or an aspect ratio to keep, see `fit`) there is
    no matrix. `roi` is the (start, end) of tf_crop_and_resize, None where computed at run time.

    Raises `UsageError` for a mode, coordinate mode or rounding that is not known.

    >>> Resize("linear", scale=2.0).matrix(2)
    array([[1.  , 0.  ],
           [0.75, 0.25],
           [0.25, 0.75],
           [0.  , 1.  ]])
    """

    mode: str
    coordinates: str = "half_pixel"
    scale: float | None = None
    size: int | None = None
    rounding: str = "round_prefer_floor"
    cubic_a: float = -0.75
    exclude_outside: bool = False
    antialias: bool = False
    roi: tuple[float, float] | None = None
    unknown_scale: bool = False

    def __post_init__(self) -> None:
        _one_of(self.mode, ["nearest", *MODES])
        _one_of(self.coordinates, COORDINATES)
        _one_of(self.rounding, ROUNDINGS)

    @property
    def _extrapolates(self) -> bool:
        return self.coordinates == "tf_crop_and_resize"

    @property
    def preserves_constants(self) -> bool:
        return not self._extrapolates

    @property
    def is_selection(self) -> bool:
        return self.mode == "nearest" and not self._extrapolates

    def out_size(self, n_in: int) -> int | None:
        if self.size is not None or self.scale is None:
            return self.size
        # Where the product is nearly whole, the type decides: engines compute it in float32.
        return math.floor(np.float32(n_in) * np.float32(self.scale))

    def _frame(self, n_in: int, n_out: int) -> _Frame:
        if self.unknown_scale:
            raise UsageError(f"got {self}, wanted its scale: replace scale and unknown_scale")
        if self._extrapolates and self.roi is None:
            raise UsageError(f"got {self} without roi, wanted roi=(start, end)")
        # A scale that is given need not be the ratio of the sizes, which were rounded.
        before, after = 1, self.scale
        if after is None:
            before, after = n_in, n_out
        return _Frame(n_in, n_out, before, after, self.roi or (0.0, 1.0))

    def few(self, n_in: int, n_out: int) -> Few:
        if n_out == 0:
            return np.zeros((0, 1), np.int64), np.zeros((0, 1))
        frame = self._frame(n_in, n_out)
        x = COORDINATES[self.coordinates](frame)
        weigh = self._nearest if self.mode == "nearest" else self._weighted
        columns, weights = weigh(x, frame)
        outside = self._extrapolates & ((x < 0) | (x > n_in - 1))
        return columns, np.where(outside[:, None], 0.0, weights)

    def rows(self, n_in: int, n_out: int) -> Matrix:
        return dense(self.few(n_in, n_out), n_in)

    def _nearest(self, x: Floats, frame: _Frame) -> Few:
        sources = self._sources(x, frame)[:, None]
        return sources, np.ones(sources.shape)

    def _sources(self, x: Floats, frame: _Frame) -> NDArray[np.int64]:
        # A coordinate outside takes the border: the clamp of `_weighted`, with one neighbour.
        near = ROUNDINGS[self.rounding](x, frame)
        return near.clip(0, frame.n_in - 1).astype(np.int64)

    def copies(self, factor: int, n_in: int | None) -> bool:
        """Whether output i is input ⌊i / factor⌋, for all i of `factor` · n_in outputs.

        Formulas of nearest are many, and round in their own ways: so what they pick is computed.
        With n_in None, whether it holds for every size (conservative).

        >>> Resize("nearest", "asymmetric", 2.0).copies(2, None)
        True
        >>> [Resize("nearest", "asymmetric", 3.0).copies(3, n) for n in (1, 2)]
        [True, False]
        """
        stretched = self.scale in (None, factor) and not self.unknown_scale
        if not (self.is_selection and stretched):
            return False
        if n_in is None:
            if self.coordinates not in _PERIODIC:
                return False
            # x(i + factor) = x(i) + 1: the one in the middle, which no border bends, tells of all.
            n_in = 3
        frame = self._frame(n_in, n_in * factor)
        found = self._sources(COORDINATES[self.coordinates](frame), frame)
        return np.array_equal(found, np.arange(n_in * factor) // factor)

    def _weighted(self, x: Floats, frame: _Frame) -> Few:
        kernel, radius = MODES[self.mode]
        stretch = 1.0
        if self.antialias:
            stretch = min(frame.after / frame.before, 1.0)
        # Shrinking with antialias widens the kernel, so that no input position is passed over.
        reach = math.ceil(radius / stretch)
        neighbours = np.floor(x).astype(np.int64)[:, None] + np.arange(1 - reach, reach + 1)
        weights = kernel((neighbours - x[:, None]) * stretch, self.cubic_a)
        if self.exclude_outside:
            weights *= (neighbours >= 0) & (neighbours < frame.n_in)
        if self.exclude_outside or self.antialias:
            # The kernel alone sums to one only over all integers, unstretched.
            total = weights.sum(axis=1, keepdims=True)
            # Zero where no neighbour is inside: only where tf_crop_and_resize extrapolates.
            weights /= np.where(total == 0, 1, total)
        return neighbours.clip(0, frame.n_in - 1), weights


def _one_of(got: str, known: Any) -> None:
    if got not in known:
        raise UsageError(f"got {got!r}, wanted one of {', '.join(known)}: check the Resize")


def fit(
    lengths: Sequence[int], sizes: Sequence[int], policy: Literal["not_larger", "not_smaller"]
) -> tuple[float, tuple[int, ...]]:
    """The scale and the output sizes that keep the ratio of all axes.

    `lengths` are the input's sizes, `sizes` what was asked for, axis by axis: what comes out is at
    most that ("not_larger"), or at least.

    >>> fit((4, 6), (8, 9), "not_larger")
    (1.5, (6, 9))
    """
    ratios = [Fraction(size, length) for size, length in zip(sizes, lengths, strict=True)]
    scale = max(ratios)
    if policy == "not_larger":
        scale = min(ratios)
    # In rational numbers, so that a tie is a tie: halves are rounded up.
    half = Fraction(1, 2)
    return float(scale), tuple(math.floor(scale * length + half) for length in lengths)
