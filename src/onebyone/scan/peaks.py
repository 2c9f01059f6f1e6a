"""The highest places of maps that are done, as points: which class, how high, at which pixel.

A position is a *peak* if the highest of its classes is higher than that of all positions before it,
in order of rows, and not lower than that of all after it, within a radius r along each axis. So of
a plateau the first position is one, and what is one depends on no chunk. The maps are read chunk by
chunk, each with r positions around it.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import maximum_filter1d

from onebyone.algebra.weights import Array
from onebyone.errors import UsageError
from onebyone.scan.place import middle
from onebyone.scan.tiles import Tiling

__all__ = ["Peak", "geojson", "peaks", "usual_radius"]


@dataclass(frozen=True)
class Peak:
    """A place where a class is high.

    Args:
        score: the value of its map.
        label: which of the maps that were kept.
        position: in the map.
        pixel: of the image, the middle of the position's window, along each axis.
    """

    score: float
    label: int
    position: tuple[int, ...]
    pixel: tuple[float, ...]


def usual_radius(tiling: Tiling) -> int:
    """Positions whose windows share more than half of their pixels, along the axis with fewest.

    >>> from onebyone.algebra.geometry import Axis
    >>> from onebyone.algebra.window import Window
    >>> usual_radius(Tiling((Axis.of(Window(28, 4)),), (100,), (9,)))
    3
    """
    fields = [(axis.receptive_field, axis.step) for axis in tiling.axes]
    return max(1, min((int(field / (2 * step)) for field, step in fields if field), default=1))


def peaks(maps: Any, tiling: Tiling, most: int, radius: int) -> list[Peak]:
    """The highest peaks, from the highest on; of equal ones the first in order of rows.

    Args:
        maps: (K, *sizes), an array that reads when it is sliced; NaN is nowhere a peak.
        tiling: of the scan that made them.
        most: peaks that are wanted.
        radius: positions along each axis within which there is one.
    """
    if most < 1 or radius < 1:
        raise UsageError(f"got {most} peaks and a radius of {radius}, wanted 1 or more of both")
    found: Iterator[tuple[float, tuple[int, ...], int]] = (
        each for index in tiling.chunks() for each in _chunk(maps, tiling.chunk(index), radius)
    )
    best = heapq.nsmallest(most, found)
    return [Peak(-low, label, position, _pixel(tiling, position)) for low, position, label in best]


def geojson(found: Sequence[Peak], names: Sequence[str]) -> str:
    """Points with class and score, x first, in pixels of the image; for two axes.

    Source: RFC 7946. Its coordinates are degrees; viewers of slides take pixels.

    >>> text = geojson([Peak(0.9, 1, (2, 3), (8.5, 12.5))], ("cat", "dog"))
    >>> json.loads(text)["features"][0]["geometry"]
    {'type': 'Point', 'coordinates': [12.5, 8.5]}
    """
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": list(reversed(peak.pixel))},
            "properties": {
                "class": names[peak.label] if names else peak.label,
                "score": peak.score,
                "position": list(peak.position),
            },
        }
        for peak in found
    ]
    return json.dumps({"type": "FeatureCollection", "features": features}, indent=1)


def _chunk(
    maps: Any, outputs: Sequence[range], radius: int
) -> Iterator[tuple[float, tuple[int, ...], int]]:
    """(−score, position, class) of the peaks of a chunk."""
    sizes = maps.shape[1:]
    grown = [
        range(max(each.start - radius, 0), min(each.stop + radius, n))
        for each, n in zip(outputs, sizes, strict=True)
    ]
    read = np.asarray(maps[(slice(None), *(slice(r.start, r.stop) for r in grown))])
    scores = np.where(np.isnan(read), -np.inf, read).astype(np.float64)
    best = scores.max(0)
    own = tuple(
        slice(each.start - r.start, each.stop - r.start)
        for each, r in zip(outputs, grown, strict=True)
    )
    labels = scores.argmax(0)[own]
    is_peak = (np.isfinite(best) & (best > _around(best, radius, -1)))[own]
    is_peak &= (best >= _around(best, radius, 1))[own]
    for where in zip(*np.nonzero(is_peak), strict=True):
        position = tuple(int(i) + each.start for i, each in zip(where, outputs, strict=True))
        yield -float(best[own][where]), position, int(labels[where])


def _around(scores: Array, radius: int, side: int) -> Array:
    """The highest score of the positions before each one (side −1), or after it (1).

    >>> _around(np.array([3.0, 1.0, 2.0, 0.0]), 2, -1).tolist()
    [-inf, 3.0, 3.0, 2.0]
    """
    highest = np.full(scores.shape, -np.inf)
    # Before in order of rows: equal along the first axes, less along one, anything along the rest.
    for axis in range(scores.ndim):
        part = scores
        for rest in range(axis + 1, scores.ndim):
            part = maximum_filter1d(part, 2 * radius + 1, rest, mode="constant", cval=-np.inf)
        np.maximum(highest, _beside(part, radius, side, axis), out=highest)
    return highest


def _beside(scores: Array, radius: int, side: int, axis: int) -> Array:
    """The highest of the `radius` positions on one side along an axis."""
    along = np.moveaxis(scores, axis, 0)[::-side]
    moved = np.full(along.shape, -np.inf)
    moved[1:] = along[:-1]
    # Of what was moved by one: the position itself, and radius − 1 before it.
    behind = (radius - 1) // 2
    found = maximum_filter1d(moved, radius, 0, mode="constant", cval=-np.inf, origin=behind)
    back: Array = np.moveaxis(found[::-side], 0, axis)
    return back


def _pixel(tiling: Tiling, position: Sequence[int]) -> tuple[float, ...]:
    return tuple(middle(axis, i) for axis, i in zip(tiling.axes, position, strict=True))
