"""A small graph laid out in layers, from its inputs down: places of boxes, paths of edges.

The layout is Sugiyama's, by `fast_sugiyama`: layers, fewest crossings, straight edges.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from onebyone.optimize.outline import Edge, Operator, Outline
from onebyone.show.html.words import named, shape, short

__all__ = ["Box", "Drawing", "Path", "Port", "drawing"]

WIDE, HIGH = 170, 46
_ACROSS, _DOWN, _PAD = 182, 86, 8
"""From box to box, and around all of them, in pixels."""
_LETTER = 7.6
"""Pixels of a letter of the shapes."""
_NAME = 22
"""Characters of a name in a box, or beside the drawing."""


@dataclass(frozen=True)
class Box:
    """An operator: the place of its upper left corner, what it is, its MACs or else its name."""

    x: float
    y: float
    title: str
    line: str
    macs: bool
    kind: str
    full: str
    stays: bool


@dataclass(frozen=True)
class Port:
    """Where a value comes in or goes out: the middle of its name."""

    x: float
    y: float
    name: str


@dataclass(frozen=True)
class Path:
    """An edge, and at its source the shape of the value, once."""

    d: str
    text: str
    x: float
    y: float


@dataclass(frozen=True)
class Drawing:
    """All of it, in pixels; `said` is what is in it, for who does not see it."""

    width: float
    height: float
    boxes: tuple[Box, ...]
    ports: tuple[Port, ...]
    paths: tuple[Path, ...]
    said: str


Place = tuple[float, float]


def drawing(outline: Outline) -> Drawing:
    """An outline, drawn."""
    count = len(outline.operators)
    names = {edge.value for edge in outline.edges if edge.source is None}
    inside = {name: count + k for k, name in enumerate(sorted(names))}
    outs = dict.fromkeys(e.value for e in outline.edges if e.target is None)
    outside = {name: count + len(inside) + k for k, name in enumerate(outs)}
    ends = [(edge, *_ends(edge, inside, outside)) for edge in outline.edges]
    places, bends = _laid_out(list(dict.fromkeys((a, b) for _, a, b in ends)), count)
    lift = HIGH - 20 if inside and not _starts(places, count) else 0
    places = {k: (x, y - lift) for k, (x, y) in places.items()}
    bends = {edge: [(x, y - lift) for x, y in passed] for edge, passed in bends.items()}
    boxes = tuple(
        _box(operator, places[k]) for k, operator in enumerate(outline.operators) if k in places
    )
    ports = tuple(
        Port(places[k][0] + WIDE / 2, places[k][1] + (HIGH - 8 if k in inside.values() else 12),
             named(name, _NAME))
        for name, k in (*inside.items(), *outside.items())
    )  # fmt: skip
    paths = tuple(_paths(ends, places, bends))
    words = [path.x + _LETTER * len(path.text) for path in paths]
    right = max([*(x + WIDE for x, _ in places.values()), *words], default=0) + _PAD
    foot = max(max((p.y for p in ports), default=0) + 8, max(b.y for b in boxes) + HIGH + _PAD)
    return Drawing(right, foot, boxes, ports, paths, _said(outline))


def _starts(places: dict[int, Place], count: int) -> bool:
    """Whether a box stands in the first row, where else only names of inputs do."""
    return any(k < count and y <= _PAD for k, (_, y) in places.items())


def _ends(edge: Edge, inside: dict[str, int], outside: dict[str, int]) -> tuple[int, int]:
    source = inside[edge.value] if edge.source is None else edge.source
    return source, outside[edge.value] if edge.target is None else edge.target


def _laid_out(
    edges: Sequence[tuple[int, int]], count: int
) -> tuple[dict[int, Place], dict[tuple[int, int], list[Place]]]:
    """The upper left corner of each box, and the points between for edges that pass layers."""
    from fast_sugiyama import from_edges

    places: dict[int, Place] = {}
    bends: dict[tuple[int, int], list[Place]] = {}
    start = 0.0
    for nodes, _, _, segments in from_edges(edges, vertex_spacing=1.0, dummy_vertices=True):
        left, top = min(x for _, (x, _) in nodes), max(y for _, (_, y) in nodes)
        spots = {
            int(n): (_PAD + start + (x - left) * _ACROSS, _PAD + (top - y) * _DOWN)
            for n, (x, y) in nodes
        }
        mine = [edge for edge in edges if edge[0] in spots]
        bends.update(_chains(mine, spots, [(int(a), int(b)) for a, b in segments or ()]))
        real = {n for edge in mine for n in edge}
        places.update((n, spot) for n, spot in spots.items() if n in real)
        start = max(x for x, _ in spots.values()) + _ACROSS - _PAD
    for k in range(count):
        if k not in places:  # an operator that reads nothing and that nobody reads
            places[k] = (_PAD + start, _PAD)
            start += _ACROSS
    return places, bends


def _chains(
    edges: Sequence[tuple[int, int]],
    spots: dict[int, Place],
    segments: Sequence[tuple[int, int]],
) -> dict[tuple[int, int], list[Place]]:
    """Of each edge the places of the points that it passes, which no edge names as its end."""
    real = {n for edge in edges for n in edge}
    after = {a: b for a, b in segments if a not in real}
    chains = {}
    for source, first in segments:
        if source in real:
            passed, at = [], first
            while at not in real:
                passed.append(spots[at])
                at = after[at]
            chains[source, at] = passed
    return chains


def _box(operator: Operator, place: Place) -> Box:
    weight = _weight(operator) if operator.macs else ""
    title = f"{operator.op} {weight}".strip()
    line = f"{short(operator.macs)} MACs" if operator.macs else named(operator.name, _NAME)
    full = f"{named(operator.op)} {named(operator.name, 200)}"
    return Box(
        *place, named(title, 25), line, operator.macs > 0, operator.kind, full, operator.stays
    )


def _weight(operator: Operator) -> str:
    """Channels and kernel of a convolution, else the sizes of the constant."""
    weight = operator.weight or ()
    if operator.op != "Conv" or len(weight) < 3:
        return shape(operator.weight) if weight else ""
    kernel = "×".join(map(str, weight[2:]))
    if operator.kind == "depthwise":
        return f"{kernel} depthwise"
    return f"{kernel}, {weight[1]} → {weight[0]}"


def _paths(
    ends: Sequence[tuple[Edge, int, int]],
    places: dict[int, Place],
    bends: dict[tuple[int, int], list[Place]],
) -> Iterator[Path]:
    told: set[str] = set()
    for edge, a, b in ends:
        (x1, y1), (x2, y2) = places[a], places[b]
        start, end = (x1 + WIDE / 2, y1 + HIGH), (x2 + WIDE / 2, y2)
        points = [start]
        for x, y in bends.get((a, b), ()):
            points += [(x + WIDE / 2, y), (x + WIDE / 2, y + HIGH)]
        points.append(end)
        text = "" if edge.value in told or edge.shape is None else shape(edge.shape)
        told.add(edge.value)
        yield Path(_curve(points), named(text, 26), start[0] + 6, start[1] + 15)


def _curve(points: Sequence[Place]) -> str:
    """Downward at both ends of each piece."""
    path = f"M{points[0][0]:g} {points[0][1]:g}"
    for (x1, y1), (x2, y2) in pairwise(points):
        middle = (y1 + y2) / 2
        path += f"C{x1:g} {middle:g} {x2:g} {middle:g} {x2:g} {y2:g}"
    return path


def _said(outline: Outline) -> str:
    parts = (f"{op.op} {short(op.macs)} MACs" if op.macs else op.op for op in outline.operators)
    return ", ".join(list(parts)[:24]) or "nothing"
