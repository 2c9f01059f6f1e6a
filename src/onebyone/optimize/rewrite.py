"""Rewrite: lift every region, plan it, and place the plans that pay, until nothing changes.

All regions of a round are planned on the graph as the round finds it, so the result does not depend
on the order in which nodes are listed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

import onnx_ir as ir
from onnx_ir.passes.common import CommonSubexpressionEliminationPass

from onebyone.algebra.refusal import Refusal
from onebyone.graph.fold import fold_sizes
from onebyone.graph.shapes import Sizes
from onebyone.graph.simplify import simplify_shapes
from onebyone.graph.unused import remove_unused
from onebyone.optimize.cost import Profile
from onebyone.optimize.names import Names
from onebyone.optimize.passes import FIRST, PASSES, Rewrite
from onebyone.optimize.regions.change import changes
from onebyone.optimize.regions.lift import Context, regions
from onebyone.optimize.regions.place import Unrepresentable, place
from onebyone.optimize.regions.price import Pricer

__all__ = ["Rewrite", "rewrite"]

MAX_ROUNDS = 50
"""Rounds needed in practice are two or three; a chain of n maps needs log n of them."""


def rewrite(
    model: ir.Model,
    sizes: Sizes,
    laws: Collection[str],
    profile: Profile,
    progress: Callable[[str, int, int], None] | None = None,
) -> tuple[list[Rewrite], list[tuple[str, Refusal]]]:
    """Rewrite a model in place; returns what was replaced, and what could not be stored."""
    done: list[Rewrite] = []
    refused: dict[str, Refusal] = {}
    if "" not in model.opset_imports:  # no operator that any law knows
        return [], []
    remove_unused(model.graph)  # what nobody reads shares nothing
    simplify_shapes(model.graph)
    version = model.opset_imports[""]
    folded = fold_sizes(model.graph, version)
    for row in FIRST:
        done += row.run(model, sizes, profile) if row.law in laws else ()
    if folded or done:
        remove_unused(model.graph)
    for round_number in range(MAX_ROUNDS):
        if progress is not None:
            progress("rewrite", round_number, MAX_ROUNDS)
        changed = list(_round(model, sizes, laws, Pricer(profile), refused))
        for row in PASSES:
            if not changed and row.law in laws:
                changed = list(row.run(model, sizes, profile))
        done += changed
        if not changed and not (done and _tidied(model, version)):
            break
        remove_unused(model.graph)
    return done, list(refused.items())


def _tidied(model: ir.Model, version: int) -> bool:
    """Whether sizes became known, or nodes that several regions placed alike were made one."""
    folded = fold_sizes(model.graph, version)
    return bool(CommonSubexpressionEliminationPass()(model).modified) or bool(folded)


def _round(
    model: ir.Model,
    sizes: Sizes,
    laws: Collection[str],
    price: Pricer,
    refused: dict[str, Refusal],
) -> Iterator[Rewrite]:
    context = Context.of(model.graph, sizes, laws)
    found = list(regions(model.graph, context))
    chosen = [c for c in changes(found, laws, price) if (c.region.root.name or "") not in refused]
    names = Names.of(model.graph)
    for change in chosen:
        region, name = change.region, change.region.root.name or ""
        try:
            place(region.root, change.operation, names, region.inside, context.reads)
        except Unrepresentable as error:
            refused[name] = Refusal("compose", str(error))
            continue
        cost = change.now.cost, change.best.cost
        yield Rewrite(name, region.nodes, change.best.laws, *cost, change.saved)
