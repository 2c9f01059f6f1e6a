"""The roofline: what layers reach on a machine, by its model, against what limits them.

    rate = MACs / time,   time = overhead + max(MACs / peak, bytes / bandwidth)

One point a layer, at its MACs for each byte moved; an arrow from each layer that changed to what it
became.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import hypot

from onebyone.cost.profile import Profile
from onebyone.counting.value import LayerCount
from onebyone.show.html.changes import Change
from onebyone.show.html.scale import Log, Tick, log_over
from onebyone.show.html.words import named, short

__all__ = ["Arrow", "Label", "Roofline", "Spot", "reached", "roofline"]

_LEFT, _TOP, _FOOT = 8.0, 12.0, 44.0
_RADIUS, _SAG = 6.0, 48.0
"""Pixels of a point, and by how much an arrow hangs through."""
_UNDER = 18.0
"""Pixels from the middle of the slope down to its words."""
_LABELS = 4
"""Layers that are named in the drawing: those that take most of the time."""
_ARROWS = 12
"""Of more changes those are drawn that save most."""


@dataclass(frozen=True)
class Spot:
    """A layer: MACs for a byte, MACs a second, seconds by the model."""

    name: str
    kind: str
    intensity: float
    rate: float
    seconds: float


@dataclass(frozen=True)
class Label:
    """Words at a place, on its left or its right, and how high the line from there begins."""

    x: float
    y: float
    text: str
    left: bool
    start: float


@dataclass(frozen=True)
class Arrow:
    """From one place to another."""

    x1: float
    y1: float
    x2: float
    y2: float

    @property
    def bend(self) -> str:
        """Where a curve that hangs through is drawn to."""
        return f"{(self.x1 + self.x2) / 2:.1f} {max(self.y1, self.y2) + _SAG:.1f}"


@dataclass(frozen=True)
class Roofline:
    """The drawing: points as paths of dots, ceilings, ticks of both axes, words.

    `under` is where the words of the slope stand.
    """

    width: float
    height: float
    old: str
    pointwise: str
    others: str
    arrows: tuple[Arrow, ...]
    slope: Arrow
    flat: Arrow
    under: float
    peak: str
    bandwidth: str
    across: tuple[tuple[float, str], ...]
    up: tuple[tuple[float, str], ...]
    labels: tuple[Label, ...]


def reached(layers: Sequence[LayerCount], profile: Profile) -> tuple[Spot | None, ...]:
    """Where each layer stands; None for one without MACs, or of unknown traffic."""
    return tuple(_spot(layer, profile) for layer in layers)


def _spot(layer: LayerCount, profile: Profile) -> Spot | None:
    moved = None if layer.activation_bytes is None else layer.activation_bytes + layer.weight_bytes
    if not layer.macs or not moved:
        return None
    seconds = profile.time(layer.macs, moved / 4) / 1e12
    return Spot(layer.name, layer.kind, layer.macs / moved, layer.macs / seconds, seconds)


def roofline(
    old: Sequence[Spot | None],
    new: Sequence[Spot | None],
    links: Sequence[Change],
    profile: Profile,
    width: float,
) -> Roofline | None:
    """The drawing at a width in pixels; None where no layer has MACs."""
    spots = [spot for spot in (*old, *new) if spot is not None]
    if not spots:
        return None
    height = min(460.0, 0.75 * width + 60)
    ridge = profile.peak / profile.bandwidth
    x = log_over([*(s.intensity for s in spots), ridge], _LEFT, width - _LEFT)
    rates = [*(s.rate for s in spots), profile.peak, profile.peak / 8]
    y = log_over(rates, height - _FOOT, _TOP, 2.0)
    changed = {k for link in links for k in link.before} if links else set()
    moved = [old[k] for k in sorted(changed) if k < len(old)]
    now = [spot for spot in new if spot is not None]
    edge = Arrow(x.at(x.low), y.at(x.low * profile.bandwidth), x.at(ridge), y.at(profile.peak))
    slope = _clipped(edge, x, y, profile)
    under = (slope.y1 + slope.y2) / 2 + _UNDER
    return Roofline(
        width,
        height,
        _dots(filter(None, moved), x, y),
        _dots((s for s in now if s.kind == "pointwise"), x, y),
        _dots((s for s in now if s.kind != "pointwise"), x, y),
        tuple(_arrows(old, new, links, x, y)),
        slope,
        Arrow(x.at(ridge), y.at(profile.peak), x.end, y.at(profile.peak)),
        under,
        f"{short(profile.peak)}MAC/s in products",
        f"{short(profile.bandwidth, 'B/s')} of memory",
        _ticks(x.ticks(8 if width > 600 else 4)),
        _ticks(y.ticks(5)),
        tuple(_labels(now, x, y, (width, height), _SAG if links else 0, under + 20)),
    )


def _clipped(edge: Arrow, x: Log, y: Log, profile: Profile) -> Arrow:
    """The slope from where it enters the drawing."""
    start = max(x.low, y.low / profile.bandwidth)
    return Arrow(x.at(start), y.at(start * profile.bandwidth), edge.x2, edge.y2)


def _dots(spots: Iterator[Spot] | Sequence[Spot], x: Log, y: Log) -> str:
    places = dict.fromkeys((x.at(s.intensity), y.at(s.rate)) for s in spots)
    return "".join(f"M{a:.1f} {b:.1f}h0" for a, b in places)


def _ticks(ticks: tuple[Tick, ...]) -> tuple[tuple[float, str], ...]:
    return tuple((tick.at, _scaled(tick.value)) for tick in ticks)


def _scaled(value: float) -> str:
    return f"{value:g}" if value < 1 else short(value)


def _arrows(
    old: Sequence[Spot | None],
    new: Sequence[Spot | None],
    links: Sequence[Change],
    x: Log,
    y: Log,
) -> Iterator[Arrow]:
    """From the dearest layer that went to the dearest that came, where they stand apart."""
    for link in sorted(links, key=lambda link: -link.saved)[:_ARROWS]:
        ends = [
            max(filter(None, (side[k] for k in places)), key=lambda s: s.seconds, default=None)
            for side, places in ((old, link.before), (new, link.after))
        ]
        if ends[0] is not None and ends[1] is not None:
            (x1, y1), (x2, y2) = ((x.at(s.intensity), y.at(s.rate)) for s in ends if s is not None)
            if hypot(x2 - x1, y2 - y1) > 3 * _RADIUS:
                yield Arrow(x1, y1 + _RADIUS, x2, y2 + _RADIUS)


def _labels(
    spots: Sequence[Spot], x: Log, y: Log, size: tuple[float, float], sag: float, least: float
) -> Iterator[Label]:
    """Names of the dearest layers, each under its point, and no line through another's words.

    None stands above `least`, where the slope has its own.
    """
    width, height = size
    most = 34 if width > 600 else 18
    dearest = sorted(spots, key=lambda s: -s.seconds)[:_LABELS]
    placed = [(x.at(spot.intensity), y.at(spot.rate), spot) for spot in dearest]
    left = sorted((p for p in placed if p[0] <= width / 2), key=lambda p: -p[0])
    right = sorted((p for p in placed if p[0] > width / 2), key=lambda p: p[0])
    lowest = height - _FOOT - 20 * len(placed)
    line = min(max(least, *(p[1] + 40 + sag / 2 for p in placed)), lowest)
    for at, high, spot in (*left, *right):
        text = f"{named(spot.name, most)}, {short(spot.seconds, 's')}"
        yield Label(at, line, text, at > width / 2, high + _RADIUS)
        line += 20
