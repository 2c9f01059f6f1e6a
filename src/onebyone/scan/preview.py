"""The preview of a scan, put together from what its tasks left beside their markers."""

from __future__ import annotations

from io import BytesIO

import numpy as np

from onebyone.algebra.weights import Array
from onebyone.graph.files import replace
from onebyone.scan.libraries import library
from onebyone.scan.task import Job

__all__ = ["draw", "heat"]

# The blue of channels, as on all pages.
_BLUE = (0, 104, 168)
# What lies beyond is drawn as the end itself: a few extremes would hide all else.
_ENDS = (1.0, 99.5)
# So many numbers tell where the ends are.
_MANY = 1 << 16


def draw(job: Job) -> None:
    """Write the preview of a scan that is done; nothing of a sequence or a volume."""
    if len(job.tiling.axes) != 2:
        return
    file, pixels = BytesIO(), heat(*_whole(job, "image", "score"))
    # All workers wait for it: this level is done in half the time, in as many bytes.
    library("PIL.Image").fromarray(pixels).save(file, "PNG", compress_level=1)
    replace(job.target.preview, file.getvalue())


def _whole(job: Job, *names: str) -> list[Array]:
    """The samples of all chunks, as they lie."""
    down, right = job.tiling.grid
    rows = [[job.target.marked((i, j)) for j in range(right)] for i in range(down)]
    return [
        np.concatenate([np.concatenate([each[name] for each in row], 1) for row in rows], 0)
        for name in names
    ]


def heat(image: Array, score: Array) -> Array:
    """An image in grey, under a map in blue; both (H, W), of any range; NaN is not drawn.

    Returns:
        (H, W, 3), bytes.

    >>> heat(np.zeros((1, 2)), np.eye(1, 2)).tolist()
    [[[0, 104, 168], [89, 89, 89]]]
    """
    grey = 255 * (0.35 + 0.65 * _between(image))
    strength = _between(score)[..., None]
    pixels: Array = grey[..., None] * (1 - strength) + np.array(_BLUE) * strength
    return np.rint(pixels).astype(np.uint8)


def _between(values: Array) -> Array:
    """Spread over 0 to 1; what is no number is 0."""
    known = values[np.isfinite(values)]
    if not known.size:
        return np.zeros(values.shape)
    low, high = np.percentile(known[:: 1 + known.size // _MANY], _ENDS)
    # Flat but for a few: those few then show.
    if high == low:
        low, high = float(known.min()), float(known.max())
    spread: Array = np.clip((values - low) / ((high - low) or 1.0), 0, 1)
    return np.nan_to_num(spread)
