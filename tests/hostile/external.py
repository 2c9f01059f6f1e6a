"""External data that lies: elsewhere, nowhere, behind a link, in a pipe, beyond the end."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping
from pathlib import Path

import onnx
from onnx import ModelProto, TensorProto

from tests.hostile.fields import NUMBERS, TEXTS

__all__ = ["CHANGES", "moved_out"]

LOCATIONS = (
    "../outside",
    "sub/../../outside",
    "/dev/zero",
    "/etc/hostname",
    "/proc/self/mem",
    "missing",
    "model.onnx",
    ".",
    "..",
    "",
    "a\0b",
    "file:///etc/passwd",
    "weights/",
    "./weights",
    *TEXTS,
)
KEYS = ("location", "offset", "length", "checksum", "basepath", "", "\x1b[31m")


def moved_out(data: bytes, folder: Path, threshold: int = 0) -> ModelProto:
    """The model with its weights in `folder/weights`, and `outside` beside the folder's files."""
    model = ModelProto.FromString(data)
    path = folder / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights", size_threshold=threshold)
    (folder / "weights").touch()
    return onnx.load(path, load_external_data=False)


def _outside(model: ModelProto) -> list[TensorProto]:
    return [t for t in model.graph.initializer if t.data_location == TensorProto.EXTERNAL]


def _entry(data: bytes, draw: random.Random, folder: Path) -> None:
    """What one tensor says about where it lies."""
    model = moved_out(data, folder)
    for tensor in draw.choices(_outside(model) or [TensorProto()], k=draw.choice([1, 2])):
        _mislead(tensor, draw)
    (folder / "model.onnx").write_bytes(model.SerializeToString())


def _mislead(tensor: TensorProto, draw: random.Random) -> None:
    change = draw.randrange(4)
    if change == 0:
        tensor.external_data.add(key=draw.choice(KEYS), value=draw.choice(TEXTS))
    elif change == 1 and tensor.external_data:
        del tensor.external_data[draw.randrange(len(tensor.external_data))]
    elif tensor.external_data:
        entry = draw.choice(tensor.external_data)
        numbers = [*map(str, (*NUMBERS, 2**70, 10**30)), "1e3", "0x10", "\u0663", " 8", "nan"]
        entry.value = draw.choice(LOCATIONS if entry.key == "location" else numbers)


def _file(data: bytes, draw: random.Random, folder: Path) -> None:
    """The file of the data is something else."""
    moved_out(data, folder)
    weights, real = folder / "weights", folder / "real"
    os.replace(weights, real)
    turn = draw.choice(list(_FILES))
    _FILES[turn](weights, real, draw)


def _shorter(weights: Path, real: Path, draw: random.Random) -> None:
    data = real.read_bytes()
    weights.write_bytes(data[: draw.randrange(len(data) + 1)])


_FILES: Mapping[str, Callable[[Path, Path, random.Random], None]] = {
    "missing": lambda weights, real, draw: None,
    "cut short": _shorter,
    "a folder": lambda weights, real, draw: weights.mkdir(),
    "a pipe": lambda weights, real, draw: os.mkfifo(weights),
    "a device": lambda weights, real, draw: weights.symlink_to("/dev/zero"),
    "a link out": lambda weights, real, draw: weights.symlink_to("/etc/hostname"),
    "a link to itself": lambda weights, real, draw: weights.symlink_to("weights"),
    "a link inside": lambda weights, real, draw: weights.symlink_to("real"),
    "a hard link": lambda weights, real, draw: os.link(real, weights),
    "no permission": lambda weights, real, draw: real.rename(weights).chmod(0),
    "the model": lambda weights, real, draw: weights.symlink_to("model.onnx"),
}


def _inner(data: bytes, draw: random.Random, folder: Path) -> None:
    """Tensors of attributes and of inner graphs are external, too."""
    model = ModelProto.FromString(data)
    (folder / "weights").write_bytes(draw.randbytes(4096))
    found = [a.t for node in model.graph.node for a in node.attribute if a.HasField("t")]
    for tensor in found or model.graph.initializer:
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="weights")
        if draw.random() < 0.3:
            _mislead(tensor, draw)
    (folder / "model.onnx").write_bytes(model.SerializeToString())


CHANGES: Mapping[str, Callable[[bytes, random.Random, Path], None]] = {
    "entry": _entry,
    "file": _file,
    "inner": _inner,
}
