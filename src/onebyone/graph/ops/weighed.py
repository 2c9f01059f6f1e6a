"""A node that sums positions of one value, weighed by another that is computed, too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx_ir as ir

__all__ = ["Reader", "Weighed"]


@dataclass(frozen=True)
class Weighed:
    """y[…, i, c] = Σ_k A[…, i, k] v[…, k, c]: A acts on positions, alike in every channel.

    Args:
        slot: the input v, which has the channels.
        axis, along: its axes of the channels and of what is summed.
        weights: the input A.
        summed: its axis of what is summed.
    """

    slot: int
    axis: int
    along: int
    weights: int
    summed: int


Reader = Callable[[ir.Node, int], Weighed | None]
"""Of a node and the axis of the channels in its result; None: it is no such sum."""
