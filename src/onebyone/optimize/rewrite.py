"""Rewrite: lift every region, plan it, and place the plans that pay, until nothing changes.

All regions of a round are planned on the graph as the round finds it, so the result does not depend
on the order in which nodes are listed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from onebyone.algebra.refusal import Refusal
from onebyone.graph.shapes import Sizes
from onebyone.graph.simplify import simplify_shapes
from onebyone.optimize.cost import Cost, Profile
from onebyone.optimize.lift import Context, Region, regions
from onebyone.optimize.operations import build
from onebyone.optimize.place import Names, UnrepresentableError, place
from onebyone.optimize.plan import Plan, Planner
from onebyone.optimize.price import Pricer

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
    """

    root: str
    nodes: tuple[str, ...]
    laws: frozenset[str]
    before: Cost
    after: Cost
    saved: dict[str, int]


def rewrite(
    model: ir.Model,
    sizes: Sizes,
    laws: Collection[str],
    profile: Profile,
    progress: Callable[[str, int, int], None] | None = None,
) -> tuple[list[Rewrite], list[tuple[str, Refusal]]]:
    """Rewrite a model in place; returns what was replaced, and what could not be stored."""
    simplify_shapes(model.graph)
    done: list[Rewrite] = []
    refused: dict[str, Refusal] = {}
    for round_number in range(MAX_ROUNDS):
        if progress is not None:
            progress("rewrite", round_number, MAX_ROUNDS)
        changed = list(_round(model, sizes, laws, Pricer(profile), refused))
        if not changed:
            break
        done += changed
        RemoveUnusedNodesPass()(model)
    return done, list(refused.items())


def _round(
    model: ir.Model,
    sizes: Sizes,
    laws: Collection[str],
    price: Pricer,
    refused: dict[str, Refusal],
) -> Iterator[Rewrite]:
    context = Context.of(model.graph, sizes, laws)
    found = list(regions(model.graph, context))
    plans = [(region, *_plans(region, laws, price)) for region in found]
    names = Names.of(model.graph)
    for region, now, best in plans:
        name = region.root.name or ""
        if not best.cost < now.cost or name in refused:
            continue
        record = Rewrite(name, region.nodes, best.laws, now.cost, best.cost,
                         _saved(region, best, laws, price))  # fmt: skip
        try:
            place(region.root, build(best), names, region.inside, context.reads)
        except UnrepresentableError as error:
            refused[name] = Refusal("compose", str(error))
            continue
        yield record


def _plans(region: Region, laws: Collection[str], price: Pricer) -> tuple[Plan, Plan]:
    """The region as it stands, and the cheapest plan for it."""
    return Planner(price, frozenset()).best(region.term), Planner(price, laws).best(region.term)


def _saved(region: Region, best: Plan, laws: Collection[str], price: Pricer) -> dict[str, int]:
    """MACs saved, law by law: what each adds to those before it, in the order of the table."""
    saved: dict[str, int] = {}
    allowed: list[str] = []
    macs = Planner(price, frozenset()).best(region.term).cost.macs
    used = [law for law in ORDER if law in best.laws and law in laws]
    for law in used:
        allowed.append(law)
        last = law == used[-1]
        now = best.cost.macs if last else Planner(price, allowed).best(region.term).cost.macs
        saved[law] = macs - now
        macs = now
    return saved


ORDER = ("linear", "affine", "sum", "split", "commute", "compose")
"""The laws in the order in which savings are told apart."""
