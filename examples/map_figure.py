"""A picture of class maps: each canvas, the maps wanted of it and the maps that were painted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from onebyone.demo.font import text

GAP = 6
PAPER, INK = 40, 230

Pixels = NDArray[np.uint8]


def figure(
    canvases: Sequence[Pixels], wanted: NDArray[np.float32], maps: NDArray[np.float32]
) -> Pixels:
    """Two rows of tiles for each canvas (H, W), as an image (height, width, 3) RGB.

    Args:
        canvases: as many as there are rows of maps; each stands before both of its rows.
        wanted, maps: (n, classes, h, w) in [0, 1], white for 1; H and W whole multiples of h and w.
    """
    names = ["canvas", *map(str, range(wanted.shape[1]))]
    rows = [_row([_label(name, canvases[0].shape[1]) for name in names])]
    for canvas, *both in zip(canvases, wanted, maps, strict=True):
        rows += [_row([canvas, *_large(tiles, canvas.shape)]) for tiles in both]
    return np.repeat(np.concatenate(rows)[:, :, None], 3, axis=2)


def _large(maps: NDArray[np.float32], shape: tuple[int, ...]) -> Iterable[Pixels]:
    """Maps (classes, h, w) in [0, 1] as grey tiles of the canvas' shape."""
    steps = shape[0] // maps.shape[1], shape[1] // maps.shape[2]
    grey = np.round(255 * np.clip(maps, 0, 1)).astype(np.uint8)
    return grey.repeat(steps[0], axis=1).repeat(steps[1], axis=2)


def _row(tiles: Iterable[Pixels]) -> Pixels:
    """Tiles side by side, with paper to the left of and below each."""
    border = ((0, GAP), (GAP, 0))
    return np.concatenate([np.pad(t, border, constant_values=PAPER) for t in tiles], axis=1)


def _label(name: str, width: int) -> Pixels:
    """A name in double size on paper of that width, cut off where it ends."""
    ink = text(name).repeat(2, axis=0).repeat(2, axis=1)[:, :width]
    label = np.full((ink.shape[0] + GAP, width), PAPER, np.uint8)
    label[GAP:, : ink.shape[1]][ink] = INK
    return label
