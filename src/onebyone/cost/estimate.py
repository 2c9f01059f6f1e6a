"""The modelled time of a graph: the prices that decide (`cost.price`), node by node."""

from __future__ import annotations

import math
from collections.abc import Callable

import onnx_ir as ir

from onebyone.cost.price import Load, Manner, detour, manner, time
from onebyone.cost.profile import Profile
from onebyone.counting.value import Count
from onebyone.graph.constants import is_float
from onebyone.graph.count_walk import name_of
from onebyone.graph.shapes import Sizes
from onebyone.graph.spatial import Spatial, spatial

__all__ = ["elements_of", "estimate", "node_time"]


def estimate(graph: ir.Graph, sizes: Sizes, count: Count, profile: Profile) -> float:
    """Seconds that the nodes of a graph take under a profile; unknown shapes move nothing.

    Args:
        graph: with shapes inferred.
        sizes: what its dimensions are taken to be.
        count: of the same graph at the same sizes.
        profile: the engine and machine.
    """
    macs = {layer.name: layer.macs for layer in count.layers}
    each = (
        node_time(node, macs.get(name_of(node), 0), profile, lambda v: elements_of(v, sizes))
        for node in graph
    )
    return sum(each) / 1e12


def node_time(
    node: ir.Node, macs: float, profile: Profile, elements: Callable[[ir.Value], float]
) -> int:
    """Picoseconds of a node that does `macs`, where values have so many `elements`."""
    read, written = (
        sum(elements(value) for value in values if value is not None)
        for values in (node.inputs, node.outputs)
    )
    rank = _rank(node)
    return time(_manner(node), Load(macs, read, written), profile) + (
        0 if rank is None else detour(node.op_type, rank, profile)
    )


def elements_of(value: ir.Value, sizes: Sizes) -> int:
    """The numbers in a tensor; sizes and indices, which are integers, weigh nothing."""
    shape = sizes.shape(value) if is_float(value) else None
    return 0 if shape is None else math.prod(shape)


def _manner(node: ir.Node) -> Manner:
    if node.domain != "":
        return Manner.PASS
    mode = node.attributes.get_string("mode", "nearest")
    return manner(
        node.op_type, of_positions=_selects_positions(node), interpolates=mode != "nearest"
    )


def _selects_positions(node: ir.Node) -> bool:
    """Whether a Slice or Gather picks along more than its first two axes: batch and channels."""
    found = spatial(node) if node.op_type in ("Gather", "Slice") else None
    return not isinstance(found, Spatial) or any(axis > 1 for axis in found.maps)


def _rank(node: ir.Node) -> int | None:
    shape = node.outputs[0].shape if node.outputs else None
    return None if shape is None else shape.rank()
