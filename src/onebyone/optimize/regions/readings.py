"""Readings: what lifting reads off single nodes and values, once for all regions of a round.

A node is met by many regions: by those that look through what it makes, by those that it ends, by
each root from which nothing came. What it says is the same to all, as long as the graph stands.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import onnx_ir as ir

from onebyone.algebra.channel import ChannelMap
from onebyone.algebra.digits import exact_rows
from onebyone.algebra.refusal import Refusal
from onebyone.algebra.weights import Array
from onebyone.graph.axes import pads
from onebyone.graph.channels import ChannelNode, channel_axis, channel_map, weight_of
from onebyone.graph.constants import constant
from onebyone.graph.ops import Role, role
from onebyone.graph.ops.marking import OneHot, one_hot
from onebyone.graph.shapes import Sizes
from onebyone.graph.values import maker
from onebyone.optimize.regions.steps import KernelNode, Layout, Stored
from onebyone.optimize.sharing import is_kept

__all__ = ["Readings"]

Place = tuple[ir.Value, int]
"""A value, and the axis of its channels."""


@dataclass(frozen=True, eq=False)
class Readings:
    """What was read off a graph, which is not changed meanwhile.

    Args:
        sizes: what its dimensions are taken to be.
        layouts, maps, kernels, rows, marks: what was found, or not, where it was asked for.
    """

    sizes: Sizes
    layouts: dict[Place, Layout | None] = field(default_factory=dict)
    maps: dict[Place, ChannelNode | Refusal | None] = field(default_factory=dict)
    kernels: dict[ir.Node, KernelNode | None] = field(default_factory=dict)
    rows: dict[ir.Value, Array | None] = field(default_factory=dict)
    marks: dict[ir.Value, OneHot | Refusal | None] = field(default_factory=dict)

    def layout(self, value: ir.Value, axis: int) -> Layout | None:
        """The layout of a value with channels on `axis`; None if its rank or sizes are unknown."""
        place = value, axis
        if place not in self.layouts:
            self.layouts[place] = self._layout(value, axis)
        return self.layouts[place]

    def channel_map(self, node: ir.Node, axis: int) -> ChannelNode | Refusal | None:
        """A node as a channel map (`graph.channels`), which remembers how its weight is stored."""
        place = node.outputs[0], axis
        if place not in self.maps:
            found = channel_map(node, axis)
            if isinstance(found, ChannelNode):
                found = replace(found, map=_stored(node, found.map))
            self.maps[place] = found
        return self.maps[place]

    def kernel(self, node: ir.Node) -> KernelNode | None:
        """A convolution as a kernel; None where its numbers or its sizes are unknown."""
        if node not in self.kernels:
            self.kernels[node] = self._kernel(node)
        return self.kernels[node]

    def product_rows(self, value: ir.Value) -> Array | None:
        """The exact rows of the convolution or linear layer that makes a value; else None.

        Moves of positions behind it change nothing.
        """
        if value not in self.rows:
            self.rows[value] = self._product_rows(value)
        return self.rows[value]

    def one_hot(self, value: ir.Value) -> OneHot | Refusal | None:
        """What says where a value is one (`graph.ops.marking`)."""
        if value not in self.marks:
            self.marks[value] = one_hot(value)
        return self.marks[value]

    def _layout(self, value: ir.Value, axis: int) -> Layout | None:
        sizes = self.sizes.shape(value)
        if sizes is None or value.shape is None or not 0 <= axis < len(sizes):
            return None
        if not isinstance(value.shape[axis], int) or 0 in sizes:
            return None
        # Priced by the sizes that were asked for, placed by those that are in the graph.
        shown = tuple(1 if k == axis else n for k, n in enumerate(sizes))
        return Layout(tuple(value.shape), shown, axis)

    def _kernel(self, node: ir.Node) -> KernelNode | None:
        x, weight = node.inputs[0], constant(node.inputs[1])
        biased = len(node.inputs) > 2 and node.inputs[2] is not None
        before = None if x is None else self.layout(x, 1)
        after = self.layout(node.outputs[0], 1)
        if weight is None or before is None or after is None:
            return None
        if biased and constant(node.inputs[2]) is None:
            return None
        groups, transposed = node.attributes.get_int("group", 1), node.op_type == "ConvTranspose"
        channels = (weight.shape[0], weight.shape[1] * groups)
        if not transposed:  # it stores (C_out, C_in / groups)
            channels = channels[::-1]
        padded = transposed or pads(node)
        taps = int(np.prod(weight.shape[2:]))
        shared = node.inputs[1] is not None and is_kept(node.inputs[1], [node])
        return KernelNode(node, groups, *channels, taps, before, after, padded, biased, shared)

    def _product_rows(self, value: ir.Value) -> Array | None:
        node = value.producer()
        while node is not None and role(node) in _MOVES:
            node = maker(node.inputs[0])
        if node is None:
            return None
        if node.op_type == "Conv" and role(node) is Role.CONVOLUTION:
            weight = constant(node.inputs[1])
            if weight is not None:
                return exact_rows(weight)
        axis = channel_axis(node)
        found = None if axis is None else self.channel_map(node, axis)
        if not isinstance(found, ChannelNode) or found.map.is_diagonal:
            return None
        return found.map.exact_rows


_MOVES = (Role.SPACE_MAP, Role.IDENTITY)


def _stored(node: ir.Node, f: ChannelMap) -> ChannelMap:
    """A map that remembers how its weight is stored; a diagonal is too small to matter."""
    weight = weight_of(node)
    if weight is None or f.is_diagonal or (value := node.inputs[weight.slot]) is None:
        return f
    turned = weight.rows == 1 if weight.factor == 1 else None
    return replace(f, stored=Stored(value, turned, is_kept(value, [node])))
