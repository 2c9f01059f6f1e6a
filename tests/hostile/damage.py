"""Damage to bytes, blind to what they mean."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping

__all__ = ["CHANGES", "no_text"]


def _place(data: bytearray, draw: random.Random) -> int:
    """A place; half of the time near an end, where the structure is."""
    near = draw.choice([len(data), min(len(data), 2000)])
    place = draw.randrange(near)
    return place if draw.random() < 0.5 else len(data) - 1 - place


def _flip(data: bytearray, draw: random.Random) -> None:
    for _ in range(draw.choice([1, 1, 2, 5, 30])):
        data[_place(data, draw)] ^= 1 << draw.randrange(8)


def _truncate(data: bytearray, draw: random.Random) -> None:
    del data[_place(data, draw) :]


def _splice(data: bytearray, draw: random.Random) -> None:
    """A piece comes to lie elsewhere, over what was there or between."""
    start, length = _place(data, draw), draw.choice([1, 2, 9, 40, 400])
    piece = data[start : start + length]
    at = _place(data, draw)
    data[at : at + draw.choice([0, len(piece)])] = piece


def _remove(data: bytearray, draw: random.Random) -> None:
    at = _place(data, draw)
    del data[at : at + draw.choice([1, 2, 9, 40, 400])]


def _noise(data: bytearray, draw: random.Random) -> None:
    at, length = _place(data, draw), draw.choice([1, 4, 10, 64])
    filler = draw.choice([b"\xff", b"\x00", b"\x80", b"\x7f", draw.randbytes(1)])
    data[at : at + length] = filler * length


def no_text(data: bytearray, draw: random.Random) -> None:
    """Some names, wherever they stand, become bytes that are no UTF-8; lengths stay."""
    names = sorted(set(re.findall(rb"[A-Za-z_][\w.]{2,20}", bytes(data[:20000]))))
    for name in draw.sample(names, min(len(names), draw.choice([1, 2, 5]))):
        bad = draw.choice([b"\xff", b"\xc3(", b"\xed\xa0\x80", b"\x80"])
        data[:] = bytes(data).replace(name, (bad * len(name))[: len(name)])


CHANGES: Mapping[str, Callable[[bytearray, random.Random], None]] = {
    "flipped": _flip,
    "cut short": _truncate,
    "spliced": _splice,
    "removed": _remove,
    "overwritten": _noise,
}
