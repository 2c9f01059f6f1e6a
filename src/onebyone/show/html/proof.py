"""The proof: errors beside their bounds, the used shares of the bounds, the inputs asked on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite

from onebyone.show.html.scale import log_over
from onebyone.show.html.words import named, of_bound, percent, shape
from onebyone.verify.certificate import (
    SHARES,
    Certificate,
    OutputCheck,
    Trial,
    severity,
)

__all__ = ["Asked", "Bar", "Chart", "Histogram", "Line", "Proof", "chart", "histogram", "proof"]

_OUTPUTS = 16
"""Outputs in the chart: those that came nearest to their bound."""
_ROW, _TOP = 44, 26
"""Pixels of an output in the chart, and above the first."""
_FAR = 1e-12
"""Errors that are smaller, beside the largest number, stand at the left end."""


@dataclass(frozen=True)
class Line:
    """One output: on each input its error and its bound, as dots and ticks; the hardest joined.

    Inputs that look for trouble have bounds of another kind, and a line of their own.
    """

    name: str
    y: float
    errors: str
    bounds: str
    start: float
    end: float
    words: str
    failed: bool


@dataclass(frozen=True)
class Chart:
    """Errors and bounds on one logarithmic axis."""

    width: float
    height: float
    ticks: tuple[tuple[float, str], ...]
    lines: tuple[Line, ...]
    left: int


@dataclass(frozen=True)
class Bar:
    """Elements that use so much of their bound."""

    x: float
    width: float
    y: float
    height: float
    label: str
    share: str
    over: bool


@dataclass(frozen=True)
class Histogram:
    """Of all elements of all outputs on all inputs."""

    width: float
    height: float
    foot: float
    bars: tuple[Bar, ...]
    elements: str


@dataclass(frozen=True)
class Asked:
    """An input: what kind, its sizes, what was found, the largest share of a bound."""

    kind: str
    sizes: str
    reference: str
    found: str
    used: str


@dataclass(frozen=True)
class Proof:
    """Everything but the two drawings, which come in two widths."""

    certificate: Certificate
    asked: tuple[Asked, ...]
    unproved: tuple[str, ...]
    skipped: tuple[str, ...]
    constants: tuple[str, ...]
    alone: tuple[str, ...]


def proof(certificate: Certificate) -> Proof:
    """What was found, in words."""
    alone = certificate.alone
    told = () if alone is None else (str(alone), *alone.failed, *alone.unproved)
    trials = (*certificate.trials, *certificate.trouble)
    return Proof(
        certificate,
        tuple(map(_asked, trials)),
        tuple(named(reason, 300) for reason in certificate.unproved),
        tuple(named(reason, 300) for reason in certificate.skipped),
        tuple(named(name, 80) for name in certificate.constants),
        tuple(named(line, 300) for line in told),
    )


def _asked(trial: Trial) -> Asked:
    sizes = ", ".join(f"{named(name, 24)} {shape(s)}" for name, s in [*trial.shapes.items()][:6])
    hardest = max(trial.outputs, key=severity, default=None)
    used = "" if hardest is None else of_bound(hardest.used)
    if trial.passed:
        found = "equal"
    else:
        found = "not told" if hardest is not None and hardest.undecided else "DIFFERS"
    return Asked(trial.kind, sizes, named(trial.reference, 120), found, used)


def chart(certificate: Certificate, width: float) -> Chart | None:
    """Errors beside bounds at a width in pixels; None where there is no bound."""
    checks: dict[tuple[str, bool], list[OutputCheck]] = {}
    asked = [(trial, False) for trial in certificate.trials]
    asked += [(trial, True) for trial in certificate.trouble]
    for trial, trouble in asked:
        for check in trial.outputs:
            if check.bound > 0 and isfinite(check.max_abs_error):
                checks.setdefault((check.name, trouble), []).append(check)
    if not checks:
        return None
    worst = {key: max(c.used for c in found) for key, found in checks.items()}
    ordered = sorted(checks, key=lambda key: (key[1], -worst[key]))
    shown = ordered[:_OUTPUTS]
    numbers = [n for key in shown for c in checks[key] for n in (c.max_abs_error, c.bound)]
    far = max(numbers) * _FAR
    axis = log_over((n for n in numbers if n >= far), 8.0, width - 8.0, 2.0)
    lines = tuple(
        _line(checks[key], key[1], _TOP + _ROW * k + 6, axis.at) for k, key in enumerate(shown)
    )
    foot = _ROW * len(shown) + 8
    ticks = tuple((t.at, f"{t.value:.0e}") for t in axis.ticks(7 if width > 600 else 4))
    return Chart(width, foot + 22, ticks, lines, len(ordered) - len(shown))


def _line(
    checks: Sequence[OutputCheck], trouble: bool, y: float, at: Callable[[float], float]
) -> Line:
    hardest = max(checks, key=lambda check: check.used)
    errors = "".join(f"M{at(c.max_abs_error):g} {y:g}h0" for c in checks)
    bounds = "".join(f"M{at(c.bound):g} {y - 6:g}v12" for c in checks)
    words = f"{of_bound(hardest.used)} of a bound" if isfinite(hardest.used) else "fails"
    name = named(hardest.name, 24) + (", looking for trouble" if trouble else "")
    ends = at(hardest.max_abs_error), at(hardest.bound)
    failed = any(not check.passed for check in checks)
    return Line(name, y, errors, bounds, *ends, words, failed)


def histogram(certificate: Certificate, width: float) -> Histogram | None:
    """The used shares at a width in pixels; None where no element was compared by its distance."""
    counts = [0] * (len(SHARES) + 2)
    for trial in (*certificate.trials, *certificate.trouble):
        for check in trial.outputs:
            for k, count in enumerate(check.shares):
                counts[k] += count
    total = sum(counts)
    if not total:
        return None
    high, foot = 96.0, 122.0
    step, most = width / len(counts), max(counts)
    bars = tuple(_bars(counts, total, most, step, high, foot))
    return Histogram(width, foot + 24, foot, bars, f"{total:,}")


def _bars(
    counts: Sequence[int], total: int, most: int, step: float, high: float, foot: float
) -> Iterator[Bar]:
    for k, (count, label) in enumerate(zip(counts, _LABELS, strict=True)):
        tall = round(max(high * count / most, 2.0 if count else 0.0), 1)
        share = percent(count, total)
        share = "" if not count else share if share != "0.0%" else "<0.1%"
        over = k == len(counts) - 1
        yield Bar(round(k * step + 2, 1), round(step - 4, 1), foot - tall, tall, label, share, over)


_LABELS = ("none", *(f"1/{round(1 / share):,}" for share in SHARES[:-1]), "all", "over")
