"""A map as a heat map over its image: a small PNG, without any library for pictures."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

__all__ = ["heat", "png"]

# The blue of channels, as in page/tokens.css.
_BLUE = (0, 104, 168)
# What lies beyond is drawn as the end itself: a few extremes would hide all else.
_ENDS = (1.0, 99.5)


def heat(image: NDArray[np.float32], score: NDArray[np.float32]) -> bytes:
    """An image in grey, under a map in blue; both (H, W), of any range; NaN is not drawn.

    >>> heat(np.zeros((2, 3), np.float32), np.eye(2, 3, dtype=np.float32))[1:4]
    b'PNG'
    """
    grey = 255 * (0.35 + 0.65 * _between(image))
    strength = _between(score)[..., None]
    pixels = grey[..., None] * (1 - strength) + np.array(_BLUE) * strength
    return png(np.rint(pixels).astype(np.uint8))


def _between(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Spread over 0 to 1; what is no number is 0."""
    known = values[np.isfinite(values)]
    if not known.size:
        return np.zeros(values.shape)
    low, high = np.percentile(known, _ENDS)
    # Flat but for a few: those few then show.
    if high == low:
        low, high = float(known.min()), float(known.max())
    spread: NDArray[np.float64] = np.clip((values - low) / ((high - low) or 1.0), 0, 1)
    return np.nan_to_num(spread)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """(H, W, 3) as a PNG.

    Source: Portable Network Graphics, third edition, W3C 2025: a header, rows each behind a filter
    of type 0, compressed, an end.
    """
    height, width = pixels.shape[:2]
    rows = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], 1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 6)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(_part(name, data) for name, data in parts)


def _part(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
