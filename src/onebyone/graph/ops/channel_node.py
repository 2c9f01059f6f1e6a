"""A node's channel map and its weight as values, and what their readers share."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onebyone.algebra.channel import ChannelMap
from onebyone.algebra.laws import refused
from onebyone.algebra.refusal import Refusal
from onebyone.algebra.weights import Array
from onebyone.graph.constants import constant
from onebyone.graph.values import input_at

__all__ = ["ChannelNode", "Weight", "bias_of", "not_constant"]


@dataclass(frozen=True)
class ChannelNode:
    """A node as a channel map.

    Args:
        operand: the value that is mapped.
        map: what is applied along the channel axis.
        strides, pads: of a convolution, per spatial axis (pads: begins, then ends); else empty.
    """

    operand: ir.Value
    map: ChannelMap
    strides: tuple[int, ...] = ()
    pads: tuple[int, ...] = ()

    @property
    def moves_positions(self) -> bool:
        """Whether it also strides or pads."""
        return any(s != 1 for s in self.strides) or any(self.pads)


@dataclass(frozen=True)
class Weight:
    """How a node that mixes channels stores its weight.

    Args:
        slot: the input that it is.
        rows, columns: its axes of the output's and of the operand's channels (of a group).
        factor: what it is multiplied with.
    """

    slot: int
    rows: int
    columns: int
    factor: float = 1.0


def bias_of(node: ir.Node, index: int) -> Array | Refusal | None:
    """The constant array of an optional input; None if it is absent."""
    value = input_at(node, index)
    if value is None:
        return None
    array = constant(value)
    return not_constant("bias") if array is None else array


def not_constant(what: str) -> Refusal:
    """The refusal of a channel map whose weight, bias or statistics no law may calculate with."""
    return refused("compose", "not constant", part=what)
