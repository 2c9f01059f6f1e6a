"""Layers that give several outputs for one position, as an `Axis`: they have several phases.

Symbols. f outputs for each position, or a outputs for each b: the scale is a/b.

*Blocks*: outputs f·B … f·B + f − 1 are made of position B, as in a depth-to-space.

*Transposed windows* (k taps, s apart, p and q of the result cut off, e added behind): output i is
made of the positions j with 0 ≤ i + p − s·j < r, of the n·s + r − s + e − p − q outputs that there
are; phase φ sees ⌈(φ + p − r + 1) / s⌉ … ⌊(φ + p) / s⌋.

*Resizes* by a scale a/b: output i lies at (i + ½)·b/a − ½ or at i·b/a, and is made of the positions
around, those outside taken from the end (`resize`). Coordinates that hang on the size of the image
have no phases that repeat. The scale has to be what its digits say: a third in float32 is none.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import ceil, floor

from onebyone.algebra.geometry import Axis, Phase
from onebyone.algebra.resize import Resize
from onebyone.algebra.window import Window

__all__ = ["blocks", "resized", "transposed"]

MOST = 64
"""Outputs or positions of a block of a resize: a scale of more digits is a rounded one."""


def blocks(times: int) -> Axis:
    """Each position becomes so many outputs, that are made of it alone.

    >>> blocks(2).size(5), blocks(2).needed(range(3, 6), 5)
    (10, range(1, 3))
    """
    return Axis((Phase(),) * times)


def transposed(window: Window, longer: int = 0) -> Axis:
    """What is written by windows: `before` and `after` are cut off, `longer` comes behind.

    >>> double = transposed(Window(4, 2, 1, 1))
    >>> double.size(5), [(phase.first, phase.last) for phase in double.phases]
    (10, [(-1, 0), (0, 1)])
    """
    stride, cut = window.stride, window.before
    more = window.extent - stride + longer - cut - window.after

    def phase(k: int) -> Phase:
        last = (k + cut) // stride
        # Between the taps of a wide stride nothing is written: as well made of one position.
        first = min(-((window.extent - 1 - k - cut) // stride), last)
        return Phase(first, last, -first, last + 1, (k - more) // stride + 1)

    return Axis(tuple(map(phase, range(stride))))


def resized(resize: Resize) -> Axis | str:
    """A resize by a fixed scale, or why it has no phases.

    >>> resized(Resize("linear", "half_pixel", 2.0)).phases[0]
    Phase(first=-1, last=0, start=1, end=1, exists=1)
    >>> resized(Resize("linear", "align_corners", 2.0))
    'it aligns corners, so that its coordinates hang on the size of the image'
    """
    if resize.scale is None or resize.size is not None or resize.unknown_scale:
        return "it resizes to a size, whatever the size of the image is"
    scale = Fraction(resize.scale)
    if resize.coordinates == "align_corners":
        return "it aligns corners, so that its coordinates hang on the size of the image"
    places = _PLACES.get(resize.coordinates)
    if places is None or (resize.coordinates == "half_pixel_symmetric" and scale.denominator > 1):
        return f"its coordinates ({resize.coordinates}) hang on the size of the image"
    if resize.antialias and scale < 1:
        return "it filters before it makes smaller (antialias)"
    if max(scale.numerator, scale.denominator) > MOST:
        return f"its scale {resize.scale:.9g} is no ratio of small numbers"
    phases = tuple(_phase(resize, places(k, scale), k, scale) for k in range(scale.numerator))
    # A single output lies at the start in one of the modes: a tile has to have more than one.
    least = max(1, ceil(2 / scale)) if resize.coordinates == "pytorch_half_pixel" else 1
    return Axis(phases, scale.denominator, scale.denominator, least=least)


def _half_pixel(output: int, scale: Fraction) -> Fraction:
    return (output + Fraction(1, 2)) / scale - Fraction(1, 2)


_PLACES: dict[str, Callable[[int, Fraction], Fraction]] = {
    "half_pixel": _half_pixel,
    "half_pixel_symmetric": _half_pixel,
    "pytorch_half_pixel": _half_pixel,
    "asymmetric": lambda output, scale: output / scale,
    "tf_half_pixel_for_nn": lambda output, scale: (output + Fraction(1, 2)) / scale,
}


def _phase(resize: Resize, place: Fraction, number: int, scale: Fraction) -> Phase:
    if resize.mode == "nearest":
        first = last = _ROUNDED[resize.rounding](place, scale)
    else:
        reach = _REACH[resize.mode]
        first, last = floor(place) - reach + 1, ceil(place) + reach - 1
        if scale.numerator & (scale.numerator - 1):
            # The coordinate is rounded: one at a position itself may come to lie on either side.
            first, last = ceil(place) - reach, floor(place) + reach
    per = scale.denominator
    exists = ceil((number + 1) / scale)
    return Phase(first, last, -(first // per), last + 1, exists)


_REACH = {"linear": 1, "cubic": 2}
_HALF = Fraction(1, 2)
_ROUNDED: dict[str, Callable[[Fraction, Fraction], int]] = {
    "round_prefer_floor": lambda x, scale: ceil(x - _HALF),
    "round_prefer_ceil": lambda x, scale: floor(x + _HALF),
    "floor": lambda x, scale: floor(x),
    "ceil": lambda x, scale: ceil(x),
    "simple": lambda x, scale: floor(x) if scale >= 1 else ceil(x),
}
