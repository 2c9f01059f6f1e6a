"""The times of a bench: each round of each model, and the ratios with the control's beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from onebyone.engines.spread import Interval
from onebyone.engines.timings import Bench, Row
from onebyone.show.html.words import named

__all__ = ["Engine", "Lane", "Odds", "Ratios", "engines"]

_LANE, _TOP = 108.0, 8.0
"""Pixels of a model, and above the first."""
_FAR = 3.0
"""Beyond the upper quartile, in ranges between the quartiles: what lies there is far out."""


@dataclass(frozen=True)
class Lane:
    """One model: a dot for each round, the first at the top; the median and the quartiles."""

    name: str
    y: float
    dots: str
    low: float
    median: float
    high: float
    words: str
    control: bool


@dataclass(frozen=True)
class Odds:
    """A ratio and its interval."""

    name: str
    y: float
    low: float
    median: float
    high: float
    words: str


@dataclass(frozen=True)
class Ratios:
    """All ratios of an engine on one axis, which begins below 1 and ends beyond it."""

    width: float
    height: float
    one: float
    band: tuple[float, float]
    rows: tuple[Odds, ...]
    ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Engine:
    """The models in one engine."""

    name: str
    width: float
    height: float
    lanes: tuple[Lane, ...]
    ticks: tuple[tuple[float, str], ...]
    ratios: Ratios | None
    missing: tuple[str, ...]


def engines(bench: Bench, width: float) -> tuple[Engine, ...]:
    """Each engine of a bench, drawn at a width in pixels."""
    found = groupby(bench.rows, lambda row: (row.engine, row.version))
    return tuple(_engine(f"{name} {version}", list(rows), width) for (name, version), rows in found)


def _engine(name: str, rows: Sequence[Row], width: float) -> Engine:
    timed = [row for row in rows if row.time is not None]
    taken = [sorted(times) for row in timed for times in (row.seconds, row.again) if times]
    axis = _Axis(*_range(taken), 8.0, width - 8.0)
    lanes: list[Lane] = []
    for row in timed:
        lanes.append(_lane(_file(row), row.seconds, axis, len(lanes), False))
        if row.again:
            lanes.append(_lane(f"{_file(row)}, a second copy", row.again, axis, len(lanes), True))
    missing = tuple(f"{_file(row)}: {named(row.reason, 200)}" for row in rows if row.time is None)
    foot = _TOP + _LANE * len(lanes)
    ticks = tuple((axis.at(t), f"{t * 1e3:.4g}") for t in axis.ticks())
    return Engine(name, width, foot + 24, tuple(lanes), ticks, _ratios(timed, width), missing)


def _file(row: Row) -> str:
    return named(row.model.rpartition("/")[2], 40)


def _range(taken: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Of sorted times all but what is far out, which would press the others together."""
    if not taken:
        return 0.0, 1.0
    ends = []
    for times in taken:
        low, high = times[len(times) // 4], times[3 * len(times) // 4]
        ends.append(min(times[-1], high + _FAR * (high - low)))
    first, last = min(times[0] for times in taken), max(ends)
    room = 0.06 * (last - first) or 0.1 * last
    return max(0.0, first - room), last + room


@dataclass(frozen=True)
class _Axis:
    """A linear axis; what lies outside stands at the end."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self) -> list[float]:
        """Four to nine round numbers."""
        span = self.high - self.low
        unit = 10.0 ** len(f"{int(span * 1e9):d}") / 1e9
        step = next(unit * f for f in (0.01, 0.02, 0.05, 0.1, 0.2) if span / (unit * f) <= 7)
        first = int(self.low / step) + 1
        return [step * k for k in range(first, int(self.high / step) + 1)]


def _lane(name: str, seconds: Sequence[float], axis: _Axis, place: int, control: bool) -> Lane:
    top, rounds = _TOP + _LANE * place + 30, len(seconds)
    step = (_LANE - 56) / max(1, rounds - 1)
    dots = "".join(f"M{axis.at(s):g} {top + k * step:.1f}h0" for k, s in enumerate(seconds))
    ordered = sorted(seconds)
    low, median, high = (ordered[int(share * (rounds - 1))] for share in (0.25, 0.5, 0.75))
    ms = [f"{1e3 * value:.4g}" for value in (low, median, high)]
    words = f"{ms[1]} ms, half of {rounds:,} rounds within {ms[0]} to {ms[2]}"
    return Lane(name, top - 14, dots, axis.at(low), axis.at(median), axis.at(high), words, control)


def _ratios(rows: Sequence[Row], width: float) -> Ratios | None:
    compared = [(row, row.ratio) for row in rows if row.ratio is not None]
    control = next((row.control for row in rows if row.control is not None), None)
    if not compared or control is None:
        return None
    ends = [e for i in (control, *(r for _, r in compared)) for e in (i.low, i.high, 1.0)]
    finite = [end for end in ends if 0 < end < 1e6]
    room = 0.08 * (max(finite) - min(finite)) or 0.05
    axis = _Axis(max(0.0, min(finite) - room), max(finite) + room, 8.0, width - 8.0)
    odds = [_odds("first model against its own copy", control, axis, 0, "the control")]
    odds += [
        _odds(_file(row), ratio, axis, k, row.verdict) for k, (row, ratio) in enumerate(compared, 1)
    ]
    ticks = tuple((axis.at(t), f"{t:.3g}×") for t in axis.ticks())
    band = axis.at(1 / control.reach if control.reach < 1e6 else 0.0), axis.at(control.reach)
    return Ratios(width, 44.0 * len(odds) + 32, axis.at(1.0), band, tuple(odds), ticks)


def _odds(name: str, found: Interval, axis: _Axis, place: int, verdict: str) -> Odds:
    words = f"{found.median:.3f}× [{found.low:.3f}, {found.high:.3f}], {verdict}"
    ends = axis.at(found.low), axis.at(found.median), axis.at(found.high)
    return Odds(name, 44.0 * place + 30, *ends, words)
