"""Which channels stay: those that have to, those tied to them, and a few to fill up widths.

Channels that elementwise operators tie to each other stay or go together. The groups of a
convolution stay equally large. And engines compute channels in blocks: 48 of them, three dead, are
faster than 45.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onebyone.algebra.groups import missing
from onebyone.algebra.weights import Array
from onebyone.graph.ops.flow import Flow

__all__ = ["Stays", "kept_channels"]

Flows = Mapping[ir.Node, Flow]


@dataclass(frozen=True, eq=False)
class Stays:
    """What stays of values.

    Args:
        kept: value -> (C,) which channels stay.
        spare: value -> (C,) which of them only fill up what a convolution reads.
    """

    kept: Mapping[ir.Value, Array]
    spare: Mapping[ir.Value, Array]


def kept_channels(must: Mapping[ir.Value, Array], flows: Flows, multiple: int = 1) -> Stays:
    """Which channels stay. A value loses all of its own only if nobody reads it then (`_gone`).

    Args:
        must: value -> (C,) which have to, for all values of the flows.
        flows: node -> how channels flow through it.
        multiple: what convolutions read is filled up to a multiple of so many channels, where
            enough could go and that adds no more than an eighth.
    """
    if all(channels.all() for channels in must.values()):
        return Stays(must, {v: np.zeros_like(channels) for v, channels in must.items()})
    # All channels of all values get one row of numbers, so that ties are pairs of numbers.
    ends = np.cumsum([0, *(len(channels) for channels in must.values())])
    starts = dict(zip(must, ends[:-1], strict=True))
    ties = [np.stack([starts[x] + s, starts[y] + o]) for x, s, y, o in _ties(flows)]
    pairs = np.concatenate([np.zeros((2, 0), int), *ties], axis=1)
    group = _groups(ends[-1], *pairs)
    own = {v: group[starts[v] : starts[v] + len(channels)] for v, channels in must.items()}
    stays = np.zeros(ends[-1] + 1, bool)
    # Tied channels stay together: what must stay marks the group.
    for value, channels in must.items():
        stays[own[value][channels]] = True
    # All at once: one after another, how many stay would depend on the order of the nodes. What
    # grows may tie others to stay: again, until nothing does.
    while more := [*_empty(own, stays, flows), *_unequal(own, stays, flows)]:
        for groups in more:
            stays[groups] = True
    # From here on, only to fill up: that is what a report calls spare.
    least, read = stays.copy(), _read(own, flows, len(stays))
    whole = _of_wholes(own, stays)
    while more := [
        *_empty(own, stays, flows),
        *_unequal(own, stays, flows),
        *_ragged(read, stays, whole, multiple),
    ]:
        for groups in more:
            stays[groups] = True
    spare = stays & ~least
    return Stays({v: stays[own[v]] for v in must}, {v: spare[own[v]] for v in must})


def _empty(own: Mapping[ir.Value, Array], stays: Array, flows: Flows) -> list[Array]:
    """One channel of each value that would lose all, though it is read."""
    empty = {v for v, groups in own.items() if not stays[groups].any()}
    return [own[v][:1] for v in empty - _gone(empty, flows)]


def _gone(empty: set[ir.Value], flows: Flows) -> set[ir.Value]:
    """Values without channels that are read by what goes, too, and by concats of other channels."""
    gone = empty
    while True:
        left = {v for v in gone if _goes(v, gone, flows)}
        if left == gone:
            return gone
        gone = left


def _goes(value: ir.Value, gone: set[ir.Value], flows: Flows) -> bool:
    maker = value.producer()
    if maker is None or not gone.issuperset(maker.outputs):
        return False
    readers = [use.node for use in value.uses()]
    return all(n in flows and (flows[n].joins or gone.issuperset(n.outputs)) for n in readers)


def _unequal(own: Mapping[ir.Value, Array], stays: Array, flows: Flows) -> list[Array]:
    """What has to stay so that the groups of each convolution are equally large."""
    found = []
    for node, mix in ((node, found.mix) for node, found in flows.items()):
        if mix is not None and mix.groups > 1:
            sides = own[mix.operand], own[node.outputs[0]]
            lacking = missing(stays[sides[0]], stays[sides[1]], mix.groups)
            found += [side[lack] for side, lack in zip(sides, lacking, strict=True)]
    return [groups for groups in found if groups.size]


def _read(own: Mapping[ir.Value, Array], flows: Flows, count: int) -> list[Array]:
    """Of each value that convolutions read its channels, those first that the fewest read.

    Filled up with these, the fewest other widths become odd.
    """
    values = {v: None for node, found in flows.items() for v in _convolved(node, found)}
    readers = np.zeros(count, int)
    for value in values:
        readers[np.unique(own[value])] += 1
    return [own[v][np.argsort(readers[own[v]], kind="stable")] for v in values]


def _of_wholes(own: Mapping[ir.Value, Array], stays: Array) -> Array:
    """The groups of values that go whole: to keep a channel of these is to compute them."""
    whole = np.zeros(len(stays), bool)
    for groups in own.values():
        if not stays[groups].any():
            whole[groups] = True
    return whole


def _ragged(read: Iterable[Array], stays: Array, whole: Array, multiple: int) -> list[Array]:
    """What else has to stay so that convolutions read multiples of so many channels.

    The narrowest come first: what is concatenated may be wide enough once its parts are.
    """
    ragged: dict[int, list[Array]] = {}
    for channels in read:
        here = stays[channels]
        count = int(here.sum())
        # More than an eighth is more arithmetic than the slow way round costs.
        lacking = -count % multiple
        more = channels[~here & ~whole[channels]]
        if lacking and 8 * lacking <= count and lacking <= len(more):
            ragged.setdefault(count, []).append(more[:lacking])
    return ragged.get(min(ragged, default=0), [])


def _convolved(node: ir.Node, found: Flow) -> Iterable[ir.Value]:
    """What a convolution reads, dense or depthwise; of others each group has a width of its own."""
    grouped = found.mix is not None and found.mix.groups > 1
    if node.op_type != "Conv" or grouped:
        return ()
    return found.operands


def _groups(count: int, a: Array, b: Array) -> Array:
    """For each of 0 … count - 1 the smallest number that it is tied to, by pairs a[k], b[k].

    >>> _groups(6, np.array([1, 3, 4]), np.array([3, 5, 2]))
    array([0, 1, 2, 1, 2, 1])
    """
    group = np.arange(count)
    while ((x := group[a]) != (y := group[b])).any():
        np.minimum.at(group, np.maximum(x, y), np.minimum(x, y))
        while ((above := group[group]) != group).any():
            group = above
    return group


def _ties(flows: Flows) -> Iterator[tuple[ir.Value, Array, ir.Value, Array]]:
    for found in flows.values():
        for link in found.links:
            yield link.operand, link.sources, link.result, link.outs
