"""Values read at positions that are computed: GridSample."""

from __future__ import annotations

from itertools import product

import numpy as np

from onebyone.graph.ops.call import Array, Call
from onebyone.graph.ops.row import Effort, Operator

__all__ = ["ROWS"]


_MODES = {"bilinear": "linear", "linear": "linear", "nearest": "nearest"}
"""The names until opset 19 and from opset 20 on. Cubic and reflection are left to the reference."""


def _grid_sample(call: Call, x: Array, grid: Array) -> Array | None:
    """x (N, C, sizes…) at the places of grid (N, places…, d), whose last axis is innermost first.

    A place is a weighted mean of its 2^d neighbours. One outside counts as zero, or with "border"
    as the nearest inside.
    """
    mode, padding = _MODES.get(call.get("mode", "linear")), call.get("padding_mode", "zeros")
    if mode is None or padding not in ("zeros", "border"):
        return None
    sizes = np.array(x.shape[2:])
    aligned = call.get("align_corners", 0)
    at = (grid[..., ::-1] + 1) / 2 * (sizes - 1 if aligned else sizes) - (0 if aligned else 0.5)
    if mode == "nearest":
        at = np.rint(at)
    if padding == "border":
        at = np.clip(at, 0, sizes - 1)
    low = np.floor(at)
    images = np.arange(len(x)).reshape(-1, *[1] * (grid.ndim - 2))
    result = np.zeros((*grid.shape[:-1], x.shape[1]), x.dtype)
    for corner in product((0, 1), repeat=len(sizes)):
        place = low + corner
        inside = ((place >= 0) & (place < sizes)).all(axis=-1)
        weight = np.where(corner, at - low, 1 - (at - low)).prod(axis=-1) * inside
        index = np.nan_to_num(np.clip(place, 0, sizes - 1)).astype(np.int64)
        # The slice for the channels stands between the indices, so NumPy puts channels last.
        result += weight[..., None] * x[(images, slice(None), *np.moveaxis(index, -1, 0))]
    return np.moveaxis(result, -1, 1)


ROWS = (
    Operator("GridSample", value=_grid_sample),
    Operator("AffineGrid", effort=Effort.PRODUCTS),
)  # fmt: skip
