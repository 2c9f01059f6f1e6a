"""Which layers of the original became which of the result.

Rewrites follow each other: what one made, the next may replace. A node that a rewrite changes in
place comes from itself; one that it makes comes from all that it took away, or, where it took
nothing away, from all that it changed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from onebyone.optimize.report import Region, Report

__all__ = ["Change", "changes"]


@dataclass(frozen=True)
class Change:
    """Layers that became others.

    Args:
        before, after: their places among the layers of the two counts.
        saved: MACs of the first less those of the second.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    saved: int


def changes(report: Report) -> tuple[Change, ...]:
    """One for each group of layers that hang together, where anything of them changed."""
    origins = _origins(report.regions)
    old, new = report.before.count.layers, report.after.count.layers
    places = {layer.name: k for k, layer in enumerate(old)}
    touched = {operator.name for r in report.regions for operator in r.before.operators}
    groups: list[tuple[set[int], set[int]]] = []
    made_from = set()
    for k, layer in enumerate(new):
        if layer.name in origins:
            found = {places[name] for name in origins[layer.name] if name in places}
            made_from |= found
            groups.append((found, {k}))
    names = {layer.name for layer in new}
    gone = [places[n] for n in places if n in touched and n not in names]
    groups += [({k}, set()) for k in gone if k not in made_from]
    joined = (_change(report, *pair) for pair in _joined(groups))
    return tuple(change for change in joined if change is not None)


def _origins(regions: Iterable[Region]) -> dict[str, frozenset[str]]:
    """Each node that a rewrite touched -> the nodes of the original that it comes from."""
    origins: dict[str, frozenset[str]] = {}
    for region in regions:
        old = [operator.name for operator in region.before.operators]
        new = [operator.name for operator in region.after.operators]
        known = {name: origins.get(name, frozenset({name})) for name in old}
        gone = [name for name in old if name not in new] or old
        above = frozenset[str]().union(*(known[name] for name in gone))
        for name in new:
            origins[name] = known.get(name, above)
    return origins


def _joined(groups: Iterable[tuple[set[int], set[int]]]) -> list[tuple[set[int], set[int]]]:
    """Groups that share a layer of the original are one."""
    joined: list[tuple[set[int], set[int]]] = []
    owner: dict[int, tuple[set[int], set[int]]] = {}
    for old, new in groups:
        mine = (set(old), set(new))
        for other in {id(owner[k]): owner[k] for k in old if k in owner}.values():
            mine = (mine[0] | other[0], mine[1] | other[1])
            joined.remove(other)
        joined.append(mine)
        owner.update(dict.fromkeys(mine[0], mine))
    return joined


def _change(report: Report, old: set[int], new: set[int]) -> Change | None:
    before = [report.before.count.layers[k] for k in sorted(old)]
    after = [report.after.count.layers[k] for k in sorted(new)]
    if not before or before == after:
        return None
    saved = sum(layer.macs for layer in before) - sum(layer.macs for layer in after)
    return Change(tuple(sorted(old)), tuple(sorted(new)), saved)
