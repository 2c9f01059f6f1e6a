"""The verdict on an optimisation in words: what was gained, what it costs, how it is proved."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from onebyone.algebra.laws import named

if TYPE_CHECKING:
    from onebyone.optimize.report import Report

__all__ = ["cost", "gained", "proof", "short"]

_LINE = 3
"""Gains in the line; the table has all."""
# What the verdict names, and how: in the order in which it matters.
_NAMED = {
    "macs": ("MACs", ""),
    "modelled_seconds": ("modelled time", "s"),
    "nodes": ("nodes", ""),
    "weight_bytes": ("weights", "B"),
    "activation_bytes": ("activations", "B"),
    "peak_activation_bytes": ("peak memory of activations", "B"),
}


def gained(report: Report) -> str:
    """What became less; the MACs first, with their share."""
    if report.unchanged:
        return "nothing to gain"
    return "; ".join(list(_changes(report, 1))[:_LINE]) or "nothing that three digits show"


def cost(report: Report) -> str:
    """What became more, and the digits that can be lost."""
    more = list(_changes(report, -1))
    lost: dict[str, float] = {}
    for row in report.laws:
        where = named(row.law).loses
        lost[where] = max(lost.get(where, 0.0), row.lost_bits)
    more += [f"up to {bits:.1f} bits {where}" for where, bits in sorted(lost.items()) if bits]
    return "; ".join(more) or "nothing"


def proof(report: Report) -> str:
    """Whether both models were seen to compute the same."""
    certificate = report.certificate
    if certificate is None and report.unchanged:
        return "none needed, nothing was changed"
    if certificate is None:
        return "none, not verified: --no-verify (from Python verify=False)"
    if not certificate.passed:
        return f"NONE: {certificate.verdict}"
    alone = certificate.alone
    pieces = f"; {alone.proved} of {alone.rewrites} rewrites proved by themselves" if alone else ""
    if certificate.apart:
        return certificate.verdict + pieces
    inputs = len(certificate.trials) + len(certificate.trouble)
    left = len(certificate.unproved)
    asked = f" ({left} more not proved: see below)" * bool(left)
    return (
        f"{certificate.verdict}, on {inputs} input{'s' * (inputs != 1)}{asked}; "
        f"{certificate.used:.1%} of the rounding allowed{pieces}"
    )


def _changes(report: Report, sign: int) -> Iterator[str]:
    """What became less (sign 1) or more (-1), where that can be seen in three digits."""
    before, after = report.before.to_dict(), report.after.to_dict()
    for key, (name, unit) in _NAMED.items():
        if before[key] is None or after[key] is None:
            continue
        old, new = short(before[key], unit), short(after[key], unit)
        if sign * (before[key] - after[key]) > 0 and old != new:
            share = f"{report.saved:.1%} of the " if key == "macs" and sign > 0 else ""
            yield f"{share}{name}{',' * bool(share)} {old} → {new}"


def short(value: float, unit: str = "") -> str:
    """Three digits and a prefix; whole numbers below a thousand as they are."""
    if unit == "s":
        return f"{1e3 * value:.3g} ms" if value < 1 else f"{value:.3g} s"
    prefixes = ["T", "G", "M", "k", ""]
    while value >= 999.5 and len(prefixes) > 1:
        value /= 1000
        prefixes.pop()
    return f"{value:.3g} {prefixes[-1]}{unit}".rstrip()
