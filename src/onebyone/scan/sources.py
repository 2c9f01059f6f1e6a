"""Images that a scan reads, a tile at a time: files of many kinds, and arrays.

    opened("slide.tif", spatial=2, channels=3)  ->  Image
    image.read((rows, columns))                 ->  (C, h, w)

An `Image` says what it is and how it is opened, and holds no pixels: it is sent to each worker,
which opens it once. Zarr and TIFF read the chunks of a tile, `.npy` is mapped, PNG and JPEG are
decoded whole.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from onebyone.algebra.weights import Array
from onebyone.errors import OnebyoneError, UnreadableModel, UsageError
from onebyone.graph.checks import one_line
from onebyone.scan.files import Stored, described, stored
from onebyone.scan.layout import Layout, layout
from onebyone.scan.place import Place

__all__ = ["Image", "opened"]

# Numbers of an array that are digested at once.
_PART = 1 << 22
# Of an array that is not in memory: so many squares along each axis, of this side.
_SQUARES, _SIDE = 4, 64


@dataclass(frozen=True)
class Given:
    """An array that was given: NumPy's, Dask's, Zarr's."""

    value: Any = field(repr=False)

    def array(self) -> Any:
        """The array itself, or something that computes the slices of a Dask array."""
        return _Lazy(self.value) if hasattr(self.value, "compute") else self.value


@dataclass(frozen=True)
class Image:
    """What a scan reads.

    Args:
        name: for people, and for a run that resumes.
        stored: where the pixels are.
        layout: which axes are which.
        sizes: of the image, along each axis.
        channels: how many.
        dtype: of the pixels, as NumPy writes it.
        place: the sizes of pixels, and where the first one is.
    """

    name: str
    stored: Stored | Given
    layout: Layout
    sizes: tuple[int, ...]
    channels: int
    dtype: str
    place: Place

    def read(self, ranges: Sequence[range]) -> Array:
        """The pixels (C, *sizes) of these ranges, in the image's own type.

        Raises:
            UnreadableModel: they cannot be read, or the image holds what is no number.
        """
        pixels, where = self._stored(ranges), _where(ranges)
        wanted = (self.channels, *map(len, ranges))
        if pixels.shape != wanted:
            raise UnreadableModel(
                f"{self.name} ends early: got {pixels.shape} at [{where}], wanted {wanted}"
            )
        if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
            raise UnreadableModel(
                f"{self.name} holds NaN or infinity at [{where}]: replace them by numbers, "
                "or leave them out with a mask"
            )
        return pixels

    def _stored(self, ranges: Sequence[range]) -> Array:
        """The pixels, whatever they are."""
        try:
            return self.layout.read(self.stored.array(), ranges)
        except OnebyoneError:
            raise
        except Exception as error:  # each format has errors of its own, without a common base
            raise UnreadableModel(
                f"cannot read {self.name} at [{_where(ranges)}]: "
                f"{type(error).__name__}: {one_line(error)}"
            ) from error

    @property
    def identity(self) -> dict[str, Any]:
        """What a run that resumes has to find again.

        Of a file when it was changed last; of an array a digest of its numbers, or of some of them
        where they are not in memory.
        """
        found: dict[str, Any] = {"name": self.name, "sizes": list(self.sizes), "dtype": self.dtype}
        if isinstance(self.stored, Stored):
            return found | {"level": self.stored.level, "modified": self.stored.modified}
        digest = sha256()
        for part in self._parts(self.stored.value):
            digest.update(np.ascontiguousarray(part).tobytes())
        return found | {"digest": digest.hexdigest()}

    def _parts(self, value: Any) -> Iterator[Array]:
        """What the digest of an array is of."""
        if isinstance(value, np.ndarray):
            step = max(1, _PART * len(value) // value.size)
            yield from (value[start : start + step] for start in range(0, len(value), step))
            return
        # Squares all over the image: to read all of it would take as long as the scan.
        starts = ({*np.linspace(0, max(0, n - _SIDE), _SQUARES, dtype=int)} for n in self.sizes)
        for corner in product(*map(sorted, starts)):
            each = zip(corner, self.sizes, strict=True)
            yield self._stored([range(int(k), min(int(k) + _SIDE, n)) for k, n in each])


def opened(
    source: Any, *, spatial: int, channels: int | None, level: int = 0, what: str = "the image"
) -> Image:
    """An image, from a path or an array.

    Args:
        source: the path of a Zarr array or group, a TIFF, an .npy, PNG or JPEG file; or an array
            (NumPy's, Dask's, Zarr's).
        spatial: how many axes the network slides along.
        channels: that it takes; None for a mask.
        level: of a pyramid; 0 is the largest.

    Raises:
        UnreadableModel: it is missing, damaged, or of no kind that is known.
        UsageError: its axes or channels are not those of the network; a library is not installed.

    >>> image = opened(np.zeros((20, 30, 3), np.uint8), spatial=2, channels=3)
    >>> image.sizes, image.read((range(2, 5), range(30))).shape
    ((20, 30), (3, 3, 30))
    """
    if isinstance(source, (str, os.PathLike)):
        path = os.fspath(source)
        file, name = stored(path, level), Path(path).name
        kept: Stored | Given = file
        array, names, place = described(file)
    elif hasattr(source, "shape") and hasattr(source, "dtype"):
        kept, name = Given(source), what
        array, names, place = source, None, Place()
    else:
        raise UsageError(
            f"got {type(source).__name__}, wanted an image: a path or an array of NumPy, Dask, Zarr"
        )
    shape = tuple(int(n) for n in array.shape)
    dtype = np.dtype(array.dtype)
    if dtype.kind not in "uifb":
        raise UnreadableModel(f"{name} holds {dtype}, wanted integers or floating-point numbers")
    found = layout(shape, names, spatial, channels, name)
    sizes = found.sizes(shape)
    if not all(sizes):
        raise UnreadableModel(f"{name} has sizes {shape}: there is no pixel")
    count = 1 if found.channels is None else shape[found.channels]
    return Image(name, kept, found, sizes, count, dtype.str, place.along(found.axes))


def _where(ranges: Sequence[range]) -> str:
    return ", ".join(f"{r.start}:{r.stop}" for r in ranges)


class _Lazy:
    """A Dask array whose slices are computed in the thread that asks."""

    def __init__(self, array: Any) -> None:
        self.array, self.ndim = array, array.ndim

    def __getitem__(self, index: Any) -> Array:
        # The scan's own scheduler is at work already: this is one task of it.
        found: Array = np.asarray(self.array[index].compute(scheduler="synchronous"))
        return found
