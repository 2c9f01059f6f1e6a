"""Rewrite: lift every region, plan it, and place the plans that pay, until nothing changes.

All regions of a round are planned on the graph as the round finds it, so the result does not depend
on the order in which nodes are listed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from math import inf

import onnx_ir as ir

from onebyone.algebra.digits import LOST_BITS
from onebyone.algebra.refusal import Refusal
from onebyone.cost.profile import Profile
from onebyone.graph.constants import set_aside
from onebyone.graph.count_walk import name_of
from onebyone.graph.edit import Edit
from onebyone.graph.exact import Unrepresentable, settle
from onebyone.graph.shapes import Sizes
from onebyone.graph.simplify import simplify
from onebyone.graph.simplify.noops import drop_noops
from onebyone.graph.unused import remove_unused
from onebyone.graph.values import maker
from onebyone.optimize.outline import outlines
from onebyone.optimize.passes import FIRST, PASSES
from onebyone.optimize.regions.change import Change, change_of, changes
from onebyone.optimize.regions.lift import regions
from onebyone.optimize.regions.place import place
from onebyone.optimize.regions.price import Pricer
from onebyone.optimize.regions.readings import Readings
from onebyone.optimize.regions.region import Context
from onebyone.optimize.regions.together import together
from onebyone.optimize.rewritten import UNBOUNDED, Memory, Rewrite, Task
from onebyone.verify.pieces.ledger import Ledger

__all__ = ["rewrite"]

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
    gone: Counter[str] | None = None,
    memory: Memory = UNBOUNDED,
) -> tuple[list[Rewrite], list[tuple[str, Refusal]]]:
    """Rewrite a model in place; returns what was replaced, and what for its numbers was not.

    Weights that the number type cannot hold, folds that would lose digits, tiles that would take
    more than their `memory`: no rewrite loses more than `lost_bits` of what its original computes
    (`algebra.digits`). What each does is proved in a `ledger` of the graph, if there is one. `gone`
    counts what was simplified (`graph.simplify`).
    """
    done: list[Rewrite] = []
    refused: dict[str, Refusal] = {}
    if "" not in model.opset_imports:  # no operator that any law knows
        return [], []
    gone = Counter() if gone is None else gone
    _simplified(model, gone)
    ledger = Ledger(model.graph, sizes, proves=False) if ledger is None else ledger
    settled = partial(_settled, model.graph, ledger)
    task = Task(model, sizes, profile, lost_bits, memory)
    settled([])
    idle = set[str]()  # the laws that find nothing in the graph as it stands
    for law, run in FIRST:
        for _ in range(MAX_ROUNDS):
            if law not in laws or not (changed := list(run(task))):
                idle.add(law)
                break
            done += settled(changed)
            if _simplified(model, gone):  # a Slice of channels that is whole now
                settled([])
            idle.clear()
            task = replace(task)
    for round_number in range(MAX_ROUNDS):
        if progress is not None:
            progress("rewrite", round_number, MAX_ROUNDS)
        context = Context.of(model.graph, sizes, laws, lost_bits, task.axes)
        refused.clear()  # what was unrepresentable may have become another region since
        changed = _round(model, context, Pricer(profile), refused)
        for law, run in PASSES:
            if not changed and law in laws and law not in idle:
                changed = list(run(task))
        if not changed:
            break
        done += settled(changed)
        if _simplified(model, gone):
            settled([])
        idle.clear()
        task = replace(task)
    if ledger.proves:
        settled([])  # a pass that changed something and did not say so is found here
    settle(model.graph)
    # In the type of the graph a factor may be one, and a shift nothing.
    gone.update(drop_noops(model.graph))
    remove_unused(model.graph)
    kept = _kept_for_digits(model.graph, context, profile)
    return done, [*refused.items(), *task.refused.items(), *kept]


def _kept_for_digits(
    graph: ir.Graph, context: Context, profile: Profile
) -> Iterator[tuple[str, Refusal]]:
    """The steps that cancel and stay apart, where a rewrite would pay if they did not.

    `context` has met them in the last round, which changed nothing.
    """
    if not context.cancelling:
        return
    # By now the weights are rounded.
    read = Readings(context.sizes)
    folding = replace(context, readings=read, lost_bits=inf, cancelling={})
    # What is computed from none of them has none of them in its region.
    behind = set(context.cancelling)
    for node in graph:
        if any(maker(value) in behind for value in node.inputs):
            behind.add(node)
    for region in regions([node for node in graph if node in behind], folding):
        makers = {value.producer() for value in region.inside | region.beneath}
        met = [node for node in context.cancelling if node in makers]
        if met and change_of(region, context.laws, Pricer(profile)) is not None:
            yield from ((name_of(node), context.cancelling[node]) for node in met)


def _settled(graph: ir.Graph, ledger: Ledger, rewrites: Iterable[Rewrite]) -> list[Rewrite]:
    """The rewrites of a step, each by itself proved; what nobody reads any more goes."""
    rewrites = list(rewrites)
    remove_unused(graph)
    names = {name_of(node) for node in graph}
    rewrites = [
        replace(r, made=tuple(dict.fromkeys(n for n in r.made if n in names))) for r in rewrites
    ]
    before = ledger.last
    moved = {value for rewrite in rewrites for value in rewrite.moved}
    left = max((rewrite.left for rewrite in rewrites), default=0.0)
    small = all(rewrite.small for rewrite in rewrites)
    pieces = ledger.step(moved, left, small, rounds=not rewrites)
    proofs = ledger.proofs(pieces, [{*r.nodes, *r.made} for r in rewrites])
    sides = [outlines(before, ledger.last, r.nodes, r.made, ledger.sizes) for r in rewrites]
    return [
        replace(r, proof=proof, sides=pair)
        for r, proof, pair in zip(rewrites, proofs, sides, strict=True)
    ]


def _simplified(model: ir.Model, gone: Counter[str]) -> bool:
    """Whether there was anything to take out that computes nothing; it is added to `gone`."""
    found = simplify(model.graph, model.opset_imports[""])
    set_aside(model.graph)
    gone.update(found)
    return bool(found)


def _round(
    model: ir.Model, context: Context, price: Pricer, refused: dict[str, Refusal]
) -> list[Rewrite]:
    found, edit = list(regions(model.graph, context)), Edit(model.graph)
    placed = [*_placed(changes(found, context.laws, price), edit, context, refused)]
    if placed:
        return placed
    return [*_placed(together(found, context, price), edit, context, refused)]


def _placed(
    chosen: Sequence[Change], edit: Edit, context: Context, refused: dict[str, Refusal]
) -> Iterator[Rewrite]:
    for change in chosen:
        operations, name = change.operations, next(iter(change.plans)).root.name or ""
        try:
            made = place(operations, edit, change.going | change.beneath, context.reads)
        except Unrepresentable as error:
            refused[name] = error.refusal
            continue
        yield Rewrite(
            name,
            change.nodes,
            change.saved,
            change.now,
            change.best,
            lost_bits=change.lost_bits,
            made=tuple(map(name_of, made)),
        )
