"""Channels that are picked, cut apart or regrouped: Split, Slice, Gather, Reshape, DepthToSpace.

Flattened, a channel is P·Q of the result's, which lie in P stretches of Q: o = (p·C + c)·Q + q.
Cut into H heads of D, a channel is one of D of its head: o = c // D.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onebyone.graph.axes import entries, integers
from onebyone.graph.constants import constant
from onebyone.graph.spatial import picked
from onebyone.graph.values import input_at, rank_of
from onebyone.graph.views import headed, merged
from onebyone.optimize.channels.links import Flow, Link, channels_of

__all__ = ["blocked", "joined", "regrouped", "selected", "sized_freely", "split"]


def split(node: ir.Node, axis: int) -> Flow | None:
    """A Split: along the channels each result has a stretch of them, else all."""
    x = node.inputs[0]
    counts = [channels_of(v, axis) or 0 for v in node.outputs]
    # A Split along another axis leaves all channels in each piece.
    if x is None or x.shape is None or not channels_of(x, axis) or not all(counts):
        return None
    along = node.attributes.get_int("axis", 0) % x.shape.rank() == axis
    starts = np.cumsum([0, *counts[:-1]]) * along
    every = [np.arange(count) for count in counts]
    results = zip(node.outputs, every, starts, strict=True)
    links = tuple(Link(x, axis, v, own, at + own) for v, own, at in results)
    return Flow(axis, links, picks=along)


def joined(node: ir.Node, axis: int) -> Flow | None:
    """A Concat along the channels."""
    out = node.outputs[0]
    rank = rank_of(out)
    if not rank or node.attributes.get_int("axis", 1) % rank != axis:
        return None
    links, at = [], 0
    for x in node.inputs:
        channels = channels_of(x, axis)
        if x is None or channels is None:
            return None
        links.append(Link(x, axis, out, np.arange(at, at + channels), np.arange(channels)))
        at += channels
    return Flow(axis, tuple(links))


def selected(node: ir.Node, axis: int) -> Flow | None:
    """A Slice of a stretch of channels, or a Gather of any, that can be written for others."""
    found, x, out = picked(node), node.inputs[0], node.outputs[0]
    if found is None or x is None or found[0] != axis or not found[1].size:
        return None
    sources = found[1]
    if any(constant(v) is None for v in node.inputs[1:]):
        return None
    if node.op_type == "Slice":
        start = constant(input_at(node, 1))
        attributes_only = len(node.inputs) < 3  # as before opset 10
        if attributes_only or start is None or start.size != 1 or (np.diff(sources) != 1).any():
            return None
    link = Link(x, axis, out, np.arange(len(sources)), sources)
    return Flow(axis, (link,), picks=True)


def regrouped(node: ir.Node, axis: int, before: int) -> Flow | None:
    """A view whose axis `axis` holds channels, and other axes, of the operand's axis `before`."""
    x = node.inputs[0]
    found = merged(node, axis, before) or headed(node, axis, before)
    if x is None or found is None:
        return None
    if not sized_freely(node, axis):
        return None
    return Flow(axis, (Link(x, before, node.outputs[0], *found),))


def sized_freely(node: ir.Node, axis: int, before: int | None = None) -> bool:
    """Whether a view's number of channels, on `axis`, can change: it is written in a constant, or
    what is left, or copied from the same axis `before`."""
    if node.op_type == "Squeeze" and integers(node, 1, "axes") is None:
        return False  # it would take an axis of one channel, too
    if node.op_type != "Reshape" or constant(node.inputs[1]) is not None:
        return True
    asked = entries(node.inputs[1])
    return asked is not None and (asked[axis] == -1 or (asked[axis] == 0 and before == axis))


def blocked(node: ir.Node, axis: int) -> Flow | None:
    """DepthToSpace: r² channels are one of the result."""
    x, out, r = node.inputs[0], node.outputs[0], node.attributes.get_int("blocksize", 1)
    channels = channels_of(x, 1)
    if x is None or axis != 1 or channels is None:
        return None
    every, outs = np.arange(channels), np.arange(channels) % (channels // (r * r))
    if node.attributes.get_string("mode", "DCR") == "CRD":  # the channels of a position are apart
        outs = every // (r * r)
    return Flow(1, (Link(x, 1, out, outs, every),))
