"""ONNX nodes read as space maps: pooling, resizing, padding, cropping, reducing, repeating.

An answer says which axes are mapped, and by what. None: the node is no space map. `Refusal`: it
would be one but for the reason named. Whether the channel axis is among the mapped ones is for the
caller to see.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx_ir as ir

from onebyone.algebra.laws import refused
from onebyone.algebra.pool import AveragePool
from onebyone.algebra.refusal import Refusal
from onebyone.algebra.selection import Pad
from onebyone.algebra.weights import Array
from onebyone.algebra.window import Window
from onebyone.graph.axes import Spatial, operand
from onebyone.graph.constants import is_float
from onebyone.graph.ops import Role, operator_of, role
from onebyone.graph.ops.gathering import picked_axes
from onebyone.graph.ops.pooling import windows
from onebyone.graph.ops.selector import Selector
from onebyone.graph.ops.selector import picked as selected
from onebyone.graph.values import input_at, made_by, rank_of

__all__ = [
    "Spatial", "is_padded_past", "picked", "picked_from", "selector", "spatial", "windows",
    "windows_of",
]  # fmt: skip


def spatial(node: ir.Node) -> Spatial | Refusal | None:
    """Read `node` as a space map on its first input; floating-point tensors only.

    Raises nothing: what is no space map is None, what nearly is one says why it is not.
    Source: the text of the ONNX operators, opsets 7 to 28.

    >>> x = ir.val("x", ir.DataType.FLOAT, (1, 2, 6, 8))
    >>> spatial(ir.node("GlobalAveragePool", [x])).maps
    {2: Mean(), 3: Mean()}
    """
    reader, x = operator_of(node).space, operand(node, 0)
    if reader is None or x is None or not is_float(x):
        return None
    if x.shape is None:
        return refused("commute", "rank", value="operand")
    if not x.shape.rank():
        return None
    return reader(node)


def is_padded_past(x: ir.Value, pools: Sequence[AveragePool]) -> bool:
    """Whether a Pad made `x`, with zeros that fill whole windows of pools over its spatial axes.

    ONNX Runtime (1.31) makes such zeros the pool's own, and refuses them where they are as many as
    a window is long.
    """
    node = made_by(x, "Pad")
    ends = None if node is None else spatial(node)
    if not isinstance(ends, Spatial):
        return False
    return any(
        isinstance(pad := ends.maps.get(axis), Pad)
        and pad.mode == "constant"
        and max(pool.before + pad.before, pool.after + pad.after) >= pool.kernel
        for axis, pool in enumerate(pools, 2)
    )


def picked(node: ir.Node) -> tuple[int, Array] | None:
    """The one axis along which a Slice or a Gather picks, and what it picks there of its operand.

    None for another node, and where the axis vanishes or the sizes or the choice are not known.
    """
    if role(node) is not Role.SELECTION:
        return None
    return selected(node, spatial(node))


def picked_from(indices: ir.Value) -> Iterator[tuple[ir.Value, int]]:
    """The values and axes of which gathers pick by `indices`, as they are or in another shape.

    A OneHot picks a place of its result.

    >>> x, i = ir.val("x", ir.DataType.FLOAT, (7, 3)), ir.val("i", ir.DataType.INT64, (2,))
    >>> several = ir.node("Gather", [x, i])
    >>> [(value.name, axis) for value, axis in picked_from(i)]
    [('x', 0)]
    """
    for node, slot in indices.uses():
        row, x = operator_of(node), node.inputs[0]
        if row.hands_on and slot == 0:
            yield from picked_from(node.outputs[0])
        if row.gathers and slot == 1 and x is not None and x.shape is not None:
            yield from ((x, axis) for axis in picked_axes(node, len(x.shape)))
        marked, rank = node.outputs[0], rank_of(node.outputs[0])
        if node.op_type == "OneHot" and slot == 0 and rank:
            yield marked, node.attributes.get_int("axis", -1) % rank


def selector(node: ir.Node) -> Selector | None:
    """Read a node as a selector; None where it is none, or takes what is known only at run time.

    >>> x = ir.val("x", ir.DataType.FLOAT, (2, 7, 3))
    >>> index = ir.val("i", const_value=ir.tensor(-1))
    >>> taken = selector(ir.node("Gather", [x, index], {"axis": 1}))
    >>> taken.orders, taken.dropped
    ({1: (6,)}, 1)
    """
    takes, x = operator_of(node).takes, input_at(node, 0)
    if takes is None or x is None or x.shape is None:
        return None
    return takes(node, x.shape)


def windows_of(node: ir.Node) -> dict[int, Window]:
    """Axis -> the window there; empty where a node has none, or sizes are not rounded down."""
    windows = operator_of(node).windows
    if windows is None:
        return {}
    return windows(node)
