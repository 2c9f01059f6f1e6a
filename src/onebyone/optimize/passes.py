"""The laws that look beyond one linear region, each a pass over the whole graph.

Regions are planned by `search`; these passes move strides, drop or reorder channels, stack and
factor maps where the regions have nothing left to gain, so each finds products as they will be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onebyone.cost.profile import Cost, Profile
from onebyone.graph.count import macs
from onebyone.graph.shapes import Sizes
from onebyone.optimize.channels.prune import prune
from onebyone.optimize.channels.relabel import relabel
from onebyone.optimize.maps.factor import factor_maps
from onebyone.optimize.maps.normalization import fold_normalizations
from onebyone.optimize.maps.stack import stack
from onebyone.optimize.outline import NOTHING, Outline
from onebyone.optimize.positions.crop import crop
from onebyone.verify.pieces.prove import Proof

__all__ = ["FIRST", "PASSES", "Pass", "Rewrite"]


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
        lost_bits: the digits that it can lose (`algebra.digits`), at most.
        made: the names of the nodes that stand in their place, changed ones included; before the
            step is settled, names of other new things too.
        moved: values that are still there, with another meaning that their shapes do not tell.
        left: what the law itself leaves out, as the largest factor ‖y‖/‖x‖ of it.
        proof: what was found of it by itself; None where nobody looked.
        sides: both graphs as they stood, before the step and behind it.
    """

    root: str
    nodes: tuple[str, ...]
    laws: frozenset[str]
    before: Cost
    after: Cost
    saved: dict[str, int]
    note: str = ""
    lost_bits: float = 0.0
    made: tuple[str, ...] = ()
    moved: tuple[ir.Value, ...] = ()
    left: float = 0.0
    proof: Proof | None = None
    sides: tuple[Outline, Outline] = (NOTHING, NOTHING)


@dataclass(frozen=True)
class Pass:
    """A law and the function that carries it out, in place, telling what it did.

    `run` is given the model, its sizes, the machine and the bits that a rewrite may lose.
    """

    law: str
    run: Callable[[ir.Model, Sizes, Profile, float], Iterator[Rewrite]]


def _fold(model: ir.Model, _sizes: Sizes, _profile: Profile, limit: float) -> Iterator[Rewrite]:
    for found in fold_normalizations(model.graph, limit):
        laws, saved, lost = frozenset({"affine"}), {"affine": 0}, found.lost_bits
        yield Rewrite(
            found.root,
            found.nodes,
            laws,
            Cost(),
            Cost(),
            saved,
            lost_bits=lost,
            moved=found.moved,
            made=found.nodes,
        )


def _prune(model: ir.Model, sizes: Sizes, profile: Profile, _limit: float) -> Iterator[Rewrite]:
    before = macs(model.graph, sizes)
    found = list(prune(model.graph, model.opset_imports[""], profile.channels))
    if found:
        after = macs(model.graph, sizes)
        nodes = tuple(sorted(pruned.node for pruned in found))
        costs, saved = (Cost(0, before), Cost(0, after)), {"prune": before - after}
        spare = sum(pruned.spare for pruned in found)
        note = (
            f"{spare} dead channels stay to fill up multiples of {profile.channels}: "
            'a profile of {"channels": 1} takes them out'
        )
        laws = frozenset({"prune"})
        moved = tuple(sorted(found[0].idle, key=lambda value: value.name or ""))
        note = note if spare else ""
        yield Rewrite(nodes[0], nodes, laws, *costs, saved, note, made=nodes, moved=moved)


def _permute(model: ir.Model, sizes: Sizes, profile: Profile, _limit: float) -> Iterator[Rewrite]:
    for found in relabel(model.graph, sizes, profile):
        laws, saved = frozenset({"permute"}), {"permute": found.saved}
        costs = found.before, found.after
        yield Rewrite(
            found.nodes[0],
            found.nodes,
            laws,
            *costs,
            saved,
            made=found.made,
            moved=found.moved,
        )


def _stack(model: ir.Model, sizes: Sizes, profile: Profile, _limit: float) -> Iterator[Rewrite]:
    for found in stack(model.graph, sizes, profile):
        laws, costs = frozenset({"stack"}), (found.before, found.after)
        yield Rewrite(found.root, found.nodes, laws, *costs, {"stack": 0}, made=found.made)


def _rank(model: ir.Model, sizes: Sizes, profile: Profile, limit: float) -> Iterator[Rewrite]:
    for found in factor_maps(model.graph, sizes, profile, limit):
        laws, nodes = frozenset({"rank"}), (found.node,)
        before, after = Cost(0, found.macs), Cost(0, found.macs_left)
        saved = {"rank": found.macs - found.macs_left}
        yield Rewrite(
            found.node,
            nodes,
            laws,
            before,
            after,
            saved,
            found.note,
            found.lost_bits,
            made=(*found.made, found.node),
            left=found.left,
        )


def _demand(model: ir.Model, sizes: Sizes, profile: Profile, _limit: float) -> Iterator[Rewrite]:
    for found in crop(model.graph, sizes, profile):
        laws, saved = frozenset({"demand"}), {"demand": found.before.macs - found.after.macs}
        made, costs = (*found.made, *found.nodes), (found.before, found.after)
        yield Rewrite(found.root, found.nodes, laws, *costs, saved, made=made)


FIRST = (Pass("affine", _fold), Pass("prune", _prune))
"""Run once, before the regions: what they leave makes regions smaller."""

PASSES = (
    Pass("demand", _demand),
    Pass("prune", _prune),
    Pass("permute", _permute),
    Pass("stack", _stack),
    Pass("rank", _rank),
    Pass("affine", _fold),
)
"""Run in this order, each where all before it have nothing left to do.

The last finds what it did not find at first: a layer without a bias got one by being stacked."""
