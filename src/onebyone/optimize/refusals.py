"""Refusals: the laws that nearly apply to a graph, and the side condition that each one fails.

Read off the graph as it is in the end: for every channel map, the node before it is looked at, and
where a law would have taken that node too, the reason why it did not is told. Passes look for their
own near misses.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from math import prod

import onnx_ir as ir

from onebyone.algebra.channel import ChannelMap, join_structure
from onebyone.algebra.laws import refused
from onebyone.algebra.pool import AveragePool
from onebyone.algebra.refusal import Refusal
from onebyone.graph.averages import average
from onebyone.graph.axes import Spatial, pads
from onebyone.graph.channels import ChannelNode, channel_axis, channel_map
from onebyone.graph.constants import constant, is_float
from onebyone.graph.count_walk import name_of
from onebyone.graph.ops import Role, role
from onebyone.graph.ops.marking import one_hot
from onebyone.graph.ops.pooling import always_fit, laid_windows
from onebyone.graph.spatial import spatial
from onebyone.graph.values import input_at, maker, rank_of, shape_of
from onebyone.optimize.passes import NEAR_MISSES
from onebyone.optimize.regions.region import Context, is_shared
from onebyone.optimize.report import RefusedLaw
from onebyone.optimize.rewritten import Task
from onebyone.optimize.sharing import is_kept

__all__ = ["refusals"]

_MIXES = (Role.CHANNEL_MAP, Role.CONVOLUTION)


def refusals(task: Task, laws: Collection[str]) -> list[RefusedLaw]:
    """Each near miss of a graph, in the order of its nodes."""
    graph = task.model.graph
    context = Context.of(graph, task.sizes, laws, task.lost_bits, task.axes)
    passes: dict[ir.Node, list[Refusal]] = defaultdict(list)
    for law, look in NEAR_MISSES:
        for node, refusal in look(task) if law in laws else ():
            passes[node].append(refusal)
    told: list[RefusedLaw] = []
    for node in graph:
        for refusal in (*_of_node(node, context), *passes[node]):
            if refusal.law in laws:
                name = name_of(node) or node.op_type
                told.append(RefusedLaw(refusal.law, name, refusal.reason))
    return told


def _of_node(node: ir.Node, context: Context) -> Iterator[Refusal]:
    part = role(node)
    if part is Role.QUANTIZATION:
        yield refused("compose", "quantised", operator=node.op_type)
        return
    if any(a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
           for a in node.attributes.values()):  # fmt: skip
        yield refused("compose", "subgraph", operator=node.op_type)
        return
    if not node.outputs or not is_float(node.outputs[0]):
        return
    if part in (Role.SPACE_MAP, Role.SELECTION):
        yield from _after_a_channel_map(node, context)
        yield from _after_a_kernel(node, context)
    if part not in _MIXES:
        return
    read = channel_map(node, _axis(node))
    if isinstance(read, Refusal):
        yield read
    elif read is not None and isinstance(unmarked := one_hot(read.operand), Refusal):
        yield unmarked
    yield from _with_the_node_before(node, read, context)


def _axis(node: ir.Node) -> int:
    """Where the operator itself has its channels; the second axis where it does not say."""
    axis = channel_axis(node)
    return 1 if axis is None else axis


def _after_a_channel_map(node: ir.Node, context: Context) -> Iterator[Refusal]:
    """Why the channel map before a space map was not moved behind it, onto fewer positions."""
    before = maker(node.inputs[0])
    if before is None or channel_axis(before) is None:
        return
    inner = channel_map(before, _axis(before))
    # Moved onto more positions it would cost more, and nobody asks why it was not.
    if not isinstance(inner, ChannelNode) or _least_growth(node, context) >= 0:
        return
    positions = spatial(node)
    if isinstance(positions, Refusal):
        yield positions
    elif positions is None or positions.preserves_constants:
        return
    elif inner.map.bias is not None:
        yield _keeps_no_constants(node)


def _after_a_kernel(node: ir.Node, context: Context) -> Iterator[Refusal]:
    """Why an average pool and the K×K before it are not one kernel."""
    before, found = maker(node.inputs[0]), spatial(node)
    if before is None or before.op_type != "Conv" or not isinstance(found, Spatial):
        return
    pools = [m for m in found.maps.values() if isinstance(m, AveragePool)]
    weight, sizes = constant(before.inputs[1]), shape_of(before.inputs[0])
    # What sees one position at a time is for other laws.
    if weight is None or sizes is None or prod(weight.shape[2:]) == 1:
        return
    if all(pool.kernel == 1 for pool in pools):
        return
    windows = laid_windows(before, weight.shape[2:], sizes[2:])
    if not all(pool.stays_inside for pool in pools):
        yield refused("pool", "outside", operator=node.op_type)
    elif is_shared(before.outputs[0], context.reads):
        yield refused("pool", "shared", operator=node.op_type)
    elif windows is None:
        yield refused("pool", "free")
    elif not always_fit(pools, windows, sizes[2:]):
        yield refused("pool", "small", operator=node.op_type)
    else:
        both = [own.then(pool.window(0)) for own, pool in zip(windows, pools, strict=True)]
        at_kernel, at_pool = (prod(context.sizes.shape(n.outputs[0]) or ()) for n in (before, node))
        taps = prod(weight.shape[2:]), prod(window.kernel for window in both)
        if taps[1] * at_pool >= taps[0] * at_kernel:
            yield refused("pool", "price")


def _least_growth(node: ir.Node, context: Context) -> int:
    """By how much the space maps from this one on make its operand larger, at the smallest."""
    grown, least = 0, 0
    while role(node) in (Role.SPACE_MAP, Role.SELECTION):
        grown += _growth(node, context)
        least = min(least, grown)
        uses = [use.node for use in node.outputs[0].uses()]
        if len(uses) != 1:
            break
        node = uses[0]
    return least


def _growth(node: ir.Node, context: Context) -> int:
    """By how much a space map makes its operand larger, of as many channels before as behind."""
    x = node.inputs[0]
    if x is None:
        return 0
    before, after = (prod(context.sizes.shape(v) or ()) for v in (x, node.outputs[0]))
    return after - before


def _keeps_no_constants(node: ir.Node) -> Refusal:
    return refused("commute", "constants", operator=node.op_type)


def _with_the_node_before(
    node: ir.Node, read: ChannelNode | Refusal | None, context: Context
) -> Iterator[Refusal]:
    if isinstance(read, Refusal):
        return
    before = maker(node.inputs[0] if read is None else read.operand)
    if before is None:
        return
    axis = _axis(node)
    inner = channel_map(before, axis)
    if not isinstance(inner, ChannelNode):
        inner = None
    pair = _Pair(node, before, read, inner, context)
    if node in context.fused or before in context.fused:
        yield from pair.fused()
    elif read is not None or role(node) is Role.CONVOLUTION:
        yield from pair.apart(axis)


@dataclass(frozen=True)
class _Pair:
    """Two nodes, one behind the other, that a law would have made one, or put the other way.

    Args:
        node, before: the nodes; `node` is a channel map, or a K×K convolution.
        outer, inner: both as channel maps; None for what is none.
        context: of the graph.
    """

    node: ir.Node
    before: ir.Node
    outer: ChannelNode | None
    inner: ChannelNode | None
    context: Context

    @property
    def is_shared(self) -> bool:
        """Whether others read what is between them."""
        return is_shared(self.before.outputs[0], self.context.reads)

    def fused(self) -> Iterator[Refusal]:
        """A map of a spelling that is fused whole, if it could go into its neighbour."""
        if self.outer is not None and self.inner is not None and not self.is_shared:
            yield refused("affine", "fused")

    def apart(self, axis: int) -> Iterator[Refusal]:
        """Why the node, a map on `axis` of what `before` gives, stays apart from it."""
        kind, what = role(self.before), self.before.op_type
        pointwise = self.outer is not None
        if self.inner is not None or kind in _MIXES:
            yield from self._product()
            yield from self._weighed(axis)
        elif not pointwise:
            return
        elif kind in (Role.ELEMENTWISE, Role.NORMALIZATION):
            yield refused("compose", "nonlinear", operator=what)
        elif what == "MaxPool":
            yield refused("commute", "maximum", operator=what)
        elif kind in (Role.SPACE_MAP, Role.SELECTION):
            yield from self._space(axis)
        elif kind is Role.CONCAT:
            yield self._concat(axis)

    def _concat(self, axis: int) -> Refusal:
        rank = rank_of(self.before.outputs[0]) or 1
        if self.before.attributes.get_int("axis", 0) % rank != axis:
            return refused("commute", "price", operator=self.before.op_type)
        return refused("split", "price")

    def _space(self, axis: int) -> Iterator[Refusal]:
        found, what = spatial(self.before), self.before.op_type
        if isinstance(found, Refusal):
            yield found
        elif not isinstance(found, Spatial):
            return
        elif found.reads(axis) in found.maps:
            yield refused("commute", "channels", operator=what)
        elif self._is_biased and not found.preserves_constants and self._enlarges:
            yield _keeps_no_constants(self.before)
        else:
            yield refused("commute", "price", operator=what)

    @property
    def _is_biased(self) -> bool:
        return self.outer is not None and self.outer.map.bias is not None

    @property
    def _enlarges(self) -> bool:
        return _growth(self.before, self.context) > 0

    def _weighed(self, axis: int) -> Iterator[Refusal]:
        """Why a map that mixes channels did not pass a product of two values that are computed."""
        found = average(self.before, axis)
        if found is None or self.outer is None or self.outer.map.is_diagonal:
            return
        if isinstance(found, Refusal):
            yield found
        else:
            yield refused("commute", "price", operator=self.before.op_type)

    def _product(self) -> Iterator[Refusal]:
        """Two maps, or a map and a K×K: one of them may be a diagonal."""
        kernel = role(self.before) is Role.CONVOLUTION
        if self.inner is None and (self.outer is None or not kernel):
            return  # two K×Ks, or a product of two values: no law makes them one
        diagonal = self.inner is not None and self.inner.map.is_diagonal
        copied = self._copied()
        if diagonal and self.inner is not None and self.inner.map.bias is not None:
            yield from _stops_shift("affine", self.node)
        if copied is not None:
            yield copied
        if diagonal or (self.outer is not None and self.outer.map.is_diagonal):
            return
        if self._is_larger:
            yield self._larger()
        elif self.is_shared:
            yield refused("compose", "shared", operator=self.before.op_type)
        elif self.outer is None and self.inner is not None and self.inner.map.bias is not None:
            yield from _stops_shift("compose", self.node)

    def _larger(self) -> Refusal:
        """That the product is larger than its factors."""
        if self.outer is not None and self.inner is not None:
            return refused("compose", "factored")
        return refused("compose", "kernel")

    @property
    def _is_larger(self) -> bool:
        """Whether the product takes more multiply-accumulates than both do by themselves."""
        if self.outer is not None and self.inner is not None:
            first, second = self.inner.map, self.outer.map
            channels = first.in_channels, first.out_channels, second.out_channels
            groups = join_structure(first.groups, second.groups, channels)
            return channels[0] * channels[2] // groups > first.macs + second.macs
        if self.inner is not None:  # a map in front of a K×K
            return _composed(self.node, self.inner.map, self.context, outside=False)
        if self.outer is not None:  # a map behind it
            return _composed(self.before, self.outer.map, self.context, outside=True)
        return False

    def _copied(self) -> Refusal | None:
        """That a diagonal stays beside a weight that others read, for which it would be copied."""
        # A scale goes into the weight of the other node; two scales are one, and copy nothing.
        inner, outer = _scales(self.inner), _scales(self.outer)
        if inner == outer:
            return None
        node = self.node
        if outer:
            node = self.before
        weight = input_at(node, 1)
        if weight is None or constant(weight) is None:
            return None
        if self.is_shared or not is_kept(weight, [node]):
            return None
        return refused("affine", "copy")


def _scales(f: ChannelNode | None) -> bool:
    """Whether a map multiplies each channel by a number."""
    return f is not None and f.map.is_diagonal and not f.map.is_shift


def _composed(kernel: ir.Node, f: ChannelMap, context: Context, *, outside: bool) -> bool:
    """Whether a dense map multiplied into a K×K takes more work than the two take apart."""
    weight, (x, y) = constant(kernel.inputs[1]), (kernel.inputs[0], kernel.outputs[0])
    if weight is None or x is None:
        return False
    out, into = weight.shape[0], weight.shape[1] * kernel.attributes.get_int("group", 1)
    transposed = kernel.op_type == "ConvTranspose"
    if transposed:
        into, out = out, into
    # Positions of both ends: a convolution works at those of its result, a transposed one at those
    # of its operand; the map beside it works where it stands.
    at_x, at_y = (prod(context.sizes.shape(v) or ()) // n for v, n in ((x, into), (y, out)))
    at, beside, ends = at_y, at_x, f.in_channels * out
    if transposed:
        at = at_x
    if outside:
        beside, ends = at_y, into * f.out_channels
    return bool(ends * prod(weight.shape[2:]) * at > weight.size * at + f.macs * beside)


def _stops_shift(law: str, node: ir.Node) -> Iterator[Refusal]:
    """Why no shift goes into the bias of a convolution behind it, by either law."""
    if node.op_type == "ConvTranspose":
        yield refused(law, "stamp")
    elif pads(node):
        yield refused(law, "padding")
