"""On which axis of each value the channels stand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import onnx_ir as ir

from onebyone.graph.averages import average_axis
from onebyone.graph.channels import channel_axis
from onebyone.graph.ops import Role, role
from onebyone.graph.ops.reduction import axis_left
from onebyone.graph.spatial import Spatial, picked, spatial
from onebyone.graph.values import rank_of, size
from onebyone.graph.views import headed, merged, view_axis

__all__ = ["channel_axes"]


def channel_axes(graph: ir.Graph) -> dict[ir.Value, int]:
    """The channel axis of each value that has one, carried forward from where operators fix it.

    Channels are followed where a Split or a pick takes some of them, and through views, also
    those that merge them with other axes or cut them into heads. The graph's shapes are inferred.
    """
    axes: dict[ir.Value, int] = {}
    for node in graph:
        axes.update(_carried(node, axes))
    return axes


def _carried(node: ir.Node, axes: Mapping[ir.Value, int]) -> Iterator[tuple[ir.Value, int]]:
    """The results of a node that have channels, and their axes."""
    x = node.inputs[0] if node.inputs else None
    before = None if x is None else axes.get(x)
    if before is not None and (node.op_type == "Split" or picked(node) is not None):
        yield from ((value, before) for value in node.outputs)
        return
    for value in node.outputs[:1]:
        axis = _of_first(node, before, axes)
        if axis is not None:
            yield value, axis


def _of_first(node: ir.Node, before: int | None, axes: Mapping[ir.Value, int]) -> int | None:
    """The channel axis of a node's first result; `before`: that of its first operand."""
    shape, axis = node.outputs[0].shape, channel_axis(node)
    if shape is None or axis is not None:
        return axis
    rank = shape.rank()
    if role(node) is Role.VIEW:
        if before is not None:
            return _viewed(node, before, rank)
        # Where nothing is known, the channels of an image or of a batch of vectors.
        if rank:
            return min(1, rank - 1)
        return None
    positions = spatial(node)
    if isinstance(positions, Spatial) and before is not None:
        return positions.after(before)
    left = None if before is None else axis_left(node, before)
    if left is None:
        left = average_axis(node, axes)
    if left is not None:
        return left
    # Of operands that broadcast, one that has all axes of the result has its channels too.
    known = (v for v in node.inputs if v in axes and rank_of(v) == rank)
    return next((axes[v] for v in known if v is not None), None)


def _viewed(node: ir.Node, before: int, rank: int) -> int | None:
    """Where a view puts the channels of axis `before`: whole, merged with others, or cut apart.

    Of several parts it is the largest but for the last one, which are the heads of an attention.
    """
    whole = next((k for k in range(rank) if view_axis(node, k) == before), None)
    if whole is None:
        whole = next((k for k in range(rank) if merged(node, k, before)), None)
    if whole is not None:
        return whole
    heads = [k for k in range(rank) if headed(node, k, before)]
    return max(heads, key=lambda k: (size(node.outputs[0], k) or 0, k), default=None)
