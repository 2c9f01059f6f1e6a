"""Lift: the linear regions of a graph, as terms of the algebra.

A region grows backwards from its *root*, a linear value that something nonlinear (or several nodes,
or the caller) consumes, through every node that is linear in it, to its leaves. Values with several
consumers end a region, as leaves that cost nothing; it may also look through them, at the price of
computing them again, so a shared value becomes a `Choice`. What lies behind it is there, too, as
long as others read it: below a shared value every value is a `Choice`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from math import prod

import numpy as np
import onnx_ir as ir

from onebyone.algebra.channel import ChannelMap
from onebyone.algebra.expression import Choice, Concat, Convolution, Joined, Leaf, Term
from onebyone.algebra.refusal import Refusal
from onebyone.algebra.word import Word
from onebyone.graph.averages import Average, average
from onebyone.graph.channels import ChannelNode, is_pointwise_convolution
from onebyone.graph.constants import constant, is_float
from onebyone.graph.ops import Role, role
from onebyone.graph.ops.marking import OneHot
from onebyone.graph.spatial import Spatial, spatial
from onebyone.graph.values import all_known, are_read, input_at, rank_of, size
from onebyone.graph.views import view, view_axis
from onebyone.optimize.regions.copies import copied_by, copied_in
from onebyone.optimize.regions.differences import Differences
from onebyone.optimize.regions.exact import Digits
from onebyone.optimize.regions.offers import concat_of, sum_of
from onebyone.optimize.regions.region import Context, Region, is_shared
from onebyone.optimize.regions.steps import Averaging, Layout, Meaning, Step, Striding
from onebyone.optimize.sharing import origin

__all__ = ["region_of", "regions"]

MAX_NODES = 96
"""Nodes in one region: a longer chain is cut, and optimised piece by piece over several rounds."""

MAX_DEPTH = 32
"""Nodes between the root and a leaf."""

MAX_LOOKS_THROUGH = 3
"""Shared values between the root and a leaf that a region looks through."""


def regions(nodes: Iterable[ir.Node], context: Context) -> Iterator[Region]:
    """The regions of a graph that hold something to optimise, last root first.

    Args:
        nodes: of the graph, in its order, whose values may be roots; shapes are inferred.
        context: of the graph as it is now.
    """
    inside: set[ir.Value] = set()
    # From the end: a root further down would cut off what a larger region could take in.
    for node in reversed(list(nodes)):
        value = node.outputs[0]
        if value in inside:
            continue
        lifter = _Lifter(context, value)
        region = lifter.region()
        if region is None:  # what was tried may still be lifted from further down
            continue
        inside |= region.inside
        if lifter.nodes > 1:
            yield region


def region_of(value: ir.Value, context: Context) -> Region | None:
    """The region below a value, of one node at least; None where it is not linear in anything."""
    return _Lifter(context, value).region()


def _undo(met: dict[ir.Value, None], count: int) -> None:
    """Forget all but the first values that were met."""
    while len(met) > count:
        met.popitem()


class _Lifter:
    """One region being grown; counts its nodes and remembers which values lie inside it."""

    def __init__(self, context: Context, root: ir.Value) -> None:
        self.context = context
        self.nodes = 0
        self.depth = 0
        self.looked_through = 0
        # In the order in which they were met, so that what was met last can be undone.
        self.inside: dict[ir.Value, None] = {}
        self.beneath: dict[ir.Value, None] = {}
        self.weights: set[ir.Value] = set()
        self.averaging: set[ir.Value] = set()
        self.shared: dict[tuple[ir.Value, int], Term | None] = {}
        self.readings, self.layout = context.readings, context.readings.layout
        self.root, self.digits = root, Digits.of(context.lost_bits, root, context.readings)
        self.differences = Differences(self.digits, context.cancelling)

    def region(self) -> Region | None:
        """The region below the root; None where the root itself is not linear in anything."""
        axis = self.context.axes.get(self.root)
        term = None if axis is None else self._expand(self.root, axis)
        if term is None:
            return None
        return Region(
            self.root,
            term,
            frozenset(self.inside),
            frozenset(self.beneath),
            frozenset(self._passed()),
            frozenset(self.weights),
            self.digits.lost,
            bool(self.averaging),
        )

    def _passed(self) -> Iterator[ir.Value]:
        """The shared values that may be looked through, and that no average is weighed by."""
        for (value, _), term in self.shared.items():
            if value not in self.averaging and term is not None and isinstance(term.node, Choice):
                yield value

    def term(self, value: ir.Value, axis: int) -> Term | None:
        """`value` as a term: expanded where it is linear, else a leaf; None if it has no layout."""
        if self.nodes < MAX_NODES and not is_shared(value, self.context.reads):
            expanded = self._expand(value, axis)
            if expanded is not None:
                return self._passing(value, axis, expanded)
        key = value, axis
        if key not in self.shared:
            self.shared[key] = self._shared(value, axis)
        return self.shared[key]

    def _passing(self, value: ir.Value, axis: int, expanded: Term) -> Term:
        """A value with one reader; behind a shared value it is there to be read, too."""
        if not self.looked_through:
            self.inside[value] = None
            return expanded
        self.beneath[value] = None
        leaf = self._leaf(value, axis)
        return expanded if leaf is None else Term(Word(), Choice((leaf, expanded)))

    def _shared(self, value: ir.Value, axis: int) -> Term | None:
        """A value that exists anyway; one object, so that equal operands are seen to be equal."""
        leaf = self._leaf(value, axis)
        # Only what exists anyway is a choice; else to look through it is all there is.
        if leaf is None or not is_shared(value, self.context.reads) or _is_kernel(value):
            return leaf
        if self.nodes >= MAX_NODES or self.looked_through >= MAX_LOOKS_THROUGH:
            return leaf
        self.looked_through += 1
        expanded = self._expand(value, axis)
        self.looked_through -= 1
        if expanded is None:
            return leaf
        return Term(Word(), Choice((leaf, expanded)))

    def _leaf(self, value: ir.Value, axis: int) -> Term | None:
        layout, channels = self.layout(value, axis), size(value, axis)
        if layout is None or channels is None:
            return None
        return Term(Word(), Leaf((value, layout), channels, self._marks(value, axis)))

    def _marks(self, value: ir.Value, axis: int) -> OneHot | None:
        """What says where a value is one, if it is one-hot along the channels."""
        found = self.readings.one_hot(value) if "onehot" in self.context.laws else None
        if not isinstance(found, OneHot) or found.axis != axis:
            return None
        self.nodes += 1  # with it there is something to optimise behind it
        return found

    def _expand(self, value: ir.Value, axis: int) -> Term | None:
        node = value.producer()
        if node is None or not is_float(value) or node.outputs[0] is not value:
            return None
        if node in self.context.fused:
            return None
        expander = _EXPANDERS.get(role(node))
        if expander is None or self.depth >= MAX_DEPTH:
            return None
        # What fails is undone: other ways from the root may use the same nodes.
        nodes, inside, beneath = self.nodes, len(self.inside), len(self.beneath)
        self.nodes += 1
        self.depth += 1
        term = expander(self, node, axis)
        self.depth -= 1
        if term is None:
            self.nodes = nodes
            _undo(self.inside, inside)
            _undo(self.beneath, beneath)
        return term

    def _cancels(self, node: ir.Node, refusal: Refusal | None) -> bool:
        """Whether a node cancels exactly, so that what is behind it keeps out of it."""
        if refusal is not None and self.digits.behind.reads:  # else nothing would be folded
            self.context.cancelling[node] = refusal
        return refusal is not None

    def channel_map(self, node: ir.Node, axis: int) -> Term | None:
        """A channel map, after the stride and padding of the convolution that it may come from."""
        found = self.readings.channel_map(node, axis)
        if not isinstance(found, ChannelNode):
            return self._averaged(node, axis)
        if node.op_type in ("MatMul", "Gemm") and "linear" not in self.context.laws:
            return None
        # Backwards, so what is behind is known: it says how large a loss here becomes.
        with self.digits.read_by(found.map):
            operand = self.term(found.operand, axis)
        if operand is None or self._cancels(
            node, self.digits.of_map(found.map, operand, shared=self.looked_through > 0)
        ):
            return None
        if found.map.stored is not None and found.map.stored.shared:
            self.weights.add(origin(found.map.stored.value))
        word = Word.of([found.map])
        if not found.moves_positions:
            return operand.then(word)
        step = self._window(node, found)
        if step is None:
            return None
        return operand.then(Word((step,), word.maps, (1,)))

    def _window(self, node: ir.Node, found: ChannelNode) -> Step | None:
        before, after = self.layout(found.operand, 1), self.layout(node.outputs[0], 1)
        if before is None or after is None:
            return None
        window = Striding(found.strides, found.pads)
        return Step(node, before, after, window, not any(found.pads))

    def convolution(self, node: ir.Node, axis: int) -> Term | None:
        """A 1×1 as a channel map, any other kernel as a node of its own."""
        pointwise = self.channel_map(node, axis)
        if pointwise is not None or axis != 1 or node.inputs[0] is None:
            return pointwise
        kernel, weight = self.readings.kernel(node), node.inputs[1]
        if kernel is None or weight is None:
            return None
        if kernel.shared:
            self.weights.add(origin(weight))
        with self.digits.read_by(kernel):
            operand = self.term(node.inputs[0], 1)
        if operand is None or operand.channels != kernel.in_channels:
            return None
        if self._cancels(node, self.digits.of_kernel(kernel, operand)):
            return None
        return Term(Word(), Convolution(kernel, kernel.out_channels, operand))

    def addition(self, node: ir.Node, axis: int) -> Term | None:
        """Add, Sub, Sum: of a per-channel constant (a shift), or of several tensors."""
        if len(node.inputs) == 2 and (shift := self.channel_map(node, axis)) is not None:
            return shift
        layout = self.layout(node.outputs[0], axis)
        if layout is None:
            return None
        with self.digits.added(), self.differences.joining():
            terms = [
                self._summand(v, node, layout, minus=k == 1 and node.op_type == "Sub")
                for k, v in enumerate(node.inputs)
            ]
        known = tuple(t for t in terms if t is not None)
        if len(known) < len(terms):
            return None
        at_once = node.op_type == "Sum"
        stays = self.digits.of_sum(known, shared=self.looked_through > 0)
        closed = self.differences.closed(node, known, stays)
        if closed is not None or self._cancels(node, stays):
            return closed
        return sum_of(known, self.context.laws, self.differences, at_once=at_once)

    def _summand(
        self, value: ir.Value | None, node: ir.Node, layout: Layout, *, minus: bool
    ) -> Term | None:
        """An operand of an addition, broadcast to the layout of the result where it is smaller."""
        if value is None or rank_of(value) != layout.rank:
            return None
        before = self.layout(value, layout.axis)
        if before is None or size(value, layout.axis) != size(node.outputs[0], layout.axis):
            return None
        term = self.term(value, layout.axis)
        if term is None or before.monomials is None or layout.monomials is None:
            return None
        if minus:
            term = term.then(Word.of([ChannelMap.diagonal(-np.ones(term.channels))]))
        # No axis is broadcast.
        if before.monomials == layout.monomials:
            return term
        if any(a != b and a != (1, ()) for a, b in
               zip(before.monomials, layout.monomials, strict=True)):  # fmt: skip
            return None
        return term.then(Word((Step(None, before, layout, None),)))

    def concat(self, node: ir.Node, axis: int) -> Term | None:
        """Concat along the channels, or along positions."""
        rank = rank_of(node.outputs[0])
        if not rank:
            return None
        along = node.attributes.get_int("axis", 1) % rank
        if along != axis:
            return self._joined(node, axis, along)
        terms = list(self._stacked([v for v in node.inputs if v is not None], axis))
        known = tuple(t for t in terms if t is not None)
        if len(known) < len(node.inputs):
            return None
        if len(known) == 1:
            return known[0]
        whole, laws = Concat(known), self.context.laws
        offered = concat_of(whole, self.digits.behind.reader, laws, self.differences)
        return self._or_copied(offered, copied_in(whole, node.inputs, axis))

    def _or_copied(self, whole: Term, copied: Term | None) -> Term:
        """A value that holds some channels several times, also as a map of those that it copies."""
        if copied is None or "compose" not in self.context.laws:
            return whole
        return Term(Word(), Choice((whole, copied), "compose"))

    def _joined(self, node: ir.Node, axis: int, along: int) -> Term | None:
        """Operands one behind the other, each of which meets all that is behind them."""
        layout, operands = self.layout(node.outputs[0], axis), [v for v in node.inputs if v]
        if layout is None or len(operands) < 2:
            return None
        terms = all_known(self.term(value, axis) for value in operands)
        if terms is None or len({term.channels for term in terms}) > 1:
            return None
        return Term(Word(), Joined(terms, layout, along))

    def _stacked(self, values: list[ir.Value], axis: int) -> Iterator[Term | None]:
        """The operands of a concat, each meeting its own channels of what is behind."""
        known = [n for v in values if (n := size(v, axis)) is not None]
        if len(known) < len(values):
            return
        ends = list(accumulate(known, initial=0))
        for value, start, end in zip(values, ends, ends[1:], strict=False):
            with self.digits.stacked(start, end), self.differences.joining():
                yield self.term(value, axis)

    def identity(self, node: ir.Node, axis: int) -> Term | None:
        """Identity, and Dropout at inference."""
        given, x = input_at(node, 2), node.inputs[0]
        training = constant(given)
        if given is not None and (training is None or training.any()):
            return None
        if x is None or are_read(node.outputs[1:]):
            return None
        return self.term(x, axis)

    def view(self, node: ir.Node, axis: int) -> Term | None:
        """A view that leaves the channel axis whole."""
        source = view_axis(node, axis)
        if source is None or "linear" not in self.context.laws:
            return None
        return self._space(node, (node.inputs[0], source), axis, view(node))

    def space(self, node: ir.Node, axis: int) -> Term | None:
        """A space map that leaves the channel axis alone."""
        found = spatial(node)
        if (
            not isinstance(found, Spatial)
            or node.inputs[0] is None
            or node.outputs[0].shape is None
        ):
            return None
        source = found.reads(axis)
        if source in found.maps:
            return self._repeated(node, found, axis)
        operand = node.inputs[0], source
        return self._space(node, operand, axis, found, found.preserves_constants)

    def _averaged(self, node: ir.Node, axis: int) -> Term | None:
        """What attention does to positions; the weights are not looked into, and stay."""
        found = average(node, axis)
        if not isinstance(found, Average):
            return None
        weights, sizes = found.weights, self.context.sizes
        numbers, read = sizes.shape(weights), sizes.shape(found.operand)
        if numbers is None or read is None:
            return None
        self.averaging.add(weights)
        meaning = Averaging(weights, prod(numbers), read[found.along], found.slot)
        return self._space(node, (found.operand, found.axis), axis, meaning)

    def _repeated(self, node: ir.Node, found: Spatial, axis: int) -> Term | None:
        """Channels that a node repeats, or pads; what it does it to begins a region of its own."""
        x, y = node.inputs[0], node.outputs[0]
        before = None if x is None else self.layout(x, axis)
        after = self.layout(y, axis)
        if x is None or before is None or after is None:
            return None
        if before.monomials is None or before.monomials != after.monomials:
            return None  # positions are repeated, too
        whole, alone = self._leaf(y, axis), self._leaf(x, axis)
        if whole is None or alone is None:
            return None
        copies = copied_by(found.maps.get(axis), alone.channels, whole.channels)
        if copies is None:
            return None
        return self._or_copied(whole, alone.then(Word.of([copies])))

    def _space(
        self,
        node: ir.Node,
        read: tuple[ir.Value | None, int],
        axis: int,
        meaning: Meaning,
        preserves: bool = True,
    ) -> Term | None:
        """A space map of what it reads, an operand and the axis of its channels."""
        operand, source = read
        if operand is None:
            return None
        before, after = self.layout(operand, source), self.layout(node.outputs[0], axis)
        if before is None or after is None:
            return None
        step = Step(node, before, after, meaning, preserves)
        if not step.movable:
            return None
        with self.digits.moved(step):
            term = self.term(operand, source)
        if term is None:
            return None
        return term.then(Word((step,)))


def _is_kernel(value: ir.Value) -> bool:
    """Whether a convolution that sees neighbours makes a value: computed twice it never pays."""
    node = value.producer()
    if node is None or role(node) is not Role.CONVOLUTION:
        return False
    return not is_pointwise_convolution(node)


Expander = Callable[[_Lifter, ir.Node, int], Term | None]

_EXPANDERS: dict[Role, Expander] = {
    Role.CHANNEL_MAP: _Lifter.channel_map,
    Role.CONVOLUTION: _Lifter.convolution,
    Role.SUM: _Lifter.addition,
    Role.CONCAT: _Lifter.concat,
    Role.VIEW: _Lifter.view,
    Role.SPACE_MAP: _Lifter.space,
    Role.SELECTION: _Lifter.space,
    Role.IDENTITY: _Lifter.identity,
}
