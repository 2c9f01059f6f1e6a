"""Files as arrays: what each kind is recognised by, opened with, and says of itself.

    stored(path)      which kind it is; nothing but its name and first bytes is looked at
    Stored.array()    something with a shape, a dtype and slices
    described(...)    that array, the names of its axes where the file says, the place of its pixels

A truncated TIFF is found here: libraries read zeros for what is not there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from weakref import finalize

import numpy as np

from onebyone.errors import OnebyoneError, UnreadableModel, UsageError
from onebyone.graph.checks import one_line
from onebyone.scan.libraries import library
from onebyone.scan.place import Place

__all__ = ["Stored", "described", "stored"]

# How many files a process keeps open: an image and its mask, of two scans.
_OPEN = 4
Described = tuple[Any, str | None, Place]
# Zarr's own files, of version 3 and of version 2.
_ZARR = ("zarr.json", ".zarray", ".zgroup")


@dataclass(frozen=True)
class Stored:
    """A file, and how it becomes an array: what a worker is sent.

    Args:
        kind: a key of `_DESCRIBERS`.
        path: of the file, or of the folder of Zarr.
        level: of a pyramid; 0 is the largest.
    """

    kind: str
    path: str
    level: int = 0

    def array(self) -> Any:
        """Something with a shape, a dtype and slices; opened once in a process."""
        return described(self)[0]

    @property
    def modified(self) -> int:
        """When it was changed last, in nanoseconds; of Zarr, its metadata or a chunk."""
        path = Path(self.path)
        if self.kind != "zarr":
            return path.stat().st_mtime_ns
        files = [path / name for name in _ZARR if (path / name).exists()]
        # A chunk that is written anew is renamed to its place, and that changes the folder.
        folders = [Path(folder) for folder, _, _ in os.walk(path / self.array().path)]
        return max(file.stat().st_mtime_ns for file in (*files, *folders))


def stored(path: str, level: int) -> Stored:
    """What is at a path.

    Raises:
        UnreadableModel: nothing, or nothing that is known.
    """
    path = os.path.abspath(path)  # workers of a cluster stand elsewhere
    if not os.path.exists(path):
        raise UnreadableModel(f"cannot read {path}: there is no such file or folder")
    if os.path.isdir(path):
        # An array in a group of Zarr is a folder as well.
        if any((Path(path) / name).exists() for name in _ZARR):
            return Stored("zarr", path, level)
        raise UnreadableModel(f"{path} is a folder and not of Zarr: name a Zarr array or a file")
    kind = _KINDS.get(Path(path).suffix.lower())
    if kind is None:
        raise UnreadableModel(f"{path}: wanted one of {', '.join(_KINDS)}, or a folder of Zarr")
    if level and kind != "tiff":
        raise UsageError(f"{path} has one level, 0: got --level {level}")
    return Stored(kind, path, level)


@lru_cache(_OPEN)
def described(file: Stored) -> Described:
    """An array, the names of its axes or None, and the place of its pixels.

    Raises:
        UnreadableModel: the file is damaged, or not what its name says.
    """
    try:
        return _DESCRIBERS[file.kind](file)
    except OnebyoneError:
        raise
    except Exception as error:  # each library has errors of its own, without a common base
        raise UnreadableModel(
            f"cannot read {file.path}: {type(error).__name__}: {one_line(error)}"
        ) from error


def _npy(file: Stored) -> Described:
    return np.load(file.path, mmap_mode="r", allow_pickle=False), None, Place()


def _picture(file: Stored) -> Described:
    pillow = library("PIL.Image")
    # Whoever names a picture of a billion pixels means it: a file is no attack on its owner.
    pillow.MAX_IMAGE_PIXELS = None
    with pillow.open(file.path) as picture:
        if picture.mode in ("P", "PA", "CMYK", "YCbCr", "LAB", "HSV"):
            picture = picture.convert("RGB")
        pixels = np.asarray(picture)
    return pixels, "yxc"[: pixels.ndim], Place()


def _zarr(file: Stored) -> Described:
    # Not by its path alone: one with :: in it, Zarr takes for an address.
    store = library("zarr.storage").LocalStore(file.path, read_only=True)
    found = library("zarr").open(store, mode="r")
    if hasattr(found, "shape"):
        if file.level:
            raise UsageError(f"{file.path} is one array: got --level {file.level}, wanted a group")
        return found, _names(found), Place()
    attributes = dict(found.attrs)
    scales = attributes.get("ome", attributes).get("multiscales")
    if not scales:
        raise UnreadableModel(
            f"{file.path} is a group without OME's multiscales: name an array in it, "
            f"like {Path(file.path) / '0'}"
        )
    datasets = scales[0]["datasets"]
    if not 0 <= file.level < len(datasets):
        raise UsageError(f"{file.path} has levels 0 to {len(datasets) - 1}: got {file.level}")
    chosen = datasets[file.level]
    return found[chosen["path"]], _ome_names(scales[0]), _ome_place(scales[0], chosen)


def _names(array: Any) -> str | None:
    """The axes of a Zarr array of version 3 that names them by one letter each."""
    names = getattr(array.metadata, "dimension_names", None)
    if names and all(isinstance(name, str) and len(name) == 1 for name in names):
        return "".join(names)
    return None


def _ome_names(scales: Mapping[str, Any]) -> str | None:
    # Before version 0.3 there are no axes, or bare letters; 0.1 means t, c, z, y, x.
    axes = scales.get("axes") or list("tczyx")
    return "".join(axis if isinstance(axis, str) else axis["name"] for axis in axes)


def _ome_place(scales: Mapping[str, Any], dataset: Mapping[str, Any]) -> Place:
    """Its scale and translation, then those of all levels together."""
    spacing: list[float] = []
    origin: list[float] = []
    steps = [*dataset.get("coordinateTransformations", ())]
    for step in [*steps, *scales.get("coordinateTransformations", ())]:
        if step["type"] == "scale":
            factors = step["scale"]
            spacing = [a * b for a, b in zip(spacing or [1.0] * len(factors), factors, strict=True)]
            origin = [a * b for a, b in zip(origin or [0.0] * len(factors), factors, strict=True)]
        elif step["type"] == "translation":
            moved = step["translation"]
            origin = [a + b for a, b in zip(origin or [0.0] * len(moved), moved, strict=True)]
    if not spacing:
        return Place()
    units = [a.get("unit", "") for a in scales.get("axes", ()) if isinstance(a, dict)]
    # The last axis is one of space.
    return Place(tuple(spacing), tuple(origin), units[-1] if units else "")


def _tiff(file: Stored) -> Described:
    tifffile = library("tifffile")
    with tifffile.TiffFile(file.path) as tiff:
        series = tiff.series[0]
        if not 0 <= file.level < len(series.levels):
            raise UsageError(
                f"{file.path} has levels 0 to {len(series.levels) - 1}: got {file.level}"
            )
        level = series.levels[file.level]
        _whole(file.path, level)
        names, shape = level.axes, level.shape
        shrunk = series.levels[0].shape[-1] / shape[-1]
        place = _tiff_place(tiff, names, shrunk)
    store = tifffile.imread(file.path, aszarr=True, series=0, level=file.level)
    array = library("zarr").open(store, mode="r")
    finalize(array, store.close)  # nobody else would close the file
    return array, names, place


def _whole(path: str, level: Any) -> None:
    """Nothing, if the file holds all bytes that its pages name.

    Raises:
        UnreadableModel: it ends early, or has a tile without bytes.
    """
    size = os.path.getsize(path)
    for page in level.pages:
        if page is None:
            raise UnreadableModel(f"{path} lacks a page of its image")
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
            if offset + count > size:
                raise UnreadableModel(
                    f"{path} ends early: got {size} bytes, and a tile of it ends at "
                    f"{offset + count}: copy the file again"
                )


_GEO_SCALE, _GEO_TIE, _GEO_KEYS = 33550, 33922, (34735, 34736, 34737)


def _tiff_place(tiff: Any, names: str, shrunk: float) -> Place:
    """From OME-XML, GeoTIFF's tags, or the resolution."""
    tags = tiff.pages[0].tags
    geo: tuple[tuple[int, tuple[float, ...] | str], ...] = ()
    geographic = not tiff.ome_metadata and _GEO_SCALE in tags and _GEO_TIE in tags
    if tiff.ome_metadata:
        y, x, unit = _ome_tiff(tiff.ome_metadata)
        origin = 0.0, 0.0
    elif geographic:
        x, y = tags[_GEO_SCALE].value[:2]
        y, unit = -y, ""  # rows go south
        tie = tags[_GEO_TIE].value
        # A tie point is a pixel's corner, and ours are middles.
        origin = (tie[4] + (0.5 - tie[1]) * y, tie[3] + (0.5 - tie[0]) * x)
        geo = tuple((key, _plain(tags[key].value)) for key in _GEO_KEYS if key in tags)
    else:
        y, x, unit = _resolution(tags)
        origin = 0.0, 0.0
    if not x or not y:
        return Place()
    each = {"Y": (y * shrunk, origin[0]), "X": (x * shrunk, origin[1])}
    along = [each.get(name, (1.0, 0.0)) for name in names]
    # The first pixel of a smaller level covers several of the largest one.
    spacing = tuple(size for size, _ in along)
    starts = tuple(start + size * (1 - 1 / shrunk) / 2 for size, start in along)
    return Place(spacing, starts, unit, geo, geographic)


def _plain(value: Any) -> tuple[float, ...] | str:
    if isinstance(value, str):
        return value
    return tuple(value)


def _ome_tiff(xml: str) -> tuple[float, float, str]:
    """(size along y, along x, unit) of the first image of OME-XML."""
    described = library("tifffile").xml2dict(xml).get("OME", {}).get("Image", {})
    first = described[0] if isinstance(described, list) else described
    pixels = first.get("Pixels", {})
    unit = {"µm": "micrometer", "nm": "nanometer", "mm": "millimeter"}.get(
        pixels.get("PhysicalSizeXUnit", "µm"), ""
    )
    return pixels.get("PhysicalSizeY", 0), pixels.get("PhysicalSizeX", 0), unit


def _resolution(tags: Any) -> tuple[float, float, str]:
    """(size along y, along x, unit) from the resolution; zeros where there is none of a length."""
    unit = int(tags["ResolutionUnit"].value) if "ResolutionUnit" in tags else 1
    micrometers = {2: 25400.0, 3: 10000.0}.get(unit)
    if micrometers is None or "XResolution" not in tags or "YResolution" not in tags:
        return 0, 0, ""
    sizes = []
    for name in ("YResolution", "XResolution"):
        pixels, units = tags[name].value
        sizes.append(micrometers * units / pixels if pixels else 0.0)
    return sizes[0], sizes[1], "micrometer"


_DESCRIBERS: Mapping[str, Callable[[Stored], Described]] = {
    "npy": _npy,
    "picture": _picture,
    "tiff": _tiff,
    "zarr": _zarr,
}
_KINDS = {
    ".tif": "tiff",
    ".tiff": "tiff",
    ".svs": "tiff",
    ".npy": "npy",
    ".png": "picture",
    ".jpg": "picture",
    ".jpeg": "picture",
}
