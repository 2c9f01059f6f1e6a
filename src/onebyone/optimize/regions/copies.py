"""Channels that are copies of others, or constants: what an Expand, a Tile, a Pad and a concat add.

[x; y; x; k] = P[x; y] + (0; k)        P: rows of ones and zeros (`algebra.expression.distinct`)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onebyone.algebra.channel import ChannelMap
from onebyone.algebra.expression import Concat, Term, distinct
from onebyone.algebra.selection import Expand, Pad, Tile
from onebyone.algebra.space import AxisMap
from onebyone.algebra.weights import Array
from onebyone.graph.constants import constant

__all__ = ["copied_by", "copied_in"]


def copied_in(whole: Concat, operands: Sequence[ir.Value | None], axis: int) -> Term | None:
    """A concat of these values as a map of what is different in it; None if all of it is."""
    held = {at: k for at, v in enumerate(operands) if (k := _channels_held(v, axis)) is not None}
    return distinct(whole, held)


def _channels_held(value: ir.Value | None, axis: int) -> Array | None:
    """(C,): what a constant holds, if it is the same at all positions."""
    array = constant(value)
    if array is None or axis >= array.ndim or not array.size:
        return None
    channels = np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)
    if (channels != channels[:, :1]).any():
        return None
    return np.asarray(channels[:, 0], np.float64)


def copied_by(axis_map: AxisMap | None, before: int, after: int) -> ChannelMap | None:
    """What repeats channels, or pads zeros or copies to them, as a map; None for anything else.

    >>> copied_by(Tile(2), 1, 2).weight.tolist(), copied_by(Pad(1, 0), 1, 2).weight.tolist()
    ([[1], [1]], [[0], [1]])
    """
    if not isinstance(axis_map, Expand | Pad | Tile):
        return None
    return ChannelMap.copying([int(c) for c in axis_map.sources(before, after)], before)
