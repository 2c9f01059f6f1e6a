"""Panel 10: a 1×1 and a space map in both orders, by the library's algebra."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onebyone.algebra.channel import ChannelMap
from onebyone.algebra.pool import AveragePool
from onebyone.algebra.resize import Resize
from onebyone.algebra.selection import Pad, Slice, subsample
from onebyone.algebra.space import AxisMap, apply
from onebyone.counting.layer import Layer
from onebyone.show.explorer.data import picture

Array = NDArray[np.float64]
SPACES: dict[str, Callable[[int], AxisMap]] = {
    "average": lambda size: AveragePool(2, stride=2),
    "bilinear": lambda size: Resize("linear", scale=2.0),
    "nearest": lambda size: Resize("nearest", scale=2.0),
    "stride": lambda size: subsample(2),
    "crop": lambda size: Slice(size // 4, size - size // 4),
    "padding": lambda size: Pad(8, 8),
}
STATES = [
    {},
    *(
        {"space": space}
        for space in ("bilinear", "nearest", "stride", "crop", "padding", "maximum")
    ),
    *({"space": space, "relu": True} for space in ("average", "bilinear", "nearest", "stride")),
    {"space": "padding", "bias": 0},
    {"space": "padding", "bias": 0, "relu": True},
    {"space": "maximum", "red": 1, "green": 0, "blue": 0, "bias": 0},
    {"space": "bilinear", "red": 0, "green": 4, "blue": -3, "bias": -200, "relu": True},
]


def space_map(space: str, x: Array) -> Array:
    """S x on the last two axes of (N, C, H, W)."""
    height, width = x.shape[2:]
    if space != "maximum":
        return apply({2: SPACES[space](height), 3: SPACES[space](width)}, x)
    whole = x[:, :, : height // 2 * 2, : width // 2 * 2]
    return whole.reshape(*x.shape[:2], height // 2, 2, width // 2, 2).max((3, 5))


@dataclass(frozen=True)
class Both:
    """What comes out with the 1×1 first, and last; the MACs of either."""

    first: Array
    last: Array
    macs: tuple[int, int]


def both_orders(space: str, x: Array, layer: ChannelMap, relu: bool) -> Both:
    def after(y: Array) -> Array:
        return np.maximum(y, 0) if relu else y

    moved = space_map(space, x)
    first, last = space_map(space, after(layer.apply(x))), after(layer.apply(moved))
    before, behind = (Layer(x.shape[1], 1, (1, 1), of.shape[2:]).macs for of in (x, moved))
    return Both(first, last, (before, behind))


def promised(space: str, bias: bool, relu: bool) -> bool:
    """Whether the law commute covers it: its two side conditions, as the library reads them."""
    if space == "maximum":
        return False
    axis_map = SPACES[space](9)
    return (axis_map.preserves_constants or not bias) and (axis_map.is_selection or not relu)


def expected(
    space: str = "average",
    red: int = -4,
    green: int = 1,
    blue: int = 3,
    bias: int = 60,
    relu: bool = False,
) -> dict[str, float]:
    layer = ChannelMap(np.array([[red, green, blue]]), np.array([bias]))
    found = both_orders(space, picture()[None].astype(np.float64), layer, relu)
    gap = np.abs(found.first - found.last)
    law = promised(space, bool(bias), relu)
    assert not law or gap.max() == 0, "a law that is not one"
    return {
        "swap.difference": gap.max(),
        "swap.differing": np.count_nonzero(gap),
        "swap.promised": int(law),
        "swap.first": found.macs[0],
        "swap.second": found.macs[1],
    }
