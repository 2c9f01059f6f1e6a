"""The modelled time of a graph: the prices that decide (`cost.price`), node by node."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial

import onnx_ir as ir

from onebyone.cost.price import Load, Manner, detour, manner, time
from onebyone.cost.profile import Profile
from onebyone.counting.value import Count
from onebyone.graph.constants import is_float
from onebyone.graph.count_walk import name_of
from onebyone.graph.ops import Role, role
from onebyone.graph.shapes import Sizes
from onebyone.graph.spatial import Spatial, spatial
from onebyone.graph.values import rank_of

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
    elements = cache(partial(elements_of, sizes=sizes))  # of a value for all that read it
    each = (node_time(node, macs.get(name_of(node), 0), profile, elements) for node in graph)
    return sum(each) / 1e12


def node_time(
    node: ir.Node, macs: float, profile: Profile, elements: Callable[[ir.Value], float]
) -> int:
    """Picoseconds of a node that does `macs`, where values have so many `elements`."""
    read, written = (
        sum(elements(value) for value in values if value is not None)
        for values in (node.inputs, node.outputs)
    )
    turned = detour(node.op_type, rank_of(next(iter(node.outputs), None)), profile)
    return time(_manner(node), Load(macs, read, written), profile) + turned


def elements_of(value: ir.Value, sizes: Sizes) -> int:
    """The numbers in a tensor; sizes and indices, which are integers, weigh nothing."""
    shape = sizes.shape(value)
    if shape is None or not is_float(value):
        return 0
    return math.prod(shape)


def _manner(node: ir.Node) -> Manner:
    if node.domain != "":
        return Manner.PASS
    interpolates = node.attributes.get_string("mode", "nearest") != "nearest"
    rank = rank_of(node.outputs[0]) or 1
    afar = node.attributes.get_int("axis", -1) % rank < rank - 2
    found = spatial(node) if role(node) is Role.SELECTION else None
    of_positions, of_rows = True, _keeps_rows(node)
    if isinstance(found, Spatial):
        # Along no more than its first two axes a Slice picks of the batch and whole channels.
        of_positions = any(axis > 1 for axis in found.maps)
        of_rows = found.picks_rows(rank_of(node.inputs[0]))
    return manner(
        node.op_type,
        of_positions=of_positions,
        of_rows=of_rows,
        interpolates=interpolates,
        afar=afar,
    )


def _keeps_rows(node: ir.Node) -> bool:
    """Whether a node turns axes, and the last one stays where it is."""
    perm = node.attributes.get_ints("perm", None)
    return node.op_type == "Transpose" and perm is not None and perm[-1] == len(perm) - 1
