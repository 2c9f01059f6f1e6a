"""Change: what to do with the regions of a round, each by itself, or with those that share weights.

A region is decided on the graph as it stands, so one that reads what is inside of another waits
until nothing is to be done in there. Only of weights that several operators read it cannot
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

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from onebyone.algebra.laws import LAWS
from onebyone.algebra.weights import Array
from onebyone.cost.profile import Cost, pays
from onebyone.graph.channels import weight_of
from onebyone.graph.constants import constant
from onebyone.graph.edit import content
from onebyone.optimize.regions.operations import (
    Concatenate,
    Convolved,
    LookedUp,
    Mapped,
    Operation,
    Source,
    Total,
    build,
)
from onebyone.optimize.regions.plan import Plan
from onebyone.optimize.regions.price import Pricer
from onebyone.optimize.regions.region import Region
from onebyone.optimize.regions.search import Planner
from onebyone.optimize.sharing import origin, readers

__all__ = ["Change", "apart", "change_of", "changes", "saved_by_law"]

_NO_MORE = 10**12
"""Picoseconds for a number that is stored, where none shall be stored beyond what is: a second."""

_DEAR = 10**12
"""Picoseconds for a multiply-accumulate, where as few shall be made as can be: a second."""


@dataclass(frozen=True, eq=False)
class Change:
    """Regions and cheaper plans for them.

    Args:
        plans: for each region that is replaced, what computes it then: one, or several that are
            cheaper together (`together`). The last of the graph comes first.
        now, best: the costs of what is replaced, and of the plans.
        saved: the MACs that each law saves.
        gone: regions that nobody reads behind it.
    """

    plans: Mapping[Region, Plan]
    now: Cost
    best: Cost
    saved: dict[str, int]
    gone: tuple[Region, ...] = ()

    @property
    def regions(self) -> tuple[Region, ...]:
        """All regions that are no more as they were."""
        return (*self.plans, *self.gone)

    @property
    def going(self) -> frozenset[ir.Value]:
        """The values that nobody needs any more."""
        ends = (region.root for region in self.gone)
        return frozenset(ends).union(*(region.inside for region in self.regions))

    @property
    def read(self) -> frozenset[ir.Value]:
        """The values that the plans read."""
        return frozenset(leaf.value[0] for plan in self.plans.values() for leaf in plan.leaves())

    @property
    def beneath(self) -> frozenset[ir.Value]:
        """The values behind those that were looked through, which may go now."""
        return frozenset().union(*(region.beneath for region in self.plans))

    @property
    def nodes(self) -> tuple[str, ...]:
        """The names of the nodes that computed them, sorted."""
        return tuple(sorted({name for region in self.regions for name in region.nodes}))

    @property
    def lost_bits(self) -> float:
        """The digits that it can lose, at most."""
        return max(region.lost_bits for region in self.plans)

    @property
    def operations(self) -> dict[ir.Value, Operation]:
        """The operators of the cheaper plans, by what they compute."""
        return {region.root: build(plan) for region, plan in self.plans.items()}


def changes(found: Sequence[Region], laws: Collection[str], price: Pricer) -> list[Change]:
    """What to do with regions, where something is cheaper than what stands."""
    offers = {region: change for change in _each(found, laws, price) for region in change.plans}
    # The last root was found first: what is behind others is settled before them.
    return apart(offers[region] for region in reversed(found) if region in offers)


def apart(offers: Iterable[Change]) -> list[Change]:
    """Those of some changes that can be made at once; what comes first goes before what follows."""
    chosen, changed = list[Change](), set[Region]()
    going, read = set[ir.Value](), set[ir.Value]()
    for change in offers:
        if (
            changed.isdisjoint(change.regions)
            and going.isdisjoint(change.read)
            and read.isdisjoint(change.going)
        ):
            chosen.append(change)
            changed.update(change.regions)
            going |= change.going
            read |= change.read
    return chosen


def _each(found: Sequence[Region], laws: Collection[str], price: Pricer) -> Iterator[Change]:
    alone = replace(price, stored=max(1, price.profile.reading(1)))
    for group in _sharing(found):
        # As if each weight were nobody else's: right if all of its readers change alike.
        made = [change_of(region, laws, price) for region in group]
        if group[0].weights and not _stay_shared(group, made):
            made = [_by_itself(region, laws, alone) for region in group]
        yield from filter(None, made)


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
    if now is None:
        return None
    best = Planner(price, frozenset(laws), limit=now.cost.picoseconds).best(region.term)
    if best is None:
        return None
    if best.cost.macs > now.cost.macs and region.averages and not price.arithmetic:
        # Fewer channels to average may be worth more arithmetic in time. Of what takes the least
        # arithmetic some may still be faster than now.
        return change_of(region, laws, replace(price, arithmetic=_DEAR))
    before, after = price.plain(now.cost), price.plain(best.cost)
    if not pays(before, after, price.profile):
        return None

    def least(used: frozenset[str]) -> Cost | None:
        plan = Planner(price, used).best(region.term)
        return None if plan is None else plan.cost

    saved = saved_by_law(before, after, best.laws, least)
    return Change({region: best}, before, after, saved)


def _by_itself(region: Region, laws: Collection[str], price: Pricer) -> Change | None:
    """What to do with a region whose weights others read: to store more, it has to save MACs."""
    # Without a new number, and with: to store more has to save arithmetic.
    without = change_of(region, laws, replace(price, stored=_NO_MORE))
    copied = change_of(region, laws, price)
    if copied is None:
        return without
    instead = copied.now if without is None else without.best
    if copied.best.macs >= instead.macs:
        return without
    return copied


def saved_by_law(
    now: Cost, best: Cost, laws: frozenset[str], least: Callable[[frozenset[str]], Cost | None]
) -> dict[str, int]:
    """MACs saved, law by law: what each adds to those before it, from the last row to the first.

    Args:
        now, best: the costs before and after.
        laws: those that are at work; with none, there are fewer operators for the same sums.
        least: gives the lowest cost under some of them.
    """
    used = [law for law in reversed(LAWS) if law in laws]
    # What a law saves depends on those before it, so they are let in one by one.
    costs = [least(frozenset(used[:k])) for k in range(1, len(used))]
    saved, macs = {}, now.macs
    for law, cost in zip(used, [*costs, best][: len(used)], strict=True):
        saved[law] = 0
        if cost is not None:
            saved[law], macs = macs - cost.macs, cost.macs
    return saved


# Weights that stay shared ------------------------------------------------------------------------


def _stay_shared(group: Sequence[Region], made: Sequence[Change | None]) -> bool:
    """Whether all readers of the weights change, and no more numbers are stored than before."""
    known = [change for change in made if change is not None]
    changed = {node for change in known for region in change.regions for node in region.makers}
    shared = {weight for region in group for weight in region.weights}
    if any(w.is_graph_output() or not changed.issuperset(readers(w)) for w in shared):
        return False
    # By content: what all readers compose alike is stored once.
    operations = [made for change in known for made in change.operations.values()]
    after = {key: size for operation in operations for key, size in _made(operation)}
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
    if isinstance(operation, LookedUp):
        table = operation.table
        yield content(table), table.size
        return
    if isinstance(operation, Convolved):
        yield content(operation.weight), operation.weight.size
    elif isinstance(operation, Mapped) and not operation.linear.is_diagonal:
        layout, weight = operation.before, operation.linear.weight
        yield (layout.rank, layout.axis, content(weight)), weight.size
    yield from _made(operation.operand)
