"""Channels that are picked, cut apart or regrouped: Split, Slice, Gather, Reshape, DepthToSpace.

Flattened, a channel is P·Q of the result's, which lie in P stretches of Q: o = (p·C + c)·Q + q.
Cut into H heads of D, a channel is one of D of its head: o = c // D.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onebyone.algebra.layout import divide, product
from onebyone.algebra.weights import Array
from onebyone.graph.axes import entries, integers
from onebyone.graph.constants import constant
from onebyone.graph.views import dims_of
from onebyone.optimize.channels.links import Flow, Link, channels_of
from onebyone.optimize.channels.moves import picked

__all__ = ["blocked", "cut", "regrouped", "selected", "sized_freely", "split"]


def split(node: ir.Node, axis: int) -> Flow | None:
    """A Split: along the channels each result has a stretch of them, else all."""
    x = node.inputs[0]
    counts = [channels_of(v, axis) or 0 for v in node.outputs]
    if x is None or x.shape is None or not channels_of(x, axis) or not all(counts):
        return None
    along = node.attributes.get_int("axis", 0) % x.shape.rank() == axis
    starts = np.cumsum([0, *counts[:-1]]) if along else [0] * len(counts)
    every = [np.arange(count) for count in counts]
    results = zip(node.outputs, every, starts, strict=True)
    links = tuple(Link(x, axis, v, own, at + own) for v, own, at in results)
    return Flow(axis, links, picks=along)


def selected(node: ir.Node, axis: int) -> Flow | None:
    """A Slice of a stretch of channels, or a Gather of any, that can be written for others."""
    found, x, out = picked(node), node.inputs[0], node.outputs[0]
    if found is None or x is None or found[0] != axis or not found[1].size:
        return None
    sources = found[1]
    if any(constant(v) is None for v in node.inputs[1:]):
        return None
    if node.op_type == "Slice":
        start = constant(node.inputs[1]) if len(node.inputs) > 2 else None
        if start is None or start.size != 1 or (np.diff(sources) != 1).any():
            return None
    link = Link(x, axis, out, np.arange(len(sources)), sources)
    return Flow(axis, (link,), picks=True)


def regrouped(node: ir.Node, axis: int, before: int) -> Flow | None:
    """A view whose axis `axis` holds channels, and other axes, of the operand's axis `before`."""
    x = node.inputs[0]
    found = _merged(node, axis, before) or _headed(node, axis, before)
    if x is None or found is None:
        return None
    if not sized_freely(node, axis):
        return None
    return Flow(axis, (Link(x, before, node.outputs[0], *found),))


def cut(node: ir.Node, before: int) -> int | None:
    """The axis of a view's result that channels on axis `before` of its operand are tracked on,
    where they are merged with other axes or cut apart.

    Of several parts it is the largest but for the last one, which are the heads of an attention.
    """
    shape = node.outputs[0].shape
    every = range(0 if shape is None else shape.rank())
    merged = [k for k in every if _merged(node, k, before)]
    if merged:
        return merged[0]
    heads = [k for k in every if _headed(node, k, before)]
    return max(heads, key=lambda k: (channels_of(node.outputs[0], k) or 0, k), default=None)


def _merged(node: ir.Node, axis: int, before: int) -> tuple[Array, Array] | None:
    """(outs, sources) where each channel becomes P·Q of the result."""
    dims, after = dims_of(node.inputs[0]), dims_of(node.outputs[0])
    if dims is None or after is None:
        return None
    outer = divide(product(dims[:before]), product(after[:axis]))
    inner = None if outer is None else divide(after[axis], product([outer, dims[before]]))
    if outer is None or inner is None or outer[1] or inner[1] or dims[before][1]:
        return None
    p, c, q = outer[0], dims[before][0], inner[0]
    return (np.arange(p * c * q), np.tile(np.repeat(np.arange(c), q), p)) if c > 1 else None


def _headed(node: ir.Node, axis: int, before: int) -> tuple[Array, Array] | None:
    """(outs, sources) where each channel of the result is one of several, P times over."""
    dims, after = dims_of(node.inputs[0]), dims_of(node.outputs[0])
    if dims is None or after is None or dims[before][1] or after[axis][1]:
        return None
    outer = divide(product(after[:axis]), product(dims[:before]))
    inner = None if outer is None else divide(dims[before], product([outer, after[axis]]))
    if outer is None or inner is None or outer[1] or inner[1] or after[axis][0] == 1:
        return None
    if inner[0] == 1:  # the last part is what a head consists of
        return None
    heads = np.repeat(np.arange(after[axis][0]), inner[0])
    return np.tile(heads, outer[0]), np.arange(dims[before][0])


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
    channels = None if x is None else channels_of(x, 1)
    if x is None or axis != 1 or channels is None:
        return None
    every = np.arange(channels)
    columns = node.attributes.get_string("mode", "DCR") == "CRD"
    outs = every // (r * r) if columns else every % (channels // (r * r))
    return Flow(1, (Link(x, 1, out, outs, every),))
