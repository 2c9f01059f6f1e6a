"""The rewritten regions: what each was and what it is, drawn; those that look the same, once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from onebyone.algebra.laws import LAWS, Law
from onebyone.optimize.outline import Outline
from onebyone.optimize.report import Region
from onebyone.show.html.layered import Drawing, drawing
from onebyone.show.html.words import many, named, percent, short

__all__ = ["Group", "Picture", "Regions", "regions"]

_DRAWN = 64
"""Operators of a graph that a page can show; of a larger one they are counted."""
_OPEN, _SHOWN = 6, 40
"""Kinds of regions that are unfolded, and that are drawn at all."""
_COLUMN, _ROOM, _WORDS = 736, 864, 300
"""Pixels for two graphs in the column, and on a wide screen, and of one that is told in words."""
_ROOTS = 12
"""Regions of a kind that are named."""


@dataclass(frozen=True)
class Picture:
    """One of the two graphs: drawn, or where it is too large for that, in words."""

    drawing: Drawing | None
    words: str
    macs: str


@dataclass(frozen=True)
class Group:
    """Regions that look the same.

    Args:
        title: what it is, and how many.
        laws: at work.
        before, after: the first of them.
        saved: MACs, of all of them, in words.
        layout: "pair", "broad" where two graphs beside each other need more than the column, or
            "stack" where they have no room there.
        roots: names of the values that they compute.
        more: how many are not named.
    """

    title: str
    laws: tuple[Law, ...]
    before: Picture
    after: Picture
    saved: str
    layout: str
    roots: tuple[str, ...]
    more: int


@dataclass(frozen=True)
class Regions:
    """The kinds of regions, those that save most first; some folded away, some only counted."""

    open: tuple[Group, ...]
    folded: tuple[Group, ...]
    left: int


def regions(found: Sequence[Region]) -> Regions:
    """All regions of a report."""
    kinds: dict[Hashable, list[Region]] = {}
    for region in found:
        kinds.setdefault(_look(region), []).append(region)
    ordered = sorted(kinds.values(), key=lambda rs: (-sum(r.saved_macs for r in rs), -len(rs)))
    groups = [_group(group) for group in ordered[:_SHOWN]]
    left = sum(map(len, ordered[_SHOWN:]))
    return Regions(tuple(groups[:_OPEN]), tuple(groups[_OPEN:]), left)


def _look(region: Region) -> Hashable:
    """What regions that are drawn the same have in common: all but names."""
    return region.laws, _form(region.before), _form(region.after)


def _form(outline: Outline) -> Hashable:
    values = {edge.value: k for k, edge in reversed(list(enumerate(outline.edges)))}
    operators = tuple((o.op, o.kind, o.macs, o.weight, o.stays) for o in outline.operators)
    edges = tuple((values[e.value], e.source, e.target, e.shape) for e in outline.edges)
    return operators, edges


def _group(same: Sequence[Region]) -> Group:
    first, saved = same[0], sum(region.saved_macs for region in same)
    old, new = first.before.macs, first.after.macs
    whose = "its" if len(same) == 1 else "their"
    less = f"{percent(old - new, old)} of {whose} MACs" if 0 < new < old else ""
    told = f"saves {short(saved)} MACs" if saved > 0 else "saves no MACs"
    names = " · ".join(first.laws)
    title = names if len(same) == 1 else f"{names}, {many(len(same), 'region')} like this"
    pictures = _picture(first.before), _picture(first.after)
    return Group(
        title,
        tuple(LAWS[law] for law in first.laws),
        *pictures,
        ", ".join(filter(None, (told, less))),
        _layout(sum(p.drawing.width if p.drawing else _WORDS for p in pictures)),
        tuple(named(region.root, 80) for region in same[:_ROOTS]),
        max(0, len(same) - _ROOTS),
    )


def _layout(width: float) -> str:
    return "pair" if width <= _COLUMN else "broad" if width <= _ROOM else "stack"


def _picture(outline: Outline) -> Picture:
    macs = f"{short(outline.macs)} MACs" if outline.macs else "no MACs"
    if not outline.operators:
        return Picture(None, "nothing", macs)
    if len(outline.operators) <= _DRAWN:
        return Picture(drawing(outline), "", macs)
    counted = Counter(operator.op for operator in outline.operators).most_common()
    words = ", ".join(f"{count:,} {op}" for op, count in counted[:_DRAWN])
    return Picture(None, f"{many(len(outline.operators), 'node')}, too many to draw: {words}", macs)
