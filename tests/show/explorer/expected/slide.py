"""Panel 6: a small network, slid."""

from __future__ import annotations

import numpy as np

from onebyone.algebra.channel import ChannelMap
from onebyone.algebra.kernel import Kernel
from onebyone.show.explorer.data import picture
from onebyone.show.explorer.seed import uniform

STATES = [
    {},
    {"kernel": 3, "row": 0, "column": 83},
    {"shuffled": True, "row": 62, "column": 0},
    {"kernel": 3, "shuffled": True, "row": 30, "column": 41},
]
SEED, HIDDEN = 1359, 4


def network(kernel: int, image: np.ndarray) -> np.ndarray:
    """The map (H, W) of the network over an image (C, H, W)."""
    inputs = len(image) * kernel**2
    numbers = uniform(SEED, HIDDEN * (inputs + 2), kernel * 1000)
    W, b, v = np.split(numbers, [HIDDEN * inputs, HIDDEN * (inputs + 1)])
    pads = ((kernel // 2, kernel // 2),) * 2
    first = Kernel(W.reshape(HIDDEN, len(image), kernel, kernel), b, (1, 1), (1, 1), pads)
    return ChannelMap(v[None]).apply(np.maximum(first.apply(image[None]), 0))[0, 0]


def expected(
    row: int = 45, column: int = 20, kernel: int = 1, shuffled: bool = False
) -> dict[str, float]:
    image = picture() / 255
    positions = image[0].size
    order = np.argsort(uniform(SEED, positions), kind="stable")

    def reordered(x: np.ndarray) -> np.ndarray:
        return x.reshape(-1, positions)[:, order].reshape(x.shape)

    change = {
        k: np.abs(network(k, reordered(image)) - reordered(network(k, image))).max() for k in (1, 3)
    }
    return {
        "slide.one": 0,  # the same sums in the same order
        "slide.three": change[3],
        "slide.apart": 0,
        "slide.y": network(kernel, reordered(image) if shuffled else image)[row, column],
        "slide.inputs": 3 * kernel**2,
    }
