"""A picture of class maps: each canvas, the maps wanted of it and the maps that were painted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


def figure(
    canvases: Sequence[Pixels], wanted: NDArray[np.float32], maps: NDArray[np.float32]
) -> Figure:
    """Two rows of tiles for each canvas (H, W).

    Args:
        canvases: as many as there are rows of maps; each stands before both of its rows.
        wanted, maps: (n, classes, h, w) in [0, 1], white for 1.
    """
    rows = [
        (name, [canvas / np.float32(255), *tiles])
        for canvas, *both in zip(canvases, wanted, maps, strict=True)
        for name, tiles in zip(("wanted", "painted"), both, strict=True)
    ]
    names = ["canvas", *map(str, range(wanted.shape[1]))]
    drawn = Figure(figsize=(1.1 * len(names), 1.1 * len(rows)), dpi=120, layout="constrained")
    grid = drawn.subplots(len(rows), len(names), squeeze=False)
    for axes, (name, tiles) in zip(grid, rows, strict=True):
        axes[0].set_ylabel(name)
        for each, tile in zip(axes, tiles, strict=True):
            each.imshow(tile, cmap="gray", vmin=0, vmax=1)
            each.set(xticks=[], yticks=[])
    for axes, name in zip(grid[0], names, strict=True):
        axes.set_title(name)
    return drawn
