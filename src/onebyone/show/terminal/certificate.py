"""A certificate as a table and lines for a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Group
from rich.text import Text

from onebyone.show.terminal.table import Columns, Words
from onebyone.verify.certificate import OutputCheck, Trial, severity

if TYPE_CHECKING:
    from rich.console import RenderableType

    from onebyone.verify.certificate import Certificate

__all__ = ["view"]

_ADVICE = (
    "the same on all inputs that were tried, compared as constants; give inputs on which they vary "
    "as data"
)
_SHOWN = 8
"""Outputs of a trial in the table; --json lists them all."""


def view(certificate: Certificate) -> RenderableType:
    """The table of outputs, then what was found, line by line."""
    if certificate.apart:
        lines = [
            f"certificate: {certificate.verdict}",
            f"whole      not compared: {certificate.apart}",
        ]
        return Group(*map(Words, [*lines, *_rewrites(certificate)]))
    lines = [f"certificate: {certificate.verdict}", f"worst      {certificate.worst}",
             f"reference  {certificate.reference}", f"engine     {certificate.engine}"]  # fmt: skip
    lines += [f"skipped    A itself fails on a {reason}" for reason in certificate.skipped]
    if certificate.trouble:
        kinds = ", ".join(dict.fromkeys(trial.kind for trial in certificate.trouble))
        lines.append(f"asked      also where it could go wrong: {kinds}")
    lines += [f"not proved {reason}" for reason in certificate.unproved]
    lines += _rewrites(certificate)
    if certificate.constants:
        names = ", ".join(map(repr, certificate.constants[:_SHOWN]))
        more = ", …" if len(certificate.constants) > _SHOWN else ""
        lines.append(f"constants  {names}{more}: {_ADVICE}")
    first = [Text(certificate.told)] if certificate.told else []
    return Group(*first, _table(certificate), *map(Words, lines))


def _rewrites(certificate: Certificate) -> Iterator[str]:
    """What was found of the rewrites one by one."""
    if certificate.alone is None:
        return
    yield f"rewrites   {certificate.alone}"
    for what, reasons in (
        ("FAILED", certificate.alone.failed),
        ("not proved", certificate.alone.unproved),
    ):
        yield from (f"           {what}: {reason}" for reason in reasons[:_SHOWN])
        if len(reasons) > _SHOWN:
            yield f"           {len(reasons) - _SHOWN} more {what}: --json lists them all"


def _table(certificate: Certificate) -> RenderableType:
    rows = []
    for trial in certificate.trials:
        sizes = " ".join("x".join(map(str, shape)) for shape in trial.shapes.values())
        rows += [(f"{trial.kind} {sizes}", *_cells(row)) for row in trial.outputs[:_SHOWN]]
    rows += [("trouble", *_cells(row)) for row in _hardest_of(certificate.trouble)[:_SHOWN]]
    headings = ("input", "output", "", "used", "|B - ref|", "bound", "|A - ref|")
    return Columns("certificate", headings, rows, names=(0, 1), words=(2,), kept=3)


def _cells(row: OutputCheck) -> tuple[str, ...]:
    """The row of the table, but for the input."""
    used = f"{row.used:.1%}" if math.isfinite(row.used) else ""
    numbers = row.max_abs_error, row.bound, row.error_of_a
    return row.name, _told(row), used, *(f"{n:.2g}" for n in numbers)


def _hardest_of(trials: Sequence[Trial]) -> list[OutputCheck]:
    """Of each output the check that came closest to failing."""
    hardest: dict[str, OutputCheck] = {}
    for row in (row for trial in trials for row in trial.outputs):
        other = hardest.get(row.name, row)
        hardest[row.name] = max(other, row, key=severity)
    return list(hardest.values())


def _told(output: OutputCheck) -> str:
    """The check in a word or two."""
    if output.passed:
        return "constant" if output.constant else "ok"
    return "not told" if output.undecided else "FAILED"
