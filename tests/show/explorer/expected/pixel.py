"""Panel 1: one pixel."""

from __future__ import annotations

import numpy as np

from onebyone.algebra.channel import ChannelMap
from onebyone.counting.layer import Layer
from onebyone.show.explorer.data import picture

STATES = [
    {},
    {"row": 0, "column": 83, "red": 1, "green": 0.35, "blue": -0.15, "bias": -1, "whole": False},
    {"row": 62, "column": 0, "red": 0, "green": 0, "blue": 0, "bias": 0.05},
]


def expected(
    row: int = 38,
    column: int = 18,
    red: float = -0.8,
    green: float = 0.1,
    blue: float = 0.9,
    bias: float = 0,
    whole: bool = True,
) -> dict[str, float]:
    image = picture() / 255
    layer = ChannelMap(np.array([[red, green, blue]]), np.array([bias]))
    return {
        "pixel.y": float(layer.apply(image[None])[0, 0, row, column]),
        "pixel.parameters": Layer(3, 1, (1, 1), image.shape[1:]).parameters,
        "pixel.positions": image[0].size,
    }
