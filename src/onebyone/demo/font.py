"""A bitmap font of 5×7 pixels: just the letters that the demo's figure needs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["text"]

# One number a row, from the top; its five bits are the pixels, the highest one leftmost.
_GLYPHS = {
    " ": (0, 0, 0, 0, 0, 0, 0),
    ".": (0, 0, 0, 0, 0, 12, 12),
    "+": (0, 4, 4, 31, 4, 4, 0),
    ",": (0, 0, 0, 0, 12, 4, 8),
    "-": (0, 0, 0, 14, 0, 0, 0),
    "0": (14, 17, 19, 21, 25, 17, 14),
    "1": (4, 12, 4, 4, 4, 4, 14),
    "2": (14, 17, 1, 6, 8, 16, 31),
    "3": (14, 17, 1, 6, 1, 17, 14),
    "4": (2, 6, 10, 18, 31, 2, 2),
    "5": (31, 16, 30, 1, 1, 17, 14),
    "6": (14, 16, 16, 30, 17, 17, 14),
    "7": (31, 1, 2, 4, 4, 8, 8),
    "8": (14, 17, 17, 14, 17, 17, 14),
    "9": (14, 17, 17, 15, 1, 1, 14),
    "a": (0, 0, 14, 1, 15, 17, 15),
    "b": (16, 16, 30, 17, 17, 17, 30),
    "c": (0, 0, 14, 16, 16, 16, 14),
    "d": (1, 1, 15, 17, 17, 17, 15),
    "e": (0, 0, 14, 17, 31, 16, 14),
    "f": (6, 8, 28, 8, 8, 8, 8),
    "i": (4, 0, 12, 4, 4, 4, 14),
    "m": (0, 0, 26, 21, 21, 21, 21),
    "n": (0, 0, 30, 17, 17, 17, 17),
    "o": (0, 0, 14, 17, 17, 17, 14),
    "r": (0, 0, 22, 24, 16, 16, 16),
    "s": (0, 0, 15, 16, 14, 1, 30),
    "t": (8, 8, 28, 8, 8, 8, 6),
    "v": (0, 0, 17, 17, 17, 10, 4),
}


def text(line: str) -> NDArray[np.bool_]:
    """Where the ink of a line is: (7, 6 · length), one empty column after each letter.

    Raises KeyError for a letter that the font does not have.

    >>> for row in text("t."):
    ...     print("".join(" #"[int(ink)] for ink in row).rstrip())
     #
     #
    ###
     #
     #
     #     ##
      ##   ##
    """
    rows = np.array([_GLYPHS[letter] for letter in line], np.uint8)
    bits = np.unpackbits(rows[:, :, None], axis=2)[:, :, 3:]
    spaced = np.pad(bits, ((0, 0), (0, 0), (0, 1)))
    return spaced.transpose(1, 0, 2).reshape(7, -1).astype(bool)
