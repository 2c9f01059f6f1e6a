"""Where a network looks: its maps in rows, and how the receptive field grows from layer to layer.

Each layer of windows is a point, as high as its receptive field along an axis, on a logarithmic
scale; the line joins the largest so far. Axes that grow alike are drawn once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from onebyone.algebra.geometry import Axis
from onebyone.graph.receptive import ModelGeometry, Place
from onebyone.show.html.scale import Log, log_over

__all__ = ["Growth", "Line", "Looks", "Row", "growth", "looks"]

_LEFT, _RIGHT, _TOP, _FOOT = 44.0, 20.0, 22.0, 34.0
_HIGH, _TALL = 230, 18
_SIDES = ("first", "second", "third")


@dataclass(frozen=True)
class Row:
    """A map along one axis, in words."""

    name: str
    axis: str
    stride: str
    field: str
    padding: str
    offset: str
    period: str


@dataclass(frozen=True)
class Line:
    """How the receptive field grows along some axes: `path` of the largest so far, `dots` of each
    layer; `label` at the height `y`."""

    side: str
    path: str
    dots: str
    label: str
    y: float


@dataclass(frozen=True)
class Growth:
    """The drawing, in pixels."""

    width: float
    height: int
    up: tuple[tuple[float, str], ...]
    lines: tuple[Line, ...]
    layers: int


@dataclass(frozen=True)
class Looks:
    """What the block says: the rows, and why tiles or crops are not exact; or only why nothing."""

    rows: tuple[Row, ...]
    exact: str
    reasons: tuple[str, ...]


def looks(found: ModelGeometry | str) -> Looks:
    """The words; of a network without a geometry the reason alone."""
    if isinstance(found, str) or not found.maps:
        why = found if isinstance(found, str) else found.summary
        return Looks((), f"Nothing is drawn: {why}.", ())
    rows = [
        _row(place, name, axis)
        for place in found.maps
        for name, axis in zip(found.names, place.axes, strict=True)
        if axis is not None
    ]
    return Looks(tuple(rows), _exact(found), found.reasons)


def _exact(found: ModelGeometry) -> str:
    if not found.tiles:
        return (
            "Tiles of an image give other maps than the whole image, because of what looks at all "
            "of it."
        )
    if found.crops:
        return (
            "The network never pads: tiles give what the whole image gives, and each position is "
            "what the network gives on the crop that it sees."
        )
    return (
        "Tiles give what the whole image gives. Positions at the ends see padding; a crop sees it "
        "where the map sees its neighbours."
    )


def _row(place: Place, name: str, axis: Axis) -> Row:
    start, end = axis.border
    seen = axis.receptive_field
    return Row(
        place.name,
        name,
        str(axis.step),
        "whole image" if place.whole or seen is None else f"{seen:,}",
        f"{start} and {end}",
        str(axis.offset),
        str(axis.period),
    )


def growth(found: ModelGeometry | str, width: float) -> Growth | None:
    """The drawing, so wide; None where fewer than two layers look anywhere."""
    if isinstance(found, str) or not found.maps:
        return None
    grown: dict[tuple[int, ...], list[str]] = {}
    for k, name in enumerate(found.names):
        fields = tuple(_field(place.axes[k]) for place in found.layers)
        if sum(n > 0 for n in fields) > 1:
            grown.setdefault(fields, []).append(name)
    if not grown:
        return None
    scale = log_over([n for fields in grown for n in fields if n], _HIGH - _FOOT, _TOP)
    lines = [
        _line(fields, side, " and ".join(names), scale, width)
        for side, (fields, names) in zip(_SIDES, grown.items(), strict=False)
    ]
    ticks = tuple((tick.at, f"{tick.value:,.0f}") for tick in scale.ticks(9) if tick.value >= 1)
    return Growth(width, _HIGH, ticks, _apart(lines), len(found.layers))


def _apart(lines: Sequence[Line]) -> tuple[Line, ...]:
    """With labels that do not cover each other."""
    found = list[Line]()
    for line in sorted(lines, key=lambda line: line.y):
        lowest = found[-1].y + _TALL if found else line.y
        found.append(replace(line, y=max(line.y, lowest)))
    return tuple(found)


def _field(axis: Axis | None) -> int:
    """The receptive field; 0 where there is none, or all of the image."""
    return 0 if axis is None else axis.receptive_field or 0


def _line(fields: Sequence[int], side: str, names: str, scale: Log, width: float) -> Line:
    step = (width - _LEFT - _RIGHT) / max(1, len(fields) - 1)
    across = [round(_LEFT + k * step, 1) for k in range(len(fields))]
    largest = list(accumulate(fields, max))
    known = [(x, n) for x, n in zip(across, largest, strict=True) if n]
    path = f"M{known[0][0]:g} {scale.at(known[0][1]):g}"
    path += "".join(f"H{x:g}V{scale.at(n):g}" for x, n in known[1:])
    dots = "".join(f"M{x:g} {scale.at(n):g}h0" for x, n in zip(across, fields, strict=True) if n)
    return Line(side, path, dots, f"{names}: {largest[-1]:,} pixels", scale.at(largest[-1]) - 9)
