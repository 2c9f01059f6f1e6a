"""Together: a value goes if all who read it do without, where each by itself would gain nothing.

For the readers of a shared value v it is there, at no cost, as long as one of them reads it; so a
reader that could do without v at the same price does not, and v stays. Here the two wholes are
compared,

    cost(v)    + Σ cost(reader, v free)     as the graph stands
    cost(kept) + Σ cost(reader, v gone)     each computes what it needs from behind v

where `kept` are values inside of v's region that are still read, or none. Where the second pays,
all readers change at once. It is asked of each value that has linear readers only, where no region
by itself has anything to gain; of those that share a region the one that gains most goes first, and
the others are asked again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf

import onnx_ir as ir

from onebyone.cost.profile import Cost, pays
from onebyone.graph.shape_reads import consumers
from onebyone.optimize.regions.change import Change, apart, saved_by_law
from onebyone.optimize.regions.lift import region_of
from onebyone.optimize.regions.plan import Plan
from onebyone.optimize.regions.price import Pricer
from onebyone.optimize.regions.region import Context, Region
from onebyone.optimize.regions.search import Planner

__all__ = ["together"]


def together(found: Sequence[Region], context: Context, price: Pricer) -> list[Change]:
    """What to do with all readers of a value at once, where then nobody needs the value.

    Args:
        found: the regions of a graph, none of which has anything to gain by itself.
        context: of the graph.
        price: of operators.
    """
    laws = frozenset(context.laws)
    offers = [_change(shared, laws) for shared in _shared(found, context, price)]
    known = [offer for offer in offers if offer is not None]
    # By names, not by the order in which nodes are listed.
    return apart(sorted(known, key=lambda c: (-_gain(c), c.gone[0].root.name or "")))


def _gain(change: Change) -> int:
    return change.now.picoseconds - change.best.picoseconds


@dataclass(frozen=True, eq=False)
class _Shared:
    """A shared value as the region that computes it, and the regions that read it."""

    region: Region
    readers: tuple[Region, ...]
    context: Context
    price: Pricer

    def stands(self, laws: frozenset[str]) -> Cost | None:
        """What all of them cost with it."""
        plans = _plans(Planner(self.price, laws), (self.region, *self.readers))
        if plans is None:
            return None
        return _sum(plans)

    def without(self, laws: frozenset[str], limit: float = inf) -> tuple[Cost, list[Plan]] | None:
        """The readers' plans without it, and what they and the values that they keep cost.

        None where that is not possible, or takes more picoseconds than the limit.
        """
        whole = self.region.inside | {self.region.root}
        # What is inside of its region stays for the readers, or each computes it anew.
        ways = dict.fromkeys((frozenset({self.region.root}), whole))
        found = [_plans(Planner(self.price, laws, gone), self.readers, limit) for gone in ways]
        known = [
            (plans, kept) for plans in found if plans and (kept := self._kept(plans)) is not None
        ]
        costs = [(_sum(plans) + kept, plans) for plans, kept in known]
        return min(costs, key=lambda way: way[0], default=None)

    def _kept(self, plans: Sequence[Plan]) -> Cost | None:
        """What it costs to have the values inside of its region that are read; None: unknown."""
        planner, total = Planner(self.price, frozenset()), Cost()
        left, done = self._read_inside(plans), set[ir.Value]()
        while left:
            value = left.pop()
            region = region_of(value, self.context)
            plan = None if region is None else planner.best(region.term)
            if plan is None:
                return None
            done.add(value)
            total += plan.cost
            left |= self._read_inside([plan]) - done  # it may read others of them in its turn
        return total

    def _read_inside(self, plans: Iterable[Plan]) -> set[ir.Value]:
        read = {leaf.value[0] for plan in plans for leaf in plan.leaves()}
        return read & self.region.inside


def _shared(found: Sequence[Region], context: Context, price: Pricer) -> Iterator[_Shared]:
    """The values that all of their readers can do without."""
    place = {region: k for k, region in enumerate(found)}
    home = {value: region for region in found for value in (*region.inside, region.root)}
    for value in dict.fromkeys(v for region in found for v in region.looked_through):
        # A reader that is in no region needs the value as it is.
        users = {home.get(node.outputs[0]) for node in consumers(value, context.reads)}
        readers = {region for region in users if region and value in region.looked_through}
        if value.is_graph_output() or readers != users:
            continue
        own = home.get(value) or region_of(value, context)
        if own is not None and not any(region.weights for region in (own, *readers)):
            yield _Shared(own, tuple(sorted(readers, key=place.__getitem__)), context, price)


def _change(shared: _Shared, laws: frozenset[str]) -> Change | None:
    """The readers of a value without it; None where it is cheaper to have it."""
    now = shared.stands(frozenset())
    found = None if now is None else shared.without(laws, now.picoseconds)
    if now is None or found is None or not pays(now, found[0], shared.price.profile):
        return None
    best, plans = found

    def least(used: frozenset[str]) -> Cost | None:
        way, stands = shared.without(used), shared.stands(used)
        return min(filter(None, (stands, way and way[0])), default=None)

    used = frozenset[str]().union(*(plan.laws for plan in plans))
    saved = saved_by_law(now, best, used, least)
    return Change(dict(zip(shared.readers, plans, strict=True)), now, best, saved, (shared.region,))


def _plans(planner: Planner, regions: Iterable[Region], limit: float = inf) -> list[Plan] | None:
    """The best plan of each; None if one has none, or the first of them take longer already."""
    plans, left = [], limit
    for region in regions:
        plan = replace(planner, limit=left).best(region.term)
        if plan is None or plan.cost.picoseconds > left:
            return None
        plans.append(plan)
        left -= plan.cost.picoseconds
    return plans


def _sum(plans: Iterable[Plan]) -> Cost:
    return sum((plan.cost for plan in plans), Cost())
