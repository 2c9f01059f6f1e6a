"""Peaks are what the definition says, whatever the chunks, and name the pixels that they mean."""

from __future__ import annotations

import json

import numpy as np
import pytest

from onebyone.algebra.geometry import Axis
from onebyone.algebra.weights import Array
from onebyone.algebra.window import Window
from onebyone.errors import UsageError
from onebyone.scan.peaks import geojson, peaks
from onebyone.scan.tiles import Tiling


def tiling(sizes: tuple[int, ...], side: int) -> Tiling:
    """Chunks of maps of these sizes, of windows of 5 pixels, 3 apart."""
    axes = (Axis.of(Window(5, 3)),) * len(sizes)
    return Tiling(axes, tuple(3 * (n - 1) + 5 for n in sizes), (side,) * len(sizes))


def expected(maps: Array, radius: int) -> list[tuple[int, ...]]:
    """By the definition, position by position; from the highest on."""
    best = np.where(np.isnan(maps), -np.inf, maps).max(0)
    found = []
    for place in np.ndindex(*best.shape):
        if not np.isfinite(best[place]):
            continue
        around = [
            other
            for other in np.ndindex(*best.shape)
            if max(abs(a - b) for a, b in zip(place, other, strict=True)) <= radius
        ]
        earlier = all(best[other] < best[place] for other in around if other < place)
        if earlier and all(best[other] <= best[place] for other in around if other > place):
            found.append(place)
    return sorted(found, key=lambda place: (-best[place], place))


@pytest.mark.parametrize("sizes", [(9, 13), (1, 12), (14,), (4, 5, 6)])
@pytest.mark.parametrize("radius", [1, 2, 3])
@pytest.mark.parametrize("side", [2, 5, 50])
def test_peaks_are_those_of_the_definition(sizes: tuple[int, ...], radius: int, side: int) -> None:
    rng = np.random.default_rng(0)
    # Few values, so that there are plateaus, and places that were never computed.
    maps = rng.integers(0, 6, (3, *sizes)).astype(np.float32)
    maps[:, rng.random(sizes) < 0.1] = np.nan
    found = peaks(maps, tiling(sizes, side), 1000, radius)
    assert [peak.position for peak in found] == expected(maps, radius)
    for peak in found:
        column = maps[(slice(None), *peak.position)]
        assert peak.score == column.max() == column[peak.label]
        assert peak.pixel == tuple(3 * i + 2 for i in peak.position)


def test_only_the_highest_are_kept() -> None:
    maps = np.random.default_rng(0).permutation(400).astype(np.float32).reshape(1, 20, 20)
    every = peaks(maps, tiling((20, 20), 6), 400, 1)
    assert len(every) > 5
    assert peaks(maps, tiling((20, 20), 6), 5, 1) == every[:5]


def test_a_map_without_a_mountain_has_one_peak_at_its_first_position() -> None:
    found = peaks(np.zeros((2, 30, 30), np.float32), tiling((30, 30), 7), 10, 40)
    assert [(peak.position, peak.label) for peak in found] == [((0, 0), 0)]


def test_nothing_is_no_number_of_peaks() -> None:
    with pytest.raises(UsageError, match="wanted 1 or more"):
        peaks(np.zeros((1, 4, 4)), tiling((4, 4), 2), 0, 1)


def test_geojson_names_the_class_and_puts_x_first() -> None:
    maps = np.zeros((2, 4, 6), np.float32)
    maps[1, 2, 4] = 7
    (first, *_) = json.loads(geojson(peaks(maps, tiling((4, 6), 3), 1, 2), ("cat", "dog")))[
        "features"
    ]
    assert first["geometry"]["coordinates"] == [4 * 3 + 2, 2 * 3 + 2]
    assert first["properties"] == {"class": "dog", "score": 7.0, "position": [2, 4]}
