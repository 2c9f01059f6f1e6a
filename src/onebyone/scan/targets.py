"""What a scan writes: a Zarr group with OME's metadata, one array of maps, and what it was made by.

    maps.zarr/
    ├── zarr.json           OME-Zarr 0.5; `onebyone` in it: the model's digest and all options
    ├── 0/                  the maps (K, *sizes), one chunk a task
    └── onebyone/
        ├── model.onnx      what was run
        ├── certificate.json   that it is equal to the model that was given
        ├── done/3.5.npz    a marker: what chunk (3, 5) has to be, and what the preview is drawn of
        └── preview.png

A chunk is written beside its place and renamed; the marker follows, with the length of the chunk's
file and its CRC-32. A run that resumes reads both: a chunk is done if its file is what its marker
says. So nothing has to be forced to the disk before the scan ends, whatever is killed or loses its
power when. The target itself is made beside its place and renamed, too.
"""

from __future__ import annotations

import io
import json
import os
import re
import secrets
import shutil
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast
from zipfile import BadZipFile

import numpy as np

from onebyone.algebra.weights import Array
from onebyone.errors import UnreadableModel, UsageError
from onebyone.graph.files import cannot_write, replace, sync, sync_folder
from onebyone.scan.libraries import library
from onebyone.scan.place import Place
from onebyone.scan.tiles import Index

__all__ = ["Target", "check_model", "check_same", "create", "found"]

KEY = "onebyone"
# In a marker: how long the chunk's file is, and its CRC-32; (0, 0) of one that has no file, because
# it holds nothing but the fill value.
SEAL = "seal"
# Of Zstandard: level 3, Zarr's usual one, takes twice the time for the same size.
_LEVEL = 1
# Ours, and Zarr's.
_HALF = (".tmp", ".partial")
_SCHEMA = 1


@dataclass(frozen=True)
class Target:
    """A target that is there.

    Args:
        path: of its folder.
    """

    path: str

    @property
    def model(self) -> Path:
        """The file that is run."""
        return self._own / "model.onnx"

    @property
    def certificate(self) -> Path:
        """The report of the optimisation, as JSON."""
        return self._own / "certificate.json"

    @property
    def preview(self) -> Path:
        """The map over the image, small."""
        return self._own / "preview.png"

    @property
    def parts(self) -> tuple[Path, ...]:
        """What no target is without."""
        return self.model, self._own / "done", Path(self.path) / "0" / "zarr.json"

    @property
    def _own(self) -> Path:
        return Path(self.path) / KEY

    @property
    def said(self) -> dict[str, Any]:
        """What the scan wrote into the attributes."""
        return dict(self._group.attrs[KEY])

    def say(self, more: Mapping[str, Any]) -> None:
        """Add to what is written about the scan in the attributes."""
        said = {**self.said, **json.loads(json.dumps(more))}
        if said != self.said:
            self._group.attrs[KEY] = said

    def array(self) -> Any:
        """The maps, as a Zarr array (K, *sizes)."""
        return self._group["0"]

    @property
    def _group(self) -> Any:
        # Which file it is is asked each time: a target may be removed, and made again.
        now = os.stat(Path(self.path) / "zarr.json")
        return _opened(self.path, now.st_ino, now.st_mtime_ns)

    def write(self, index: Index, chunk: Array) -> Array:
        """Write one chunk (K, *sizes), whole or not at all; gives its seal, for the marker.

        The bytes are those of Zarr 3: one frame of Zstandard, of all numbers of the chunk in their
        order, at the ends of the map filled up.

        Raises:
            UsageError: there is no space, or no right to.
        """
        array = self.array()
        full = np.full(array.chunks, array.fill_value, array.dtype)
        full[tuple(map(slice, chunk.shape))] = chunk
        if _is_empty(full):
            with suppress(FileNotFoundError):
                self._file(index).unlink()
            return np.zeros(2, np.int64)
        little = full.astype(full.dtype.newbyteorder("<"), copy=False)
        content = bytes(library("numcodecs.zstd").Zstd(level=_LEVEL).encode(little))
        self._put(self._file(index), content)
        return _seal(content)

    def mark(self, index: Index, seal: Array, **small: Array) -> None:
        """Say what a chunk is; `small` are the arrays that its part of the preview is of.

        Raises:
            UsageError: there is no space, or no right to.
        """
        content = io.BytesIO()
        np.savez(content, **cast("dict[str, Any]", {SEAL: seal, **small}))
        self._put(self._marker(index), content.getvalue())

    def marked(self, index: Index) -> dict[str, Array]:
        """What was said with a chunk."""
        # NumPy leaves a damaged file open, bytes it cannot.
        content = io.BytesIO(self._marker(index).read_bytes())
        with np.load(content, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}

    def _put(self, path: Path, content: bytes) -> None:
        """A file, whole when it has its name; others may make its folder at the same time."""
        half = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            half.write_bytes(content)
            os.replace(half, path)
        except OSError as error:
            raise cannot_write(self.path, error) from error
        finally:
            half.unlink(missing_ok=True)

    def settle(self) -> None:
        """Force all that was written to the disk, and remove what was half written.

        Nobody may be at work.

        Raises:
            UsageError: the disk does not take it.
        """
        try:
            for folder, _, names in os.walk(self.path):
                for path in (Path(folder, name) for name in names):
                    if path.suffix in _HALF:
                        path.unlink(missing_ok=True)
                    else:
                        sync(path)
                sync_folder(folder)
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def done(self) -> set[Index]:
        """The chunks that are what their markers say; each file is read."""
        with os.scandir(self._own / "done") as files:
            found = [re.fullmatch(r"(\d+(?:\.\d+)*)\.npz", file.name) for file in files]
        marked = (tuple(map(int, name[1].split("."))) for name in found if name is not None)
        return {index for index in marked if self._is_whole(index)}

    def _is_whole(self, index: Index) -> bool:
        try:
            said = self.marked(index)[SEAL]
        except (OSError, EOFError, ValueError, KeyError, BadZipFile):  # a damaged marker
            return False
        try:
            there = _seal(self._file(index).read_bytes())
        except OSError:
            there = np.zeros(2, np.int64)
        return bool(np.array_equal(said, there))

    def _file(self, index: Index) -> Path:
        return Path(self.path) / "0" / "c" / "0" / Path(*map(str, index))

    def _marker(self, index: Index) -> Path:
        return self._own / "done" / f"{'.'.join(map(str, index))}.npz"


def create(
    path: str,
    shape: Sequence[int],
    chunks: Sequence[int],
    dtype: str,
    *,
    names: Sequence[str],
    place: Place,
    said: Mapping[str, Any],
    model: bytes,
    certificate: Mapping[str, Any],
) -> Target:
    """Make a target, whole or not at all.

    Args:
        path: of its folder, which is not there.
        shape, chunks: of the maps, channels first.
        dtype: of the maps; floats that were never computed are NaN, whole numbers 0.
        names: of the maps, in order; () is none.
        place: of the maps' positions.
        said: for the attributes.
        model: the bytes of the file that is run.
        certificate: for its file.

    Raises:
        UsageError: it cannot be written.
    """
    zarr = library("zarr")
    beside = f"{path}.{secrets.token_hex(4)}.tmp"
    fill = np.nan if np.dtype(dtype).kind == "f" else 0
    try:
        group = zarr.open_group(_store(beside), mode="w-", zarr_format=3)
        group.attrs.update({"ome": _ome(Path(path).name, place, names), KEY: dict(said)})
        group.create_array(
            "0",
            shape=tuple(shape),
            chunks=(shape[0], *chunks),
            dtype=dtype,
            fill_value=fill,
            compressors=library("zarr.codecs").ZstdCodec(level=_LEVEL),
            dimension_names=["c", *_spatial(len(chunks))],
        )
        target = Target(beside)
        os.makedirs(target._own / "done")
        replace(target.model, model)
        replace(target.certificate, json.dumps(certificate, indent=2).encode())
        os.rename(beside, path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return Target(path)


def found(path: str) -> Target | None:
    """The target at a path; None where nothing is.

    Raises:
        UsageError: what is there is no target of a scan.
    """
    if not os.path.lexists(path):
        return None
    target, is_one = Target(path), False
    with suppress(Exception):  # whatever Zarr says of a folder that is none of its own
        is_one = target.said["schema"] == _SCHEMA
    if not is_one:
        raise UsageError(f"{path} is there and no result of a scan: choose another name")
    for part in target.parts:
        if not part.exists():
            raise UsageError(f"{part} is gone: remove {path}, and scan again")
    return target


def check_same(target: Target, wanted: Mapping[str, Any]) -> None:
    """Nothing, if a target belongs to this scan.

    Raises:
        UsageError: it belongs to another one, and which option says so.
    """
    said = target.said
    for key, value in wanted.items():
        # As JSON has it: tuples are lists there.
        there, now = said.get(key), json.loads(json.dumps(value))
        if there != now:
            raise UsageError(
                f"{target.path} belongs to another scan: its {key} is {_short(there, now)}, "
                f"wanted {_short(now, there)}: choose another name, or remove it first"
            )


def check_model(target: Target, digest: str) -> bytes:
    """The bytes of the model that a target was made with.

    Raises:
        UnreadableModel: the file is another one now.
    """
    from hashlib import sha256

    content = target.model.read_bytes()
    if sha256(content).hexdigest() != digest:
        raise UnreadableModel(f"{target.model} was changed: remove {target.path}, and scan again")
    return content


def _is_empty(chunk: Array) -> bool:
    """Whether nothing but the fill value is in it, NaN or 0."""
    if chunk.dtype.kind == "f":
        return bool(np.isnan(chunk).all())
    return not chunk.any()


def _seal(content: bytes) -> Array:
    """The length and the CRC-32 of a chunk's file.

    >>> _seal(b"onebyone").tolist()
    [8, 2679197943]
    """
    return np.array([len(content), zlib.crc32(content)], np.int64)


def _short(value: object, other: object) -> str:
    """What is different from another value, not too long."""
    if isinstance(value, dict) and isinstance(other, dict):
        value = {key: each for key, each in value.items() if other.get(key) != each}
    text = json.dumps(value, ensure_ascii=False)
    if len(text) <= 60:
        return text
    return f"{text[:57]}…"


@lru_cache(4)
def _opened(path: str, _inode: int, _changed: int) -> Any:
    return library("zarr").open_group(_store(path), mode="r+")


def _store(path: str) -> Any:
    """Of a folder, whatever it is called: one with :: in its name Zarr takes for an address."""
    return library("zarr.storage").LocalStore(path)


def _spatial(count: int) -> list[str]:
    return list("zyx"[3 - count :])


def _ome(name: str, place: Place, names: Sequence[str]) -> dict[str, Any]:
    """OME-Zarr 0.5: the axes, where the positions are, and the names of the classes.

    Source: the specification "Next-generation file formats", ngff.openmicroscopy.org/0.5.
    """
    unit = {"unit": place.unit} if place.unit else {}
    spatial = [{"name": n, "type": "space", **unit} for n in _spatial(len(place.spacing))]
    steps = [
        {"type": "scale", "scale": [1.0, *place.spacing]},
        {"type": "translation", "translation": [0.0, *place.origin]},
    ]
    found: dict[str, Any] = {
        "version": "0.5",
        "multiscales": [
            {
                "name": name,
                "axes": [{"name": "c", "type": "channel"}, *spatial],
                "datasets": [{"path": "0", "coordinateTransformations": steps}],
            }
        ],
    }
    if names:
        found["omero"] = {"channels": [{"label": label} for label in names]}
    return found
