"""The network as a bar: its layers side by side, as high as the square root of their MACs.

Beside a layer that has nearly all of them, others could not be seen at their true height; the bar
of the kinds, which stands by it, has true lengths.
What it was stands above what it is, head to foot, so that the layers that changed can be joined.
Widths are in thousandths of the drawing's, heights in pixels: a page stretches it sideways.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from onebyone.counting.formulas import KINDS
from onebyone.counting.value import Count, LayerCount
from onebyone.show.html.changes import Change
from onebyone.show.html.words import percent, short

__all__ = ["Bars", "Part", "Ribbon", "Strip", "strip"]

_HIGH, _GAP, _STUB, _LEAST = 120, 64, 2, 44
"""Pixels of the highest bar, between the rows, of a layer without MACs, and of the lower row."""
_WIDE = 1000.0


@dataclass(frozen=True)
class Part:
    """The layers of one kind: their bars as one path, and their share of the MACs."""

    kind: str
    path: str
    share: str
    macs: str
    start: float
    width: float


@dataclass(frozen=True)
class Bars:
    """One model: a row of bars upon (or, where `down`, hung from) a line at the height `base`."""

    side: str
    base: int
    down: bool
    layers: int
    parts: tuple[Part, ...]
    macs: str
    unit: float


@dataclass(frozen=True)
class Ribbon:
    """Layers that became others; `saves` where these have fewer MACs."""

    path: str
    saves: bool


@dataclass(frozen=True)
class Strip:
    """The whole drawing: `height` in pixels, the MACs of the highest bar in words."""

    rows: tuple[Bars, ...]
    ribbons: tuple[Ribbon, ...]
    height: int
    highest: str


def strip(before: Count | None, after: Count, links: Sequence[Change] = ()) -> Strip:
    """Of one model, or of a model and what became of it."""
    counts = [after] if before is None else [before, after]
    top = max((layer.macs for count in counts for layer in count.layers), default=0) or 1
    unit = _WIDE / max(1, *(len(count.layers) for count in counts))
    if before is None:
        rows = [_row("", after, _HIGH, False, top, unit)]
    else:
        rows = [
            _row("before", before, _HIGH, False, top, unit),
            _row("after", after, _HIGH + _GAP, True, top, unit),
        ]
    hung = (
        0 if before is None else _tall(max((layer.macs for layer in after.layers), default=0), top)
    )
    height = _HIGH if before is None else _HIGH + _GAP + max(_LEAST, round(hung))
    ribbons = tuple(_ribbon(change, unit) for change in links if change.after)
    return Strip(tuple(rows), ribbons, height, short(top))


def _row(side: str, count: Count, base: int, down: bool, top: int, unit: float) -> Bars:
    parts, start = [], 0.0
    for kind in KINDS:
        mine = [(k, layer) for k, layer in enumerate(count.layers) if layer.kind == kind]
        macs = sum(layer.macs for _, layer in mine)
        width = 100 * macs / count.macs if count.macs else 0.0
        path = "".join(_bar(k, layer, base, down, top, unit) for k, layer in mine)
        if mine:
            share = percent(macs, count.macs)
            parts.append(Part(kind, path, share, short(macs), round(start, 3), round(width, 3)))
        start += width
    return Bars(side, base, down, len(count.layers), tuple(parts), short(count.macs), unit)


def _bar(place: int, layer: LayerCount, base: int, down: bool, top: int, unit: float) -> str:
    high = _tall(layer.macs, top)
    x, width = round(place * unit, 2), round(unit * (0.86 if unit > 3 else 1), 2)
    return f"M{x:g} {base}v{high if down else -high:g}h{width:g}V{base}z"


def _tall(macs: int, top: int) -> float:
    return round(max(_STUB, _HIGH * sqrt(macs / top)), 1)


def _ribbon(change: Change, unit: float) -> Ribbon:
    top, foot = _HIGH + 1, _HIGH + _GAP - 1
    middle = (top + foot) / 2
    a, b = change.before[0] * unit, (change.before[-1] + 1) * unit
    c, d = change.after[0] * unit, (change.after[-1] + 1) * unit
    path = (
        f"M{a:.2f} {top}C{a:.2f} {middle} {c:.2f} {middle} {c:.2f} {foot}"
        f"H{d:.2f}C{d:.2f} {middle} {b:.2f} {middle} {b:.2f} {top}z"
    )
    return Ribbon(path, change.saved > 0)
