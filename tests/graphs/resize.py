"""Draw Resize nodes whose weights are dyadic, so that interpolation stays exact."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from typing import Any

import numpy as np

from .sketch import MAX_SIZE, Sizes, Sketch, Value

__all__ = ["resize", "upsample_to"]

Coordinate = Callable[[int, Fraction, int, int], Fraction]
_HALF = Fraction(1, 2)


def _half_pixel(i: int, scale: Fraction, n: int, m: int) -> Fraction:
    return (i + _HALF) / scale - _HALF


def _pytorch_half_pixel(i: int, scale: Fraction, n: int, m: int) -> Fraction:
    return _half_pixel(i, scale, n, m) if m > 1 else Fraction(0)


def _align_corners(i: int, scale: Fraction, n: int, m: int) -> Fraction:
    return Fraction(i * (n - 1), m - 1) if m > 1 else Fraction(0)


def _asymmetric(i: int, scale: Fraction, n: int, m: int) -> Fraction:
    return i / scale


# ONNX operator specification, Resize: output position -> input position.
COORDINATES: dict[str, Coordinate] = {
    "half_pixel": _half_pixel,
    "pytorch_half_pixel": _pytorch_half_pixel,
    "align_corners": _align_corners,
    "asymmetric": _asymmetric,
}


@dataclass(frozen=True)
class _Along:
    """A resize of one axis: output sizes (one per trial) and the scale that is written down."""

    sizes: Sizes
    scale: Fraction


def _fraction_bits(coordinate: str, n: int, m: int, scale: Fraction) -> int | None:
    """Bits after the point of the interpolation's positions; None where not exact in float32.

    A scale such as 1/7 is rounded before it is divided by, so it must be dyadic too.
    """
    at = [COORDINATES[coordinate](i, scale, n, m) for i in range(m)]
    bottoms = [p.denominator for p in at]
    if coordinate != "align_corners":
        bottoms.append(scale.denominator)
    if any(bottom & (bottom - 1) for bottom in bottoms):
        return None
    return max(p.denominator for p in at).bit_length() - 1


def _cost_in_bits(x: Value, mode: str, coordinate: str, along: list[_Along]) -> int | None:
    """Fractional bits that the interpolation adds; None where it is not dyadic."""
    if mode == "nearest":
        return 0
    total = 0
    for axis, a in enumerate(along, start=2):
        each = [
            _fraction_bits(coordinate, n, m, a.scale)
            for n, m in zip(x.sizes(axis), a.sizes, strict=True)
        ]
        if None in each:
            return None
        worst = max(bits for bits in each if bits is not None)
        # Linear: where both neighbours are the same pixel an engine may split it into two halves.
        # Cubic: the weights are t³ times a coefficient in quarters.
        total += max(1, worst) if mode == "linear" else 3 * worst + 2
    return total


def _by_scale(g: Sketch, x: Value, axis: int) -> _Along:
    scale = Fraction(g.pick([2, 1, 4, Fraction(1, 2), 3, Fraction(3, 2)]))
    return _Along(tuple(floor(n * scale) for n in x.sizes(axis)), scale)


def _by_size(g: Sketch, x: Value, axis: int) -> _Along:
    sizes = x.sizes(axis)
    target = g.pick([2 * sizes[0], 2 * sizes[0] - 1, sizes[0], g.integer(1, 9)])
    return _Along((target,) * len(sizes), Fraction(target, sizes[0]))


def _modes(g: Sketch, x: Value, along: list[_Along]) -> tuple[str, str, int]:
    """An interpolation and a coordinate mode that stay dyadic here, and the bits they add."""
    mode = g.pick(["linear", "nearest", "cubic"])
    start = g.integer(0, len(COORDINATES) - 1)
    names = list(COORDINATES)[start:] + list(COORDINATES)[:start]
    for coordinate in names:
        bits = _cost_in_bits(x, mode, coordinate, along)
        if bits is not None:
            return mode, coordinate, bits
    return "nearest", names[0], 0


def _extra(g: Sketch, mode: str) -> dict[str, Any]:
    """Attributes that belong to one mode."""
    if mode == "cubic":
        return {"cubic_coeff_a": g.pick([-0.75, -0.5]), "exclude_outside": None}
    if mode == "nearest":
        kinds = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]
        return {"nearest_mode": g.pick(kinds)}
    return {}


def _emit(
    g: Sketch, x: Value, along: list[_Along], scales: str, sizes: str, modes: tuple[str, str, int]
) -> Value | None:
    mode, coordinate, bits = modes
    y = x
    for axis, a in enumerate(along, start=2):
        y = y.sized(axis, a.sizes)
    if not y.small():
        return None
    # Before opset 13 the unused ones are there, and empty.
    none = "" if g.opset >= 13 else g.constant(np.zeros(0, np.float32))
    inputs = [x.name, none, scales or none, sizes] if sizes else [x.name, none, scales]
    attributes = {"mode": mode, "coordinate_transformation_mode": coordinate}
    node = g.node("Resize", inputs, **attributes, **_extra(g, mode))
    g.mark(f"resize {mode}", f"resize {coordinate}", "resize sizes" if sizes else "resize scales")
    # |cubic weights| sum to at most 1.5 along an axis for a >= -0.75 (at t = 1/2: 1.375).
    growth = 1.5 ** len(along) if mode == "cubic" else 1
    return y.becomes(node, bound=x.bound * growth, bits=x.bits + bits, grid=None)


def resize(g: Sketch, x: Value) -> Value | None:
    """A Resize by scales or by sizes, in any mode that stays exact."""
    if g.chance(3):
        along = [_by_size(g, x, axis) for axis in (2, 3)]
        if len(x.shapes) > 1 and any(len(set(x.sizes(axis))) > 1 for axis in (2, 3)):
            return None  # a fixed target needs a scale per trial; upsample_to draws those
        modes = _modes(g, x, along)
        sizes = g.extents([(x, 0, 2), *(a.sizes[0] for a in along)])
        return _emit(g, x, along, "", sizes, modes)
    along = [_by_scale(g, x, axis) for axis in (2, 3)]
    if any(size < 1 or size > MAX_SIZE for a in along for size in a.sizes):
        return None
    scales = np.array([1, 1, *(float(a.scale) for a in along)], np.float32)
    return _emit(g, x, along, g.constant(scales), "", _modes(g, x, along))


def upsample_to(g: Sketch, x: Value, goal: Value) -> Value | None:
    """x resized to goal's height and width, read at run time where they are dynamic.

    Linear where the ratio is one power of two in every trial, else nearest.
    """
    along = []
    for axis in (2, 3):
        ratios = {Fraction(m, n) for n, m in zip(x.sizes(axis), goal.sizes(axis), strict=True)}
        along.append(_Along(goal.sizes(axis), ratios.pop() if len(ratios) == 1 else Fraction(3)))
    modes = _modes(g, x, along)
    return _emit(g, x, along, "", g.extents([(x, 0, 2), (goal, 2, 4)]), modes)
