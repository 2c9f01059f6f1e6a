"""Where the channels of each value stand, also behind views that merge them or cut them apart.

What a linear region goes by (`graph.channel_axes`) loses the channels at a Split's second result,
at Flatten and where tokens are cut into heads; taking channels out does not.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from onebyone.graph.channel_axes import carried_axis
from onebyone.graph.ops import Role, role
from onebyone.graph.views import view_axis
from onebyone.optimize.channels.moves import picked
from onebyone.optimize.channels.regroup import cut

__all__ = ["tracks"]


def tracks(graph: ir.Graph) -> dict[ir.Value, int]:
    """The channel axis of each value that has one; of a graph with shapes inferred."""
    axes: dict[ir.Value, int] = {}
    for node in graph:
        axes.update(_of(node, axes))
    return axes


def _of(node: ir.Node, axes: dict[ir.Value, int]) -> Iterator[tuple[ir.Value, int]]:
    x = node.inputs[0] if node.inputs else None
    if x in axes and (node.op_type == "Split" or picked(node) is not None):
        yield from ((value, axes[x]) for value in node.outputs)
        return
    axis = _followed(node, axes[x]) if role(node) is Role.VIEW and x in axes else None
    axis = carried_axis(node, axes) if axis is None else axis
    if axis is not None:
        yield node.outputs[0], axis


def _followed(node: ir.Node, before: int) -> int | None:
    """Where a view puts the channels."""
    shape = node.outputs[0].shape
    every = range(0 if shape is None else shape.rank())
    whole = [k for k in every if view_axis(node, k) == before]
    return whole[0] if whole else cut(node, before)
