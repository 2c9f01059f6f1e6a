"""Maps as a tiled TIFF, made of the Zarr target when that is whole: one file cannot be written by
many tasks at once, and a half of it is nothing.

    maps.tif  ◀──renamed──  written tile by tile  ◀──  maps.tif.zarr, which stays

Behind the maps stand overviews, each of every second position of the one before, as viewers want.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from glob import escape
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from onebyone.algebra.weights import Array
from onebyone.errors import UsageError
from onebyone.graph.files import cannot_write
from onebyone.scan.libraries import library
from onebyone.scan.place import Place
from onebyone.scan.targets import Target

__all__ = ["check_tiff", "is_tiff", "working", "write_tiff"]

# Sides of tiles are multiples of 16, says TIFF 6.0.
_MULTIPLE = 16
_USUAL = 256
# Larger ones need the offsets of BigTIFF.
_LARGE = 4_000_000_000
_GEO_SCALE, _GEO_TIE, _GEO_KEYS = 33550, 33922, 34735
_GDAL_NODATA = 42113
# Of the tag NewSubfileType: another image of the same file, smaller.
_REDUCED = 1
_SHORT, _DOUBLE, _ASCII = 3, 12, 2


def is_tiff(output: str) -> bool:
    """Whether a name is that of a TIFF."""
    return Path(output).suffix.lower() in (".tif", ".tiff")


def working(output: str) -> str:
    """The folder of Zarr that a TIFF is made of.

    >>> working("maps.tif")
    'maps.tif.zarr'
    """
    return f"{output}.zarr"


def check_tiff(output: str, axes: int) -> None:
    """Nothing, if maps of so many axes can be a TIFF, and none is there yet; raises UsageError."""
    library("tifffile")
    if axes != 2:
        raise UsageError(f"a TIFF holds maps of two axes, got {axes}: name a folder.zarr")
    if os.path.lexists(output):
        raise UsageError(f"{output} is there: choose another name, or remove it first")


def write_tiff(
    target: Target, output: str, place: Place, names: Sequence[str], masked: bool = False
) -> None:
    """Write a target as a TIFF of (H', W', K), tile by tile.

    Of a GeoTIFF its keys are carried on, with the map's own scale and place; where the image tells
    the sizes of its pixels otherwise, the resolution says those of the positions. With a mask, what
    it left out is said to be no data, as GDAL says it: NaN, or 0 of whole numbers.

    Raises:
        UsageError: it cannot be written.
    """
    maps = target.array()
    beside = f"{output}.{secrets.token_hex(4)}.tmp"
    for left in Path(output).parent.glob(f"{escape(Path(output).name)}.{'?' * 8}.tmp"):
        left.unlink()  # of a run that was killed here
    sides = tuple(n if n % _MULTIPLE == 0 else _USUAL for n in maps.chunks[1:])
    whole: dict[str, Any] = {
        "description": ", ".join(names) or None,
        "extratags": [*_geo(place), *_none(maps.dtype) * masked],
        **_resolution(place),
    }
    overview = {"subfiletype": _REDUCED, "extratags": _none(maps.dtype) * masked}
    # What overviews take is a third more at most.
    large = prod(maps.shape) * maps.dtype.itemsize * 4 // 3 > _LARGE
    try:
        with library("tifffile").TiffWriter(beside, bigtiff=large) as file:
            for step in _steps(maps.shape[1:], sides):
                file.write(
                    _tiles(maps, sides, step),
                    shape=(*_every(maps.shape[1:], step), maps.shape[0]),
                    dtype=maps.dtype,
                    tile=sides,
                    photometric="minisblack",
                    planarconfig="contig",
                    compression="zlib",
                    predictor=False,
                    metadata=None,
                    **(whole if step == 1 else overview),
                )
        with open(beside, "rb") as file:
            os.fsync(file.fileno())
        os.replace(beside, output)
    except OSError as error:
        raise cannot_write(output, error) from error
    finally:
        with suppress(FileNotFoundError):
            os.unlink(beside)


def _steps(sizes: Sequence[int], sides: Sequence[int]) -> Iterator[int]:
    """1, of the maps, and of overviews 2, 4, …, up to that which is a single tile.

    >>> list(_steps((1000, 700), (256, 256))), list(_steps((200, 256), (256, 256)))
    ([1, 2, 4], [1])
    """
    step = 1
    yield step
    while any(n > side for n, side in zip(_every(sizes, step), sides, strict=True)):
        step *= 2
        yield step


def _every(sizes: Sequence[int], step: int) -> tuple[int, ...]:
    return tuple(-(-n // step) for n in sizes)


def _tiles(maps: Any, sides: Sequence[int], step: int) -> Iterator[Array]:
    """(h, w, K) of each tile of every `step`-th position, in order of rows; beyond the map 0."""
    sizes = _every(maps.shape[1:], step)
    for i, j in product(*(range(-(-n // side)) for n, side in zip(sizes, sides, strict=True))):
        down, right = (
            slice(k * side * step, (k + 1) * side * step, step)
            for k, side in zip((i, j), sides, strict=True)
        )
        part = maps[:, down, right]
        missing = [(0, side - n) for side, n in zip(sides, part.shape[1:], strict=True)]
        yield np.moveaxis(np.pad(part, [(0, 0), *missing]), 0, -1)


def _none(dtype: np.dtype[Any]) -> list[tuple[int, int, int, Any, bool]]:
    """GDAL's tag for the number that is none.

    Source: GDAL's GeoTIFF driver, "Nodata value".
    """
    text = "nan" if dtype.kind == "f" else "0"
    return [(_GDAL_NODATA, _ASCII, len(text) + 1, text, True)]


def _resolution(place: Place) -> dict[str, Any]:
    """Positions for each centimetre, across and down, where their sizes are lengths."""
    micrometers = {"micrometer": 1.0, "nanometer": 1e-3, "millimeter": 1e3}.get(place.unit)
    if micrometers is None or place.geographic:
        return {}
    down, right = (1e4 / (size * micrometers) for size in place.spacing)
    return {"resolution": (right, down), "resolutionunit": "CENTIMETER"}


def _geo(place: Place) -> list[tuple[int, int, int, Any, bool]]:
    """GeoTIFF's tags: the size of a position, where the first one's corner is, and the keys.

    Source: OGC GeoTIFF Standard 1.1, 19-008r4.
    """
    if not place.geographic:
        return []
    (down, right), (top, left) = place.spacing, place.origin
    scale = (right, -down, 0.0)
    tie = (0.0, 0.0, 0.0, left - right / 2, top - down / 2, 0.0)
    found: list[tuple[int, int, int, Any, bool]] = [
        (_GEO_SCALE, _DOUBLE, 3, scale, True),
        (_GEO_TIE, _DOUBLE, 6, tie, True),
    ]
    for number, value in place.tags:
        if isinstance(value, str):
            found.append((number, _ASCII, len(value) + 1, value, True))
        else:
            kind = _SHORT if number == _GEO_KEYS else _DOUBLE
            found.append((number, kind, len(value), value, True))
    return found
