"""The demo's figure: a canvas and its ten class maps, before and after, and their difference."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from onebyone.demo.font import text

__all__ = ["figure"]

_GAP = 6
_PAPER, _INK = 40, 230


def figure(
    canvas: NDArray[np.uint8], before: NDArray[np.float32], after: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """Three labelled rows of tiles, each tile as large as the canvas: (height, width, 3) RGB.

    Args:
        canvas: (H, W).
        before, after: (classes, h, w) in [0, 1], black for 0 and white for 1 by way of red and
            yellow; H and W are whole multiples of h and w.

    The difference is scaled to its largest value, which is written above it.

    >>> figure(np.zeros((30, 40), np.uint8), *np.zeros((2, 3, 15, 20), np.float32)).shape
    (200, 190, 3)
    """
    difference = np.abs(before - after)
    most = float(difference.max())
    scaled = difference / most if most else difference
    width = _row(canvas, before).shape[1]
    parts = [_heading(canvas.shape[1], len(before), width)]
    for label, maps in (
        ("before", before),
        ("after", after),
        (f"difference, at most {most:.1e}", scaled),
    ):
        parts += [_line(label, width), _row(canvas, maps)]
    return np.concatenate([*parts, _paper(_GAP, width)])


def _heading(tile: int, classes: int, width: int) -> NDArray[np.uint8]:
    """The name of each column, above it."""
    names = ["canvas", *map(str, range(classes))]
    columns = np.concatenate([_line(name, _GAP + tile) for name in names], axis=1)
    return np.pad(columns, ((0, 0), (0, width - columns.shape[1]), (0, 0)), constant_values=_PAPER)


def _row(canvas: NDArray[np.uint8], maps: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The canvas and the maps side by side, with gaps around them."""
    steps = np.array(canvas.shape) // maps.shape[1:]
    large = maps.repeat(steps[0], axis=1).repeat(steps[1], axis=2)
    gap = _paper(canvas.shape[0], _GAP)
    tiles = [np.repeat(canvas[:, :, None], 3, axis=2), *_heat(large)]
    return np.concatenate([part for tile in tiles for part in (gap, tile)] + [gap], axis=1)


def _heat(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """[0, 1] to RGB: black, red, yellow, white."""
    channels = np.clip(3 * values[..., None] - np.arange(3, dtype=np.float32), 0, 1)
    return np.round(255 * channels).astype(np.uint8)


def _line(label: str, width: int) -> NDArray[np.uint8]:
    """A line of text in double size, cut off where the width ends."""
    ink = text(label).repeat(2, axis=0).repeat(2, axis=1)[:, : width - _GAP]
    strip = _paper(ink.shape[0] + 2 * _GAP, width)
    strip[_GAP:-_GAP, _GAP : _GAP + ink.shape[1]][ink] = _INK
    return strip


def _paper(height: int, width: int) -> NDArray[np.uint8]:
    return np.full((height, width, 3), _PAPER, np.uint8)
