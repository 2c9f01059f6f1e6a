"""Change: what to do with the regions of a round, each by itself, or with those that share weights.

A region is decided on the graph as it stands. Only of weights that several operators read it cannot
say alone what a fold costs: folded the same way by all of them a weight is still stored once; by
one of them it is stored again. So regions that share weights are planned as if nothing were shared,
and that is done if all readers of the weights change and no more numbers are stored than before.
Else each is planned by itself: what others keep anyway is free as it is, and a weight of its own
costs what it takes to read it from memory in every run,

    time(own weight) = bytes / bandwidth

beside the roofline, for a shared one is in a cache by then. And to store more than before, a plan
has to save multiply-accumulates. A few operators less are not worth a larger file.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from onebyone.algebra.laws import LAWS
from onebyone.algebra.weights import Array
from onebyone.cost.profile import pays
from onebyone.graph.channels import weight_of
from onebyone.graph.constants import constant
from onebyone.graph.edit import content
from onebyone.optimize.regions.lift import Region
from onebyone.optimize.regions.operations import (
    Concatenate,
    Convolved,
    Mapped,
    Operation,
    Source,
    Total,
    build,
)
from onebyone.optimize.regions.plan import Plan
from onebyone.optimize.regions.price import Pricer
from onebyone.optimize.regions.search import Planner
from onebyone.optimize.sharing import origin, readers

__all__ = ["Change", "change_of", "changes"]

_NO_MORE = 10**12
"""Picoseconds for a number that is stored, where none shall be stored beyond what is: a second."""


@dataclass(frozen=True, eq=False)
class Change:
    """A region, its plan as it stands, a cheaper one, and the MACs that each law saves."""

    region: Region
    now: Plan
    best: Plan
    saved: dict[str, int]

    @property
    def operation(self) -> Operation:
        """The operators of the cheaper plan."""
        return build(self.best)


def changes(found: Sequence[Region], laws: Collection[str], price: Pricer) -> Iterator[Change]:
    """What to do with regions, where something is cheaper than what stands, in their order."""
    alone = replace(price, stored=max(1, price.profile.reading(1)))
    chosen: dict[Region, Change] = {}
    for group in _sharing(found):
        # As if each weight were nobody else's: right if all of its readers change alike.
        made = [change_of(region, laws, price) for region in group]
        if group[0].weights and not _stay_shared(group, made):
            made = [_by_itself(region, laws, alone) for region in group]
        chosen.update((change.region, change) for change in made if change is not None)
    # The last root first, whatever shares weights: what one reads another one may replace.
    yield from (chosen[region] for region in found if region in chosen)


def _sharing(found: Sequence[Region]) -> list[list[Region]]:
    """The regions, those connected by shared weights together."""
    groups: list[list[Region]] = []
    of: dict[ir.Value, list[Region]] = {}
    for region in found:
        joined = [region]
        for other in {id(of[w]): of[w] for w in region.weights if w in of}.values():
            joined = other + joined
            groups.remove(other)
        groups.append(joined)
        of.update((w, joined) for each in joined for w in each.weights)
    return groups


def change_of(region: Region, laws: Collection[str], price: Pricer) -> Change | None:
    """What to do with a region; None if nothing is cheaper than what stands."""
    now = Planner(price, frozenset()).best(region.term)
    best = Planner(price, frozenset(laws)).best(region.term)
    if now is None or best is None or not pays(now.cost, best.cost, price.profile):
        return None
    return Change(region, now, best, _saved(region, now, best, price))


def _by_itself(region: Region, laws: Collection[str], price: Pricer) -> Change | None:
    """What to do with a region whose weights others read: to store more, it has to save MACs."""
    # Without a new number, and with: to store more has to save arithmetic.
    without = change_of(region, laws, replace(price, stored=_NO_MORE))
    copied = change_of(region, laws, price)
    if copied is None:
        return without
    instead = copied.now if without is None else without.best
    return copied if copied.best.cost.macs < instead.cost.macs else without


def _saved(region: Region, now: Plan, best: Plan, price: Pricer) -> dict[str, int]:
    """MACs saved, law by law: what each adds to those before it, from the last row to the first."""
    saved: dict[str, int] = {}
    used = [law for law in reversed(LAWS) if law in best.laws]
    if not used:  # fewer operators for the same sums, by no law's doing
        return saved
    # What a law saves depends on those before it, so they are let in one by one.
    parts = [Planner(price, frozenset(used[:k])).best(region.term) for k in range(1, len(used))]
    macs = now.cost.macs
    for law, plan in zip(used, [*parts, best], strict=True):
        saved[law] = 0
        if plan is not None:
            saved[law] = macs - plan.cost.macs
            macs = plan.cost.macs
    return saved


# Weights that stay shared ------------------------------------------------------------------------


def _stay_shared(group: Sequence[Region], made: Sequence[Change | None]) -> bool:
    """Whether all readers of the weights change, and no more numbers are stored than before."""
    known = [change for change in made if change is not None]
    changed = {node for change in known for node in change.region.makers}
    shared = {weight for region in group for weight in region.weights}
    if any(w.is_graph_output() or not changed.issuperset(readers(w)) for w in shared):
        return False
    # By content: what all readers compose alike is stored once.
    after = {key: size for change in known for key, size in _made(change.operation)}
    return sum(after.values()) <= sum(w.size for w in _stored(changed))


def _stored(nodes: Collection[ir.Node]) -> list[Array]:
    """The weights that nodes read, each once."""
    mixing = (node for node in nodes if weight_of(node) is not None)
    operands = {v for node in mixing for v in node.inputs[:2] if v is not None}
    arrays = {origin(v): a for v in operands if (a := constant(v)) is not None}
    return list(arrays.values())


def _made(operation: Operation) -> Iterator[tuple[object, int]]:
    """The weights of operations and their sizes; equal ones in one form are stored once.

    Diagonals are too small to matter.
    """
    if isinstance(operation, Source):
        return
    if isinstance(operation, Total | Concatenate):
        for part in operation.operands:
            yield from _made(part)
        return
    if isinstance(operation, Convolved):
        yield content(operation.weight), operation.weight.size
    elif isinstance(operation, Mapped) and not operation.linear.is_diagonal:
        layout, weight = operation.before, operation.linear.weight
        yield (layout.rank, layout.axis, content(weight)), weight.size
    yield from _made(operation.operand)
