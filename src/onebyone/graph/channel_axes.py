"""On which axis of each value the channels stand."""

from __future__ import annotations

import onnx_ir as ir

from onebyone.graph.channels import channel_axis
from onebyone.graph.ops import Role, role
from onebyone.graph.spatial import Spatial, spatial
from onebyone.graph.views import view_axis

__all__ = ["carried_axis", "channel_axes"]


def channel_axes(graph: ir.Graph) -> dict[ir.Value, int]:
    """The channel axis of each value that has one, carried forward from where operators fix it."""
    axes: dict[ir.Value, int] = {}
    for node in graph:
        axis = carried_axis(node, axes)
        if axis is not None:
            axes[node.outputs[0]] = axis
    return axes


def carried_axis(node: ir.Node, axes: dict[ir.Value, int]) -> int | None:
    """The channel axis of a node's first result, from those of its operands."""
    out = node.outputs[0] if node.outputs else None
    if out is None or out.shape is None:
        return None
    axis = channel_axis(node)
    if axis is not None:
        return axis
    if role(node) is Role.VIEW:
        if node.inputs[0] not in axes:
            return min(1, out.shape.rank() - 1) if out.shape.rank() else None
        return next((k for k in range(out.shape.rank()) if _viewed(node, k, axes)), None)
    found = spatial(node)
    if isinstance(found, Spatial) and node.inputs[0] in axes:
        return _axis_after(found, axes[node.inputs[0]])
    known = [axes[v] for v in node.inputs if v in axes and v.shape is not None
             and v.shape.rank() == out.shape.rank()]  # fmt: skip
    return known[0] if known else None


def _viewed(node: ir.Node, axis: int, axes: dict[ir.Value, int]) -> bool:
    source = node.inputs[0]
    return source in axes and view_axis(node, axis) == axes[source]


def _axis_after(found: Spatial, axis: int) -> int | None:
    """The axis of the result that the operand's axis `axis` becomes; None if it is mapped."""
    return None if axis in found.maps else axis - sum(k < axis for k in found.vanished)
