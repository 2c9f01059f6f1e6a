"""Write an image as a PNG file, compressed by zlib alone (RFC 2083: signature and three chunks)."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onebyone.graph.files import replace

__all__ = ["encode", "write_png"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_EIGHT_BITS, _RGB = 8, 2


def write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write `pixels` (H, W, 3), RGB, to a file; raises OSError if it cannot be written."""
    replace(path, encode(pixels))


def encode(pixels: NDArray[np.uint8]) -> bytes:
    """The bytes of a PNG file that shows `pixels` (H, W, 3), uint8, RGB.

    >>> encode(np.zeros((2, 5, 3), np.uint8))[12:24].hex(" ", 4)
    '49484452 00000005 00000002'
    """
    height, width, _ = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, _EIGHT_BITS, _RGB, 0, 0, 0)
    # Each row begins with the number of its filter; 0 is none.
    rows = np.pad(pixels.reshape(height, width * 3), ((0, 0), (1, 0)))
    body = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows.tobytes(), 9))
    return _SIGNATURE + body + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)
