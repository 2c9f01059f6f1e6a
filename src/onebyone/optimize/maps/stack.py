"""Stack: siblings on one input as one map, and apart again where that is cheaper.

    [f(W₁x + b₁); f(W₂x + b₂)] = f([W₁; W₂]x + [b₁; b₂])          f elementwise, the same for all

Where the siblings' results are concatenated, side by side, the stacked map takes the place of both
and of the concat. Elsewhere its result has to be cut up again, and the cost decides: one operator
less for each sibling but the first, x read once, against the copies of a Split. The same prices
take apart a map that is only split, so neither of the two undoes the other. Siblings that are also
concatenated may be split by the one and put together by the other: then the stack is the Concat.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from math import prod

import onnx_ir as ir

from onebyone.cost.estimate import detour
from onebyone.cost.profile import Cost, Profile, pays
from onebyone.graph.count_walk import name_of
from onebyone.graph.shapes import Sizes
from onebyone.optimize.maps.restack import Editor
from onebyone.optimize.maps.siblings import Sibling, ending_at, forms, once
from onebyone.optimize.rewritten import Rewrite, Task
from onebyone.optimize.sharing import is_kept

__all__ = ["stack"]

_NOTHING = {"stack": 0}
"""The MACs that it saves."""


def stack(task: Task) -> Iterator[Rewrite]:
    """Stack siblings and take stacks apart, in place, wherever it is cheaper."""
    graph = task.model.graph
    editor, prices = Editor.of(graph), _Prices(task.sizes, task.profile)
    for node in _named(graph, "Concat"):
        yield from _put_together(node, editor, prices)
    for node in _named(graph, "Concat"):
        yield from _concatenated(node, editor, prices)
    for node in _named(graph, "Split"):
        yield from _taken_apart(node, editor, prices)
    for value in dict.fromkeys(v for node in graph for v in node.inputs if v is not None):
        for siblings in _readers(value, graph):
            yield from _stacked(siblings, editor, prices)


def _named(graph: ir.Graph, op_type: str) -> list[ir.Node]:
    return [node for node in graph if node.op_type == op_type and node.domain == ""]


_LANES = 16
"""Output channels that a map computes together, two AVX2 vectors: 1×1s to 4 channels were measured
to take as long as to 16, and to 24 as to 32, in ONNX Runtime and OpenVINO alike (decision 16)."""


def _computed(channels: int) -> int:
    """The channels that a map to so many computes."""
    return -(-channels // _LANES) * _LANES


@dataclass(frozen=True)
class _Prices:
    """What maps and copies cost; None where a size is unknown.

    An elementwise operator behind a map costs nothing: engines fuse it, or it is a pass over the
    same numbers either way. The addition of a bias, which no MatMul takes, is an operator.
    """

    sizes: Sizes
    profile: Profile

    def maps(self, like: Sibling, counts: Sequence[int]) -> Cost | None:
        """Maps like one sibling, to so many channels each."""
        into, positions = self.sizes.shape(like.operand), self._positions(like)
        if into is None or positions is None:
            return None
        each = like.weight.size // like.channels
        return sum((self._map(like, prod(into), positions, each, n) for n in counts), Cost())

    def _map(self, like: Sibling, into: int, positions: int, each: int, channels: int) -> Cost:
        weights = each * channels
        done, moved = positions * each * _computed(channels), into + positions * channels + weights
        added = 0 if like.shift is None else self.profile.time(elements=2 * positions * channels)
        time = self.profile.time(done, moved) + added + detour(like.node, self.profile)
        stored = weights if like.bias is None else weights + channels
        return Cost(time, positions * weights, stored)

    def concat(self, like: Sibling, channels: int) -> Cost:
        """Results of so many channels together, side by side."""
        return Cost(self.profile.time(elements=2 * (self._positions(like) or 0) * channels))

    def split(self, like: Sibling, channels: int) -> Cost:
        """A result of so many channels, cut up."""
        copied = 2 * (self._positions(like) or 0) * channels
        return Cost(self.profile.time(elements=copied * self.profile.split))

    def _positions(self, sibling: Sibling) -> int | None:
        shape = self.sizes.shape(sibling.result)
        return None if shape is None else prod(n for k, n in enumerate(shape) if k != sibling.axis)

    def change(
        self, siblings: Sequence[Sibling], *, apart: Cost, together: Cost
    ) -> tuple[Cost, Cost] | None:
        """What siblings and one map in their place cost, each with what else it takes."""
        several = [self.maps(s, [s.channels]) for s in siblings]
        known = [cost for cost in several if cost is not None]
        like = next((s for s in siblings if s.bias is not None), siblings[0])
        one = self.maps(like, [_total(siblings)])
        if one is None or len(known) < len(several):
            return None
        return sum(known, apart), one + together

    def copied(self, value: ir.Value) -> Cost:
        """A value read and written once; an operator's time where its size is unknown."""
        return Cost(self.profile.time(elements=2 * prod(self.sizes.shape(value) or (0,))))


# Concat ------------------------------------------------------------------------------------------


def _concatenated(node: ir.Node, editor: Editor, prices: _Prices) -> Iterator[Rewrite]:
    """Neighbours in a Concat that are siblings become one operand."""
    values: list[ir.Value] = []
    told: list[tuple[list[Sibling], Rewrite]] = []
    runs = list(_runs(node))
    for operands, siblings in runs:
        copy = (
            Cost()
            if len(runs) > 1 or not siblings
            else prices.concat(siblings[0], _total(siblings))
        )
        stacked = _told(siblings, prices, apart=copy, together=Cost())
        if stacked is None:
            values += operands
        else:
            values.append(editor.merge(siblings))
            told.append((siblings, replace(stacked, made=editor.edit.fresh())))
    if told:
        editor.concatenate(node, values)
    joined = editor.edit.fresh()
    for siblings, stacked in told:
        editor.remove(n for s in siblings for n in reversed(s.nodes))
        yield replace(stacked, made=(*stacked.made, *joined))


def _put_together(node: ir.Node, editor: Editor, prices: _Prices) -> Iterator[Rewrite]:
    """A Concat of all parts of a Split, in order, is what was split, whoever else reads parts."""
    parts, made = [v for v in node.inputs if v is not None], node.outputs[0]
    split = parts[0].producer() if parts else None
    if split is None or split.op_type != "Split" or split.domain != "":
        return
    x = split.inputs[0]
    if x is None or x.shape is None or parts != list(split.outputs):
        return
    axes = {n.attributes.get_int("axis", 0) % x.shape.rank() for n in (split, node)}
    # An output of the graph gives its name to what takes its place; that may have to keep its own.
    named = x.producer() is None or x.is_graph_output()
    if len(axes) > 1 or (made.is_graph_output() and named):
        return
    yield Rewrite(made.name or "", (name_of(node),), _NOTHING, prices.copied(made), Cost())
    editor.replace(made, x)
    editor.remove([node])


def _runs(node: ir.Node) -> Iterator[tuple[list[ir.Value], list[Sibling]]]:
    """The operands of a Concat; those side by side that are siblings together."""
    operands = [v for v in node.inputs if v is not None]
    found = [(v, _along(node, ending_at(v) if once(v) else None)) for v in operands]
    for _, run in groupby(found, key=lambda pair: pair[1] and pair[1].key):
        members = list(run)
        yield [v for v, _ in members], [s for _, s in members if s is not None]


def _along(node: ir.Node, sibling: Sibling | None) -> Sibling | None:
    """The sibling, if the Concat or Split of its result goes along its channels."""
    shape = None if sibling is None else sibling.result.shape
    if sibling is None or shape is None:
        return None
    return sibling if node.attributes.get_int("axis", 0) % shape.rank() == sibling.axis else None


def _total(siblings: Sequence[Sibling]) -> int:
    return sum(s.channels for s in siblings)


def _told(
    siblings: Sequence[Sibling], prices: _Prices, *, apart: Cost, together: Cost
) -> Rewrite | None:
    """What stacking would save; None if it saves nothing, or others keep one of the weights."""
    if len(siblings) < 2 or any(_is_shared(s) for s in siblings):
        return None
    costs = prices.change(siblings, apart=apart, together=together)
    if costs is None or not pays(*costs, prices.profile):
        return None
    return Rewrite(siblings[0].result.name or "", _names(siblings), _NOTHING, *costs)


def _is_shared(sibling: Sibling) -> bool:
    """Whether others read its weight: no MAC is saved here, so nothing is stored twice for it."""
    weight = sibling.node.inputs[1]
    return weight is not None and is_kept(weight, [sibling.node])


def _names(siblings: Sequence[Sibling]) -> tuple[str, ...]:
    return tuple(sorted(name_of(node) for s in siblings for node in s.nodes))


# Split -------------------------------------------------------------------------------------------


def _taken_apart(node: ir.Node, editor: Editor, prices: _Prices) -> Iterator[Rewrite]:
    """A map that is only split, as siblings."""
    x = node.inputs[0]
    whole = _along(node, ending_at(x) if x is not None and once(x) else None)
    counts = [] if whole is None else [_size(value, whole.axis) for value in node.outputs]
    sizes = [n for n in counts if n is not None]
    if whole is None or len(sizes) < len(counts) or any(_is_unread(v) for v in node.outputs):
        return
    if _is_shared(whole):
        return
    one, several = prices.maps(whole, [whole.channels]), prices.maps(whole, sizes)
    if one is None or several is None or not several < one + prices.split(whole, whole.channels):
        return
    before = one + prices.split(whole, whole.channels)
    stacked = Rewrite(whole.result.name or "", _names([whole]), _NOTHING, before, several)
    start = 0
    for value, size in zip(node.outputs, sizes, strict=True):
        editor.replace(value, editor.part(whole, start, start + size))
        start += size
    editor.remove([node, *reversed(whole.nodes)])
    yield replace(stacked, made=editor.edit.fresh())


def _is_unread(value: ir.Value) -> bool:
    return not value.uses() and not value.is_graph_output()


def _size(value: ir.Value, axis: int) -> int | None:
    size = None if value.shape is None else value.shape[axis]
    return size if isinstance(size, int) else None


# Siblings ----------------------------------------------------------------------------------------


def _readers(x: ir.Value, graph: ir.Graph) -> list[list[Sibling]]:
    """The siblings that read x, those that can be stacked together."""
    readers = dict.fromkeys(use.node for use in x.uses() if use.idx == 0)
    groups: dict[tuple[object, ...], list[Sibling]] = {}
    for node in readers:
        for sibling in list(forms(node))[-1:] if node.graph is graph else ():
            groups.setdefault(sibling.key, []).append(sibling)
    return list(groups.values())


def _stacked(siblings: list[Sibling], editor: Editor, prices: _Prices) -> Iterator[Rewrite]:
    """Siblings that are cheaper as one map and a Split."""
    cut = prices.split(siblings[0], _total(siblings))
    stacked = _told(siblings, prices, apart=Cost(), together=cut)
    if stacked is not None:
        editor.merge_and_split(siblings)
        yield replace(stacked, made=editor.edit.fresh())
