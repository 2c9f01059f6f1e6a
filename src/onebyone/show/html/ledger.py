"""The ledger: laws that were applied, laws that were refused and why, and what is not counted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from onebyone.algebra.laws import LAWS, Law
from onebyone.counting.gaps import Uncounted
from onebyone.optimize.report import AppliedLaw, RefusedLaw, Report
from onebyone.show.html.words import named, percent, short

__all__ = ["Applied", "Gap", "Ledger", "Refused", "gaps", "ledger"]

_NODES = 200
"""Nodes of a law, and of a refusal, that are named."""


@dataclass(frozen=True)
class Applied:
    """A law: in how many regions it was at work, what it saved, which nodes it replaced."""

    law: Law
    regions: int
    saved: str
    nodes: tuple[str, ...]
    more: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Refused:
    """A side condition that failed: how often, at how many MACs (a share of all), and where."""

    law: str
    reason: str
    times: int
    held: str
    share: str
    nodes: tuple[str, ...]
    more: int


@dataclass(frozen=True)
class Gap:
    """Nodes that are not counted, and why."""

    nodes: int
    op: str
    reason: str
    example: str


@dataclass(frozen=True)
class Ledger:
    """All three."""

    applied: tuple[Applied, ...]
    refused: tuple[Refused, ...]
    gaps: tuple[Gap, ...]
    gone: tuple[tuple[str, int], ...] = ()


def ledger(report: Report) -> Ledger:
    """Of an optimisation; what is not counted is said of the result."""
    applied = [
        _applied(law, [row for row in report.laws if row.law == name]) for name, law in LAWS.items()
    ]
    count = report.after.count
    macs = {layer.name: layer.macs for layer in count.layers}
    reasons: dict[tuple[str, str], list[RefusedLaw]] = {}
    for row in report.refusals:
        reasons.setdefault((row.law, row.reason), []).append(row)
    refused = [_refused(rows, macs, count.macs) for rows in reasons.values()]
    return Ledger(
        tuple(row for row in applied if row.regions),
        tuple(row for _, row in sorted(refused, key=lambda pair: (-pair[0], -pair[1].times))),
        gaps(count.uncounted),
        tuple((named(op), nodes) for op, nodes in sorted(report.simplified.items())),
    )


def _applied(law: Law, rows: list[AppliedLaw]) -> Applied:
    saved = sum(row.saved_macs for row in rows)
    nodes = list(dict.fromkeys(node for row in rows for node in row.nodes))
    notes = tuple(dict.fromkeys(named(row.note, 200) for row in rows if row.note))
    return Applied(
        law,
        len(rows),
        short(saved) if saved else "none",
        tuple(named(node, 80) for node in nodes[:_NODES]),
        max(0, len(nodes) - _NODES),
        notes[:8],
    )


def _refused(rows: list[RefusedLaw], macs: dict[str, int], total: int) -> tuple[int, Refused]:
    """The MACs of the layers where it was refused, and the row."""
    nodes = list(dict.fromkeys(row.node for row in rows))
    held = sum(macs.get(node, 0) for node in nodes)
    return held, Refused(
        rows[0].law,
        named(rows[0].reason, 300),
        len(rows),
        short(held) if held else "none",
        percent(held, total) if held else "",
        tuple(named(node, 80) for node in nodes[:_NODES]),
        max(0, len(nodes) - _NODES),
    )


def gaps(uncounted: Iterable[Uncounted]) -> tuple[Gap, ...]:
    """What a count leaves out."""
    return tuple(
        Gap(row.nodes, named(row.op), row.reason, named(row.example, 80)) for row in uncounted
    )
