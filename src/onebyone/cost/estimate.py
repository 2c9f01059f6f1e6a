"""The modelled time of a whole graph, node by node, by the same roofline that decides."""

from __future__ import annotations

import math

import onnx_ir as ir

from onebyone.cost.profile import Profile
from onebyone.counting.value import Count
from onebyone.graph.constants import is_float
from onebyone.graph.count_walk import name_of
from onebyone.graph.ops import Role, role
from onebyone.graph.shapes import Sizes

__all__ = ["estimate"]


def estimate(graph: ir.Graph, sizes: Sizes, count: Count, profile: Profile) -> float:
    """Seconds that the nodes of a graph take under a profile; unknown shapes move nothing.

    Args:
        graph: with shapes inferred.
        sizes: what its dimensions are taken to be.
        count: of the same graph at the same sizes.
        profile: the engine and machine.
    """
    macs = {layer.name: layer.macs for layer in count.layers}
    total = 0
    for node in graph:
        name = name_of(node)
        free = role(node) is Role.VIEW and node.op_type != "Transpose"
        values = [v for v in (*node.inputs, *node.outputs) if v is not None]
        moved = 0 if free else sum(_elements(value, sizes) for value in values)
        total += profile.time(macs.get(name, 0), moved) + detour(node, profile)
    return total / 1e12


def detour(node: ir.Node, profile: Profile) -> int:
    """What a convolution pays that is not over images: engines turn it into one and back."""
    shape = node.outputs[0].shape if node.outputs else None
    odd = node.op_type == "Conv" and shape is not None and shape.rank() != 4
    return profile.time() if odd else 0


def _elements(value: ir.Value, sizes: Sizes) -> int:
    """The numbers in a tensor; sizes and indices, which are integers, weigh nothing."""
    shape = sizes.shape(value) if is_float(value) else None
    return 0 if shape is None else math.prod(shape)
