"""Rewrite: lift every region, plan it, and place the plans that pay, until nothing changes.

All regions of a round are planned on the graph as the round finds it, so the result does not depend
on the order in which nodes are listed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir.passes.common import CommonSubexpressionEliminationPass, RemoveUnusedNodesPass

from onebyone.algebra.refusal import Refusal
from onebyone.graph.count import tally
from onebyone.graph.fold import fold_sizes
from onebyone.graph.shapes import Sizes
from onebyone.graph.simplify import simplify_shapes
from onebyone.optimize.cost import Cost, Profile
from onebyone.optimize.demand import hoist_strides
from onebyone.optimize.factor import factor_maps
from onebyone.optimize.lift import Context, Region, regions
from onebyone.optimize.normalization import Folded, fold_normalizations
from onebyone.optimize.operations import build
from onebyone.optimize.place import Names, Unrepresentable, place
from onebyone.optimize.plan import Plan
from onebyone.optimize.price import Pricer
from onebyone.optimize.prune import prune
from onebyone.optimize.relabel import relabel
from onebyone.optimize.search import Planner
from onebyone.optimize.stack import stack

__all__ = ["Rewrite", "rewrite"]

MAX_ROUNDS = 50
"""Rounds needed in practice are two or three; a chain of n maps needs log n of them."""


@dataclass(frozen=True, eq=False)
class Rewrite:
    """One region that was replaced.

    Args:
        root: the name of the value that the region computes.
        nodes: the names of the nodes that computed it.
        laws: those that the new form uses.
        before, after: modelled costs.
        saved: MACs that each law contributed; they add up to before.macs - after.macs.
        note: the numbers of the decision, where it hangs on some.
    """

    root: str
    nodes: tuple[str, ...]
    laws: frozenset[str]
    before: Cost
    after: Cost
    saved: dict[str, int]
    note: str = ""


def rewrite(
    model: ir.Model,
    sizes: Sizes,
    laws: Collection[str],
    profile: Profile,
    progress: Callable[[str, int, int], None] | None = None,
) -> tuple[list[Rewrite], list[tuple[str, Refusal]]]:
    """Rewrite a model in place; returns what was replaced, and what could not be stored."""
    simplify_shapes(model.graph)
    fold_sizes(model.graph, model.opset_imports[""])
    done: list[Rewrite] = []
    refused: dict[str, Refusal] = {}
    if "affine" in laws:
        done += [_folded(found) for found in fold_normalizations(model.graph)]
    if "prune" in laws:
        done += _prune(model, sizes)
    for round_number in range(MAX_ROUNDS):
        if progress is not None:
            progress("rewrite", round_number, MAX_ROUNDS)
        changed = list(_round(model, sizes, laws, Pricer(profile), refused))
        if not changed and "demand" in laws:
            changed = list(_demand(model, sizes, profile))
        if not changed and "prune" in laws:
            changed = list(_prune(model, sizes))
        if not changed and "permute" in laws:
            changed = list(_permute(model, sizes, profile))
        if not changed and "stack" in laws:
            changed = list(_stack(model, sizes, profile))
        if not changed and "rank" in laws:
            changed = list(_rank(model, sizes, profile))
        done += changed
        if not changed and not (done and _merge_equal_nodes(model)):
            break
        RemoveUnusedNodesPass()(model)
    return done, list(refused.items())


def _merge_equal_nodes(model: ir.Model) -> bool:
    """Make one of nodes that several regions placed alike; whether there were any."""
    return bool(CommonSubexpressionEliminationPass()(model).modified)


def _folded(found: Folded) -> Rewrite:
    return Rewrite(found.root, found.nodes, frozenset({"affine"}), Cost(), Cost(), {"affine": 0})


def _prune(model: ir.Model, sizes: Sizes) -> Iterator[Rewrite]:
    before = tally(model, sizes)
    found = list(prune(model.graph, model.opset_imports[""]))
    if found:
        after = tally(model, sizes)
        nodes = tuple(sorted(pruned.node for pruned in found))
        saved = {"prune": before.macs - after.macs}
        costs = Cost(0, before.macs, before.parameters), Cost(0, after.macs, after.parameters)
        yield Rewrite(nodes[0], nodes, frozenset({"prune"}), *costs, saved)


def _permute(model: ir.Model, sizes: Sizes, profile: Profile) -> Iterator[Rewrite]:
    for found in relabel(model.graph, sizes, profile):
        laws = frozenset({"permute"})
        yield Rewrite(found.nodes[0], found.nodes, laws, found.before, found.after, {"permute": 0})


def _stack(model: ir.Model, sizes: Sizes, profile: Profile) -> Iterator[Rewrite]:
    for found in stack(model.graph, sizes, profile):
        laws = frozenset({"stack"})
        yield Rewrite(found.root, found.nodes, laws, found.before, found.after, {"stack": 0})


def _rank(model: ir.Model, sizes: Sizes, profile: Profile) -> Iterator[Rewrite]:
    macs = tally(model, sizes).macs
    for found in factor_maps(model.graph, sizes, profile):
        left = tally(model, sizes).macs
        laws, nodes, saved = frozenset({"rank"}), (found.node,), {"rank": macs - left}
        yield Rewrite(found.node, nodes, laws, Cost(0, macs), Cost(0, left), saved, found.note)
        macs = left


def _demand(model: ir.Model, sizes: Sizes, profile: Profile) -> Iterator[Rewrite]:
    for found in hoist_strides(model.graph, sizes, profile):
        saved = {"demand": found.before.macs - found.after.macs}
        yield Rewrite(
            found.root, found.nodes, frozenset({"demand"}), found.before, found.after, saved
        )


def _round(
    model: ir.Model,
    sizes: Sizes,
    laws: Collection[str],
    price: Pricer,
    refused: dict[str, Refusal],
) -> Iterator[Rewrite]:
    context = Context.of(model.graph, sizes, laws)
    found = list(regions(model.graph, context))
    chosen = [(region, change) for region in found if (change := _change(region, laws, price))]
    names = Names.of(model.graph)
    for region, change in chosen:
        name = region.root.name or ""
        if name in refused:
            continue
        try:
            place(region.root, build(change.best), names, region.inside, context.reads)
        except Unrepresentable as error:
            refused[name] = Refusal("compose", str(error))
            continue
        cost = change.now.cost, change.best.cost
        yield Rewrite(name, region.nodes, change.best.laws, *cost, change.saved)


@dataclass(frozen=True, eq=False)
class _Change:
    """A region's plan as it stands, a cheaper one, and the MACs that each law saves."""

    now: Plan
    best: Plan
    saved: dict[str, int]


def _change(region: Region, laws: Collection[str], price: Pricer) -> _Change | None:
    """What to do with a region; None if nothing is cheaper than what stands."""
    now = Planner(price, frozenset()).best(region.term)
    best = Planner(price, frozenset(laws)).best(region.term)
    if now is None or best is None or not best.cost < now.cost:
        return None
    if best.cost.macs > now.cost.macs:  # a few operators less are not worth more arithmetic
        return None
    return _Change(now, best, _saved(region, now, best, price))


def _saved(region: Region, now: Plan, best: Plan, price: Pricer) -> dict[str, int]:
    """MACs saved, law by law: what each adds to those before it, in the order of `ORDER`."""
    saved: dict[str, int] = {}
    used = [law for law in ORDER if law in best.laws]
    macs = now.cost.macs
    for k, law in enumerate(used, 1):
        partial = Planner(price, frozenset(used[:k])).best(region.term) if k < len(used) else best
        reached = macs if partial is None else partial.cost.macs
        saved[law] = macs - reached
        macs = reached
    return saved


ORDER = (
    "rank",
    "stack",
    "permute",
    "prune",
    "demand",
    "linear",
    "affine",
    "sum",
    "split",
    "commute",
    "compose",
)
"""The laws in the order in which savings are told apart."""
