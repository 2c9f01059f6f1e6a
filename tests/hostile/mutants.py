"""The kinds of mutation: each row changes a model in one way, and writes it into a folder.

(source, draw) ── bytes | fields | structure | external ──▶ folder/model.onnx and what it needs
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path

from onnx import ModelProto

from tests.hostile import damage, external, fields, structure, vast

__all__ = ["KINDS", "write_mutant"]

# A kind takes the model's bytes and a folder, and writes the mutant there as model.onnx.
Kind = Callable[[bytes, random.Random, Path], None]


def _of_bytes(change: Callable[[bytearray, random.Random], None]) -> Kind:
    def write(data: bytes, draw: random.Random, folder: Path) -> None:
        changed = bytearray(data)
        change(changed, draw)
        (folder / "model.onnx").write_bytes(changed)

    return write


def _of_message(change: Callable[[ModelProto, random.Random], None]) -> Kind:
    """The change, up to three times over."""

    def write(data: bytes, draw: random.Random, folder: Path) -> None:
        model = ModelProto.FromString(data)
        for _ in range(draw.choice([1, 1, 2, 3])):
            change(model, draw)
        (folder / "model.onnx").write_bytes(model.SerializeToString())

    return write


KINDS: Mapping[str, Kind] = {
    **{f"bytes: {name}": _of_bytes(change) for name, change in damage.CHANGES.items()},
    **{f"fields: {name}": _of_message(change) for name, change in fields.CHANGES.items()},
    **{f"graph: {name}": _of_message(change) for name, change in structure.CHANGES.items()},
    **{f"vast: {name}": _of_message(change) for name, change in vast.CHANGES.items()},
    "names: no UTF-8": _of_bytes(damage.no_text),
    **{f"external: {name}": change for name, change in external.CHANGES.items()},
}


def write_mutant(kind: str, data: bytes, draw: random.Random, folder: Path) -> None:
    """Write the mutant of `kind` that `draw` draws into `folder`, as `model.onnx`."""
    KINDS[kind](data, draw, folder)
