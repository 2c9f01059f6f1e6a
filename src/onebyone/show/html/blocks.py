"""What a report of each result consists of, from top to bottom."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from onebyone.cost.profile import DEFAULT, ORIGIN
from onebyone.counting.value import Count
from onebyone.engines.timings import Bench
from onebyone.graph.receptive import ModelGeometry
from onebyone.optimize.report import Report
from onebyone.show.html import ledger, proof, roofline, times, verdict
from onebyone.show.html.changes import changes
from onebyone.show.html.layers import Table, table
from onebyone.show.html.looks import growth, looks
from onebyone.show.html.regions import regions
from onebyone.show.html.strip import strip
from onebyone.verify.certificate import Certificate

__all__ = ["Block", "Reported", "Sized", "blocks"]

Reported = Count | Report | Certificate | Bench
"""The results that a report can be of."""

WIDE, NARROW = 912.0, 328.0
"""Widths of a drawing in pixels, on a screen and on a phone."""


@dataclass(frozen=True)
class Sized:
    """A drawing in both widths."""

    wide: object
    narrow: object


@dataclass(frozen=True)
class Block:
    """A part of the page: `template` lays `value` out."""

    template: str
    title: str
    value: object


def blocks(result: Reported, geometry: ModelGeometry | str | None = None) -> tuple[Block, ...]:
    """The blocks of a result; the layer table, where there is one, is the last.

    geometry: of the model of a `Report`, or why it has none; None leaves that block out.
    """
    if isinstance(result, Count):
        return tuple(_count(result))
    if isinstance(result, Report):
        return tuple(_report(result, geometry))
    if isinstance(result, Certificate):
        return (Block("verdict", "", verdict.of_certificate(result)), *_proof(result))
    return tuple(_bench(result))


def _count(count: Count) -> Iterator[Block]:
    yield Block("verdict", "", verdict.of_count(count))
    if count.layers:
        yield Block("strip", "The network, layer by layer", strip(None, count))
        spots = roofline.reached(count.layers, DEFAULT)
        if any(spots):
            sizes = (roofline.roofline((), spots, (), DEFAULT, width) for width in (WIDE, NARROW))
            yield Block("roofline", "What limits each layer", (Sized(*sizes), ORIGIN))
    gaps = ledger.Ledger((), (), ledger.gaps(count.uncounted))
    if gaps.gaps:
        yield Block("ledger", "What is not counted", gaps)
    yield from _layers(table(None, count))


def _report(report: Report, geometry: ModelGeometry | str | None) -> Iterator[Block]:
    yield Block("verdict", "", verdict.of_report(report))
    old, new, links = report.before.count, report.after.count, changes(report)
    if old.layers:
        yield Block("strip", "The network, before and after", strip(old, new, links))
    if report.regions:
        yield Block("regions", "What was rewritten", regions(report.regions))
    was, now = (roofline.reached(count.layers, report.profile) for count in (old, new))
    drawn = [roofline.roofline(was, now, links, report.profile, width) for width in (WIDE, NARROW)]
    if drawn[0] is not None:
        yield Block("roofline", "What limits each layer", (Sized(*drawn), report.origin))
    yield Block("ledger", "Laws, applied and refused", ledger.ledger(report))
    if report.certificate is not None:
        yield from _proof(report.certificate)
    if geometry is not None:
        grown = Sized(*(growth(geometry, width) for width in (WIDE, NARROW)))
        yield Block("looks", "Where the network looks", (looks(geometry), grown))
    yield from _layers(table(old, new))


def _proof(certificate: Certificate) -> Iterator[Block]:
    charts = Sized(*(proof.chart(certificate, width) for width in (WIDE, NARROW)))
    shares = Sized(*(proof.histogram(certificate, width) for width in (WIDE, 800.0)))
    yield Block("proof", "The proof", (proof.proof(certificate), charts, shares))


def _bench(bench: Bench) -> Iterator[Block]:
    yield Block("verdict", "", verdict.of_bench(bench))
    drawn = Sized(*(times.engines(bench, width) for width in (WIDE, NARROW)))
    yield Block("times", "The rounds, in turns", (drawn, bench))


def _layers(found: Table) -> Iterator[Block]:
    if any(side.data for side in found.sides):
        yield Block("layers", "All layers", found)
