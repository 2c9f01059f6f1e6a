"""The report of an optimisation: a value, and its two forms (JSON and a terminal view)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from onebyone.algebra.laws import LAWS
from onebyone.counting.value import Count

if TYPE_CHECKING:
    from rich.console import RenderableType

    from onebyone.optimize.verification.verify import Certificate

__all__ = ["AppliedLaw", "RefusedLaw", "Report", "Side"]


@dataclass(frozen=True)
class Side:
    """A model before or after.

    Args:
        count: its parameters, MACs and bytes, at the sizes that costs were computed for.
        seconds: its modelled time, by the profile.
    """

    count: Count
    seconds: float

    @property
    def macs(self) -> int:
        return self.count.macs

    @property
    def parameters(self) -> int:
        return self.count.parameters

    @property
    def nodes(self) -> int:
        return self.count.nodes

    def to_dict(self) -> dict[str, Any]:
        """The totals and the modelled time."""
        return {**self.count.totals(), "modelled_seconds": self.seconds}


@dataclass(frozen=True)
class AppliedLaw:
    """A law at work in one region.

    Args:
        law: its name.
        root: the value that the region computes.
        nodes: the names of the nodes that were replaced.
        saved_macs: what it saved, after the laws told before it.
        note: the numbers that the decision hangs on, if there are any.
        lost_bits: the digits that the whole rewrite can lose where the original cancels, at most.
        made: the names of the nodes that stood in their place then; a later rewrite may have
            replaced them.
        proved: whether the whole rewrite was found equal by itself; None where that is not known.
        unproved: why it is not known, or what differs; empty if it is proved.
    """

    law: str
    root: str
    nodes: tuple[str, ...]
    saved_macs: int
    note: str = ""
    lost_bits: float = 0.0
    made: tuple[str, ...] = ()
    proved: bool | None = None
    unproved: str = ""

    def to_dict(self) -> dict[str, Any]:
        """With the law's equation."""
        return {
            "law": self.law,
            "equation": LAWS[self.law].equation,
            "root": self.root,
            "nodes": list(self.nodes),
            "saved_macs": self.saved_macs,
            "note": self.note,
            "lost_bits": self.lost_bits,
            "made": list(self.made),
            "proved": self.proved,
            "unproved": self.unproved,
        }


@dataclass(frozen=True)
class RefusedLaw:
    """A law that nearly applied at a node, and the side condition that failed."""

    law: str
    node: str
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {"law": self.law, "node": self.node, "reason": self.reason}


@dataclass(frozen=True)
class Report:
    """What was done to a model, what could not be, and the proof that it computes the same."""

    before: Side
    after: Side
    laws: tuple[AppliedLaw, ...]
    refusals: tuple[RefusedLaw, ...]
    certificate: Certificate | None = None

    @property
    def saved(self) -> float:
        """The fraction of the MACs that is saved."""
        return 1 - self.after.macs / self.before.macs if self.before.macs else 0.0

    def to_dict(self) -> dict[str, Any]:
        """As JSON, schema 1 (docs/json.md)."""
        return {
            "schema": 1,
            "inputs": [{"name": n, "shape": list(shape)} for n, shape in self.before.count.inputs],
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
            "laws": [law.to_dict() for law in self.laws],
            "refusals": [refusal.to_dict() for refusal in self.refusals],
            "certificate": None if self.certificate is None else self.certificate.to_dict(),
        }

    def __str__(self) -> str:
        from rich.console import Console

        console = Console(width=100, no_color=True, highlight=False, emoji=False)
        with console.capture() as shown:
            console.print(self)
        return shown.get().rstrip()

    def __rich__(self) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        parts: list[RenderableType] = [self._totals(), Text(self._sizes())]
        if self.laws:
            parts += [self._laws(), Text(self._digits()), self._regions()]
        else:
            parts.append(Text(self._without_laws()))
        if self.refusals:
            parts.append(self._refusals())
        if self.certificate is None:
            parts.append(Text("not verified: --no-verify (verify=False from Python)"))
        else:
            parts.append(self.certificate)
        return Group(*parts)

    def _totals(self) -> RenderableType:
        from rich.table import Table

        table = Table(title="before and after  (1 MAC = 2 FLOPs)", title_justify="left")
        for heading in ("", "before", "after", "saved"):
            table.add_column(heading, justify="right" if heading else "left")
        before, after = self.before.to_dict(), self.after.to_dict()
        for key, shown in _TOTALS.items():
            old, new = before[key], after[key]
            # The tenths that are shown, plus 0.0: a loss that rounds to none has no sign.
            saved = f"{round(1 - new / old, 3) + 0.0:.1%}" if old else ""
            table.add_row(shown, _number(old), _number(new), saved)
        return table

    def _sizes(self) -> str:
        """What was counted: a model with open sizes has other numbers at others."""
        inputs = self.before.count.inputs
        told = [f"{name} {'×'.join(map(str, shape))}" for name, shape in inputs[:_SHOWN]]
        return f"at {', '.join(told)}{', …' if len(inputs) > _SHOWN else ''}" if told else ""

    def _without_laws(self) -> str:
        text, fewer = "No law applies where it would pay.", self.before.nodes - self.after.nodes
        if fewer > 0:
            text += f" {fewer:,} nodes are gone that compute constants or change nothing."
        return text

    def _laws(self) -> RenderableType:
        from rich.table import Table
        from rich.text import Text

        table = Table(title="laws applied", title_justify="left")
        for heading in ("law", "equation", "regions", "MACs saved"):
            table.add_column(heading, justify="right" if heading == "regions" else "left")
        for name, law in LAWS.items():
            rows = [row for row in self.laws if row.law == name]
            if rows:
                saved = sum(row.saved_macs for row in rows)
                table.add_row(name, Text(law.equation), str(len(rows)), f"{saved:,}")
        return table

    def _digits(self) -> str:
        lost = max(row.lost_bits for row in self.laws)
        if not lost:
            return "digits: nothing was folded that cancels"
        return f"digits: where the original cancels, a fold can lose {lost:.1f} bits at most"

    def _regions(self) -> RenderableType:
        from rich.table import Table
        from rich.text import Text

        regions: dict[str, list[AppliedLaw]] = {}
        for row in self.laws:
            regions.setdefault(row.root, []).append(row)
        table = Table(title="where", title_justify="left")
        for heading in ("value", "laws", "nodes replaced", "MACs saved", "note"):
            table.add_column(heading, overflow="fold")
        saved = {root: sum(row.saved_macs for row in rows) for root, rows in regions.items()}
        for root in sorted(regions, key=lambda r: -saved[r])[:_SHOWN]:
            laws = " · ".join(dict.fromkeys(row.law for row in regions[root]))
            nodes = {node for row in regions[root] for node in row.nodes}
            note = "; ".join(row.note for row in regions[root] if row.note)
            table.add_row(Text(root), laws, str(len(nodes)), f"{saved[root]:,}", Text(note))
        if len(regions) > _SHOWN:
            table.caption = f"{len(regions) - _SHOWN} more: --json lists them all"
        return table

    def _refusals(self) -> RenderableType:
        from rich.table import Table
        from rich.text import Text

        table = Table(title="refused", title_justify="left")
        for heading in ("law", "reason", "times", "first at"):
            table.add_column(heading, overflow="fold")
        times = Counter((r.law, r.reason) for r in self.refusals)
        first = {(r.law, r.reason): r.node for r in reversed(self.refusals)}
        for (law, reason), count in times.most_common(_SHOWN):
            table.add_row(Text(law), Text(reason), str(count), Text(first[law, reason]))
        if len(times) > _SHOWN:
            table.caption = f"{len(times) - _SHOWN} more: --json lists them all"
        return table


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


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
