"""Refusals: the laws that nearly apply to a graph, and the side condition that each one fails.

Read off the graph as it is in the end: for every channel map, the node before it is looked at, and
where a law would have taken that node too, the reason why it did not is told.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import onnx_ir as ir

from onebyone.algebra.refusal import Refusal
from onebyone.graph.axes import Spatial
from onebyone.graph.channels import ChannelNode, channel_axis, channel_map
from onebyone.graph.constants import constant, is_float
from onebyone.graph.count_walk import name_of
from onebyone.graph.operators import Role, role
from onebyone.graph.shapes import Sizes
from onebyone.graph.spatial import spatial
from onebyone.optimize.channels.flow import flow
from onebyone.optimize.channels.moves import moves
from onebyone.optimize.positions.demand import stays
from onebyone.optimize.positions.stops import Stops
from onebyone.optimize.regions.lift import Context, is_shared
from onebyone.optimize.report import QUANTISED, RefusedLaw

__all__ = ["refusals"]

_MIXES = (Role.CHANNEL_MAP, Role.CONVOLUTION)


def refusals(graph: ir.Graph, sizes: Sizes, laws: Collection[str]) -> list[RefusedLaw]:
    """Each near miss of a graph, in the order of its nodes."""
    context = Context.of(graph, sizes, laws)
    stops = Stops.of(graph, sizes) if "demand" in laws else None
    told: list[RefusedLaw] = []
    for node in graph:
        stop = None if stops is None else stops.at(node)
        for refusal in (*_of_node(node, context), *filter(None, [stop])):
            if refusal.law in laws:
                name = name_of(node) or node.op_type
                told.append(RefusedLaw(refusal.law, name, refusal.reason))
    return told


def _of_node(node: ir.Node, context: Context) -> Iterator[Refusal]:
    if role(node) is Role.QUANTIZATION:
        yield Refusal("compose", f"{node.op_type}: {QUANTISED}")
        return
    if any(a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
           for a in node.attributes.values()):  # fmt: skip
        yield Refusal("compose", f"{node.op_type}: subgraphs are left untouched")
        return
    if not node.outputs or not is_float(node.outputs[0]):
        return
    yield from filter(None, (stays(node), _zeros(node), _moves(node)))
    if role(node) in (Role.SPACE_MAP, Role.SELECTION):
        yield from _after_a_channel_map(node)
    if role(node) not in _MIXES:
        return
    axis = channel_axis(node)
    read = channel_map(node, 1 if axis is None else axis)
    if isinstance(read, Refusal):
        yield read
    yield from _with_the_node_before(node, read, context)


def _zeros(node: ir.Node) -> Refusal | None:
    """Why rows or columns of zeros are left in a weight."""
    found = flow(node, 1) if role(node) is Role.CONVOLUTION or node.op_type == "Gemm" else None
    if found is None or found.mix is None:
        return None
    rows, columns = (int((~read).sum()) for read in found.mix.lines)
    if rows and not node.outputs[0].is_graph_output():
        return Refusal(
            "prune",
            f"{rows} rows of zeros stay: they fill up a width, or others add to, pad or need them",
        )
    if columns and found.mix.operand.producer() is not None:
        return Refusal(
            "prune",
            f"{columns} columns of zeros stay: they fill up a width, or others read what they meet",
        )
    return None


def _moves(node: ir.Node) -> Refusal | None:
    """Why channels are still moved about at run time."""
    left = [move for move in moves(node, {}) if move.scatters]
    if not left:
        return None
    return Refusal("permute", "others count on the order of these channels, or on two orders")


def _after_a_channel_map(node: ir.Node) -> Iterator[Refusal]:
    """Why the channel map before a space map was not moved behind it."""
    before = None if node.inputs[0] is None else node.inputs[0].producer()
    axis = None if before is None else channel_axis(before)
    inner = None if before is None or axis is None else channel_map(before, axis)
    if not isinstance(inner, ChannelNode):
        return
    found = spatial(node)
    if isinstance(found, Refusal):
        yield found
    elif (
        isinstance(found, Spatial) and not found.preserves_constants and inner.map.bias is not None
    ):
        yield _keeps_no_constants(node)


def _keeps_no_constants(node: ir.Node) -> Refusal:
    return Refusal("commute", f"{node.op_type} does not keep constants, so no bias passes it")


def _with_the_node_before(
    node: ir.Node, read: ChannelNode | Refusal | None, context: Context
) -> Iterator[Refusal]:
    operand = read.operand if isinstance(read, ChannelNode) else node.inputs[0]
    before = None if operand is None else operand.producer()
    if operand is None or before is None or isinstance(read, Refusal):
        return
    if node in context.fused or before in context.fused:
        yield Refusal("affine", "engines fuse this GELU or layer normalisation as it is written")
        return
    if read is None and role(node) is not Role.CONVOLUTION:
        return
    if read is None and role(before) is Role.SUM and _pads_zero(node):
        shift = channel_map(before, 1)
        if isinstance(shift, ChannelNode):
            yield Refusal("affine", "zero padding does not commute with a shift")
        return
    axis = channel_axis(node)
    shared = is_shared(operand, context.reads)
    yield from _between(before, read is not None, shared, 1 if axis is None else axis)


def _between(before: ir.Node, pointwise: bool, shared: bool, axis: int) -> Iterator[Refusal]:
    """Why a channel map (or a K×K) on `axis` of what `before` gives stays apart from it."""
    what = before.op_type
    kind = role(before)
    if kind in (Role.ELEMENTWISE, Role.NORMALIZATION) and pointwise:
        yield Refusal("compose", f"{what} is nonlinear: it does not commute with a channel map")
    elif what == "MaxPool" and pointwise:
        yield Refusal("commute", "MaxPool is not linear: the largest of sums is no sum of largest")
    elif kind in (Role.SPACE_MAP, Role.SELECTION) and pointwise:
        yield from _space(before, axis)
    elif kind is Role.CONCAT and pointwise:
        yield Refusal("split", "it does not pay: the pieces and their sum would cost more")
    elif kind in _MIXES:
        yield from _product(before, pointwise, shared)


def _pads_zero(node: ir.Node) -> bool:
    return any(node.attributes.get_ints("pads", ())) or "auto_pad" in node.attributes


def _space(before: ir.Node, axis: int) -> Iterator[Refusal]:
    found = spatial(before)
    if isinstance(found, Refusal):
        yield found
    elif isinstance(found, Spatial) and not found.preserves_constants:
        yield _keeps_no_constants(before)
    elif isinstance(found, Spatial) and found.reads(axis) in found.maps:
        yield Refusal("commute", f"{before.op_type} acts on channels, not on positions")
    else:
        yield Refusal("commute", f"it does not pay to move a channel map past {before.op_type}")


def _product(before: ir.Node, pointwise: bool, shared: bool) -> Iterator[Refusal]:
    axis = channel_axis(before)
    inner = channel_map(before, 1 if axis is None else axis)
    if shared:
        yield Refusal("compose", f"the result of {before.op_type} has other consumers")
    elif isinstance(inner, ChannelNode) and inner.map.is_diagonal:
        if not pointwise and inner.map.bias is not None:
            yield Refusal("affine", "zero padding does not commute with a shift")
    elif isinstance(inner, ChannelNode) and pointwise:
        yield Refusal("compose", "it stays factored: r(a + b) < ab")
    elif role(before) is Role.CONVOLUTION and constant(before.inputs[1]) is not None:
        yield Refusal("compose", "a K×K and its neighbour cost less apart")
