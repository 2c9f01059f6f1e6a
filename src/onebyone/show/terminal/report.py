"""A report for people: the verdict in three lines, then what was done, and what was not.

gained  what became less
cost    what became more, and the digits that a fold can lose
proof   whether the two were seen to compute the same
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Group
from rich.text import Text

from onebyone.algebra.laws import LAWS
from onebyone.optimize.verdict import cost, gained, proof
from onebyone.show.terminal.table import Columns

if TYPE_CHECKING:
    from rich.console import RenderableType

    from onebyone.optimize.report import AppliedLaw, Report

__all__ = ["view"]

_SHOWN = 10
"""Rows of a table before it refers to --json."""
_TOTALS = {
    "macs": "MACs",
    "pointwise_macs": "of them pointwise",
    "parameters": "parameters",
    "nodes": "nodes",
    "weight_bytes": "weight bytes",
    "activation_bytes": "activation bytes",
    "modelled_seconds": "modelled time (s)",
}


def view(report: Report) -> RenderableType:
    """The whole report."""
    parts: list[RenderableType] = [Text(line) for line in _verdict(report)]
    if not report.unchanged:
        parts.append(_totals(report))
    if report.laws:
        parts += [_laws(report), _regions(report)]
    else:
        parts.append(Text(_without_laws(report)))
    if report.refusals:
        parts.append(_refusals(report))
    if report.certificate is not None:
        parts.append(report.certificate)
    return Group(*parts)


# The verdict --------------------------------------------------------------------------------------


def _verdict(report: Report) -> Iterator[str]:
    told = report.before.count.told
    if told:
        yield told
    yield f"gained  {gained(report)}"
    yield f"cost    {cost(report)}"
    yield f"proof   {proof(report)}"
    yield ""
    yield _sizes(report)


# The details --------------------------------------------------------------------------------------


def _totals(report: Report) -> RenderableType:
    before, after = report.before.to_dict(), report.after.to_dict()
    rows = []
    for key, shown in _TOTALS.items():
        old, new = before[key], after[key]
        # The tenths that are shown, plus 0.0: a loss that rounds to none has no sign.
        saved = f"{round(1 - new / old, 3) + 0.0:.1%}" if old else ""
        rows.append((shown, _number(old), _number(new), saved))
    title = "before and after  (1 MAC = 2 FLOPs)"
    return Columns(title, ("", "before", "after", "saved"), rows, names=(), words=(0,), kept=3)


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _sizes(report: Report) -> str:
    """What was counted: a model with open sizes has other numbers at others."""
    inputs = report.before.count.inputs
    told = [f"{name} {'×'.join(map(str, shape)) or 'scalar'}" for name, shape in inputs[:_SHOWN]]
    return f"at {', '.join(told)}{', …' if len(inputs) > _SHOWN else ''}" if told else ""


def _without_laws(report: Report) -> str:
    text, fewer = "No law applies where it would pay.", report.before.nodes - report.after.nodes
    if fewer > 0:
        text += f" {fewer:,} nodes are gone that compute constants or change nothing."
    return text


def _laws(report: Report) -> RenderableType:
    rows = []
    for name, law in LAWS.items():
        found = [row for row in report.laws if row.law == name]
        if found:
            saved = sum(row.saved_macs for row in found)
            rows.append((name, law.equation, str(len(found)), f"{saved:,}" if saved else ""))
    headings = ("law", "equation", "regions", "MACs saved")
    return Columns("laws applied", headings, rows, names=(), words=(0, 1), kept=3)


def _regions(report: Report) -> RenderableType:
    regions: dict[str, list[AppliedLaw]] = {}
    for row in report.laws:
        regions.setdefault(row.root, []).append(row)
    saved = {root: sum(row.saved_macs for row in rows) for root, rows in regions.items()}
    rows = []
    for root in sorted(regions, key=lambda r: -saved[r])[:_SHOWN]:
        laws = " · ".join(dict.fromkeys(row.law for row in regions[root]))
        nodes = {node for row in regions[root] for node in row.nodes}
        note = "; ".join(row.note for row in regions[root] if row.note)
        less = f"{saved[root]:,}" if saved[root] else ""
        rows.append((root, laws, str(len(nodes)), less, note))
    headings = ("value", "laws", "nodes replaced", "MACs saved", "note")
    more = len(regions) - _SHOWN
    caption = f"{more} more: --json lists them all" if more > 0 else ""
    return Columns("where", headings, rows, words=(1, 4), kept=2, caption=caption)


def _refusals(report: Report) -> RenderableType:
    times = Counter((r.law, r.reason) for r in report.refusals)
    first = {(r.law, r.reason): r.node for r in reversed(report.refusals)}
    rows = [
        (law, reason, str(count), first[law, reason])
        for (law, reason), count in times.most_common(_SHOWN)
    ]
    more = len(times) - _SHOWN
    caption = f"{more} more: --json lists them all" if more > 0 else ""
    headings = ("law", "reason", "times", "first at")
    return Columns("refused", headings, rows, names=(3,), words=(0, 1), kept=2, caption=caption)
