"""Figures by matplotlib, which `onebyone[report]` brings: class maps before and after a rewrite."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onebyone.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

__all__ = ["MISSING", "class_maps", "save"]

MISSING = "figures need matplotlib: pip install 'onebyone[report]'"

# Paper, ink, quiet ink and the blue of channels: those of page/tokens.css.
_LIGHT = ("#ffffff", "#1a1d20", "#555b61", "#0068a8")
_DARK = ("#14171a", "#e9ebed", "#a5acb3", "#56b4e9")
_INCH = 0.82
"""Of a tile's side; the canvas takes two."""


def class_maps(
    canvas: NDArray[np.uint8],
    before: NDArray[np.float32],
    after: NDArray[np.float32],
    *,
    dark: bool = False,
) -> Figure:
    """A canvas, its class maps by one network and by another, and how far these are apart.

    Args:
        canvas: (H, W).
        before, after: (classes, h, w) in [0, 1]; 0 is paper, 1 is ink.
        dark: light ink on dark paper.

    Raises UsageError where matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError(MISSING) from error
    paper, ink, quiet, blue = _DARK if dark else _LIGHT
    columns = -(-len(before) // 2)
    ratio = canvas.shape[0] / canvas.shape[1]
    size = (_INCH * (2 * columns + 2.4), _INCH * (2 * ratio + 1.0))
    figure = Figure(figsize=size, dpi=160, facecolor=paper, layout="constrained")
    parts: Any = figure.subfigures(1, 3, width_ratios=(2.1, columns, columns), wspace=0.03)
    left, middle, right = parts
    most = float(np.abs(before - after).max())
    same = f"after: no value is further off than {most:.1e}" if most else "after: the same"
    _tiles(left, "the canvas", [canvas / np.float32(255)], (paper, ink), ink, quiet)
    _tiles(middle, "one map for each digit, before", before, (paper, blue), ink, quiet)
    _tiles(right, same, after, (paper, blue), ink, quiet)
    return figure


def _tiles(
    place: SubFigure,
    title: str,
    maps: Any,
    colours: tuple[str, str],
    ink: str,
    quiet: str,
) -> None:
    """A title, and maps in two rows, numbered where there are several."""
    from matplotlib.colors import LinearSegmentedColormap

    place.set_facecolor(colours[0])
    place.suptitle(title, x=0.02, ha="left", fontsize=9.5, color=ink)
    shades = LinearSegmentedColormap.from_list("paper to ink", colours)
    rows = min(2, len(maps))
    grid: Any = place.subplots(rows, -(-len(maps) // rows), squeeze=False)
    for k, (axes, tile) in enumerate(zip(grid.flat, maps, strict=False)):
        axes.imshow(tile, cmap=shades, vmin=0, vmax=1, interpolation="nearest")
        _frame(axes, quiet)
        if len(maps) > 1:
            axes.set_title(str(k), loc="left", pad=2, fontsize=9, color=quiet)
    for axes in grid.flat[len(maps) :]:
        axes.remove()


def _frame(axes: Axes, colour: str) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(color=colour, linewidth=0.4)


def save(figure: Figure, path: Path) -> None:
    """As PNG, or what else the name ends in; the same bytes for the same figure."""
    figure.savefig(path, metadata={"Software": None} if path.suffix == ".png" else None)
