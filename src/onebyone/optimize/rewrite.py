"""Rewrite: lift every region, plan it, and place the plans that pay, until nothing changes.

All regions of a round are planned on the graph as the round finds it, so the result does not depend
on the order in which nodes are listed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from math import inf

import onnx_ir as ir

from onebyone.algebra.digits import LOST_BITS
from onebyone.algebra.refusal import Refusal
from onebyone.graph.constants import set_aside
from onebyone.graph.count_walk import name_of
from onebyone.graph.exact import Unrepresentable, settle
from onebyone.graph.shapes import Sizes
from onebyone.graph.simplify import simplify
from onebyone.graph.symbolic import simplify_shapes
from onebyone.graph.unused import remove_unused
from onebyone.optimize.cost import Profile
from onebyone.optimize.names import Names
from onebyone.optimize.passes import FIRST, PASSES, Rewrite
from onebyone.optimize.proof.ledger import Ledger
from onebyone.optimize.regions.lift import Context, Region, regions
from onebyone.optimize.regions.operations import build
from onebyone.optimize.regions.place import place
from onebyone.optimize.regions.plan import Plan
from onebyone.optimize.regions.price import Pricer
from onebyone.optimize.regions.search import Planner

__all__ = ["Rewrite", "rewrite"]

MAX_ROUNDS = 50
"""Rounds needed in practice are two or three; a chain of n maps needs log n of them."""


def rewrite(
    model: ir.Model,
    sizes: Sizes,
    laws: Collection[str],
    profile: Profile,
    progress: Callable[[str, int, int], None] | None = None,
    lost_bits: float = LOST_BITS,
    ledger: Ledger | None = None,
) -> tuple[list[Rewrite], list[tuple[str, Refusal]]]:
    """Rewrite a model in place; returns what was replaced, and what for its numbers was not.

    Weights that the number type cannot hold, and folds that would lose digits: no rewrite loses
    more than `lost_bits` of what its original computes (`algebra.digits`). What each does is proved
    in a `ledger` of the graph.
    """
    done: list[Rewrite] = []
    refused: dict[str, Refusal] = {}
    if "" not in model.opset_imports:  # no operator that any law knows
        return [], []
    simplify_shapes(model.graph)
    _simplified(model)
    settled = partial(_settled, model.graph, ledger)
    settled([])
    for row in FIRST:
        if row.law in laws:
            done += settled(row.run(model, sizes, profile, lost_bits))
    for round_number in range(MAX_ROUNDS):
        if progress is not None:
            progress("rewrite", round_number, MAX_ROUNDS)
        context = Context.of(model.graph, sizes, laws, lost_bits)
        changed = list(_round(model, context, Pricer(profile), refused))
        for row in PASSES:
            if not changed and row.law in laws:
                changed = list(row.run(model, sizes, profile, lost_bits))
        done += settled(changed)
        if not changed and not (done and _simplified(model)):
            break
        if not changed:
            settled([])
    settle(model.graph)
    kept = _kept_for_digits(model.graph, Context.of(model.graph, sizes, laws, lost_bits), profile)
    return done, [*refused.items(), *kept]


def _kept_for_digits(
    graph: ir.Graph, context: Context, profile: Profile
) -> Iterator[tuple[str, Refusal]]:
    """The steps that cancel and stay apart, where a rewrite would pay if they did not."""
    deque(regions(graph, context), maxlen=0)  # which meets them
    if not context.cancelling:
        return
    folding = replace(context, lost_bits=inf, cancelling={})
    for region in regions(graph, folding):
        makers = {value.producer() for value in region.inside}
        met = [node for node in context.cancelling if node in makers]
        if met and _change(region, context.laws, Pricer(profile)) is not None:
            yield from ((name_of(node), context.cancelling[node]) for node in met)


def _settled(graph: ir.Graph, ledger: Ledger | None, rewrites: Iterable[Rewrite]) -> list[Rewrite]:
    """The rewrites of a step, each by itself proved; what nobody reads any more goes."""
    rewrites = list(rewrites)
    remove_unused(graph)
    names = {name_of(node) for node in graph}
    rewrites = [
        replace(r, made=tuple(dict.fromkeys(n for n in r.made if n in names))) for r in rewrites
    ]
    if ledger is None:
        return rewrites
    moved = {value for rewrite in rewrites for value in rewrite.moved}
    left = max((rewrite.left for rewrite in rewrites), default=0.0)
    small = not any("demand" in rewrite.laws for rewrite in rewrites)
    pieces = ledger.step(moved, left, small, rounds=not rewrites)
    proofs = ledger.proofs(pieces, [{*r.nodes, *r.made} for r in rewrites])
    return [replace(r, proof=proof) for r, proof in zip(rewrites, proofs, strict=True)]


def _simplified(model: ir.Model) -> bool:
    """Whether there was anything to take out that computes nothing."""
    gone = simplify(model.graph, model.opset_imports[""])
    set_aside(model.graph)
    return bool(gone)


def _round(
    model: ir.Model, context: Context, price: Pricer, refused: dict[str, Refusal]
) -> Iterator[Rewrite]:
    laws = context.laws
    found = list(regions(model.graph, context))
    chosen = [(region, change) for region in found if (change := _change(region, laws, price))]
    names = Names.of(model.graph)
    for region, change in chosen:
        name = region.root.name or ""
        if name in refused:
            continue
        try:
            made = place(region.root, build(change.best), names, region.inside, context.reads)
        except Unrepresentable as error:
            refused[name] = Refusal("compose", str(error))
            continue
        cost = change.now.cost, change.best.cost
        lost = region.lost_bits
        told = tuple(node.name or "" for node in made)
        laws = change.best.laws
        yield Rewrite(name, region.nodes, laws, *cost, change.saved, lost_bits=lost, made=told)


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


ORDER = ("linear", "affine", "sum", "split", "commute", "compose")
"""The laws of regions, in the order in which their savings are told apart."""
