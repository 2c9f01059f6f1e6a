"""The verdict: what matters of a result in a headline and a few numbers, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from onebyone.counting.value import Count
from onebyone.engines.timings import Bench, Row
from onebyone.optimize.report import Report
from onebyone.optimize.verdict import cost, gained
from onebyone.optimize.verdict import proof as proved
from onebyone.show.html.words import many, of_bound, percent, short
from onebyone.verify.certificate import Certificate

__all__ = ["Fact", "Verdict", "of_bench", "of_certificate", "of_count", "of_report"]


@dataclass(frozen=True)
class Fact:
    """One number.

    Args:
        name: of what.
        value: as it is now.
        before: as it was; empty where there is no before.
        change: the difference in words, or what else there is to say.
    """

    name: str
    value: str
    before: str = ""
    change: str = ""


@dataclass(frozen=True)
class Verdict:
    """What there is to say first.

    Args:
        headline: in a sentence.
        stamp: "PASS", "FAIL", "NOT TOLD", or empty where nothing was asked.
        facts: the numbers.
        notes: what else to know, a line each.
        then: what to do next, in a sentence.
    """

    headline: str
    facts: tuple[Fact, ...]
    notes: tuple[str, ...]
    then: str
    stamp: str = ""


def of_count(count: Count) -> Verdict:
    """Of one model."""
    peak = _peak(count)
    facts = (
        Fact("MACs", short(count.macs), change=f"{short(count.flops)} FLOPs"),
        Fact(
            "in 1×1s and linear layers",
            percent(count.pointwise_macs, count.macs) or "none",
            change=f"{short(count.pointwise_macs)} MACs",
        ),
        Fact("parameters", short(count.parameters), change=f"{short(count.weight_bytes, 'B')}"),
        Fact("nodes", f"{count.nodes:,}", change=many(len(count.layers), "layer")),
        Fact(
            "peak memory",
            "unknown" if peak is None else short(peak, "B"),
            change=f"{'of it ' if peak else ''}weights {short(count.weight_bytes, 'B')}",
        ),
        Fact("moved", short(count.activation_bytes, "B"), change="read and written in a run"),
    )
    notes = [count.told] if count.told else []
    if count.misfit:
        notes.append(f"At these sizes the model cannot run: {count.misfit}.")
        then = "Give sizes that it takes, by --shape."
    elif count.pointwise_macs:
        then = "See how much of it is not needed: onebyone optimize MODEL --dry-run."
    else:
        then = "Look at the layer table for what is large."
    headline = f"{short(count.parameters)} parameters, {short(count.macs)} MACs"
    return Verdict(headline, facts, tuple(notes), then)


def _peak(count: Count) -> int | None:
    """Bytes of weights and of the activations that are alive at once."""
    alive = count.peak_activation_bytes
    return None if alive is None else alive + count.weight_bytes


def of_report(report: Report) -> Verdict:
    """Of an optimisation."""
    certificate = report.certificate
    facts = [*_compared(report)]
    if certificate is not None and not certificate.apart:
        facts.append(_error(certificate))
    notes = [report.before.count.told, f"Costs: {cost(report)}.", f"Proof: {proved(report)}."]
    stamp = "" if certificate is None else _stamp(certificate)
    return Verdict(_headline(report), tuple(facts), _said(notes), _then(report), stamp)


def _headline(report: Report) -> str:
    saved = report.before.macs > report.after.macs
    text = f"{report.saved:.1%} fewer MACs" if saved else gained(report)
    if report.certificate is None or report.unchanged:
        return _sentence(text)
    passed = report.certificate.passed
    return _sentence(text + (", proved equal" if passed else ", but not proved equal"))


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _compared(report: Report) -> Iterator[Fact]:
    old, new = report.before.count, report.after.count
    yield _less("MACs", old.macs, new.macs)
    shares = [percent(count.pointwise_macs, count.macs) or "none" for count in (old, new)]
    yield Fact("of them in 1×1s", shares[1], shares[0] if shares[0] != shares[1] else "")
    yield _less("modelled time", report.before.seconds, report.after.seconds, "s")
    yield _less("parameters", old.parameters, new.parameters)
    yield _less("nodes", old.nodes, new.nodes)
    peaks = [_peak(count) for count in (old, new)]
    if peaks[0] is not None and peaks[1] is not None:
        yield _less("peak memory", peaks[0], peaks[1], "B")
    yield _less("weights", old.weight_bytes, new.weight_bytes, "B")


def _less(name: str, old: float, new: float, unit: str = "") -> Fact:
    if old == new:
        return Fact(name, short(new, unit), "", "as before")
    word = "less" if new < old else "more"
    share = percent(abs(old - new), old)
    return Fact(name, short(new, unit), short(old, unit), f"{share} {word}" if share else word)


def _error(certificate: Certificate) -> Fact:
    error = f"error {certificate.max_abs_error:.2g}"
    return Fact("of the rounding allowed", of_bound(certificate.used) or "beyond", change=error)


def _said(notes: list[str]) -> tuple[str, ...]:
    return tuple(note for note in notes if note)


def _stamp(certificate: Certificate) -> str:
    return "PASS" if certificate.passed else "NOT TOLD" if certificate.undecided else "FAIL"


def _then(report: Report) -> str:
    certificate = report.certificate
    if certificate is not None and not certificate.passed:
        return _after_failure(certificate)
    if report.unchanged:
        return "Keep the file as it is; the refusals below say what stood in the way."
    if report.quantised:
        return "Optimise the model before it is quantised, then quantise the result."
    if certificate is None:
        return "Have it proved: leave out --no-verify."
    return "Time both on the machine that it will run on: onebyone bench MODEL OUT."


def _after_failure(certificate: Certificate) -> str:
    if certificate.undecided:
        return "Give inputs of the model's domain: --data FILE.npz."
    return f"Do not take B for A; look at the {certificate.worst}."


def of_certificate(certificate: Certificate) -> Verdict:
    """Of a comparison of two models."""
    trials = len(certificate.trials) + len(certificate.trouble)
    facts = [_error(certificate)] if not certificate.apart else []
    facts.append(Fact("inputs", f"{trials:,}", change=f"seed {certificate.seed}"))
    if certificate.alone is not None:
        alone = certificate.alone
        facts.append(Fact("rewrites proved alone", f"{alone.proved} of {alone.rewrites}"))
    then = "B may take the place of A." if certificate.passed else _after_failure(certificate)
    return Verdict(
        _sentence(certificate.verdict),
        tuple(facts),
        _said([certificate.told]),
        then,
        _stamp(certificate),
    )


def of_bench(bench: Bench) -> Verdict:
    """Of times: the model that gained most, in the engine where it did."""
    compared = [row for row in bench.rows if row.ratio is not None]
    told = [row for row in compared if row.verdict != "cannot tell"]
    best = max(told or compared, key=_gain, default=None)
    facts = tuple(_timed(row) for row in bench.rows if row.time is not None)
    notes = (*bench.told, *bench.notes)
    if best is None:
        return Verdict("Timed alone", facts, notes, "Name a second model to compare it with.")
    ratio = best.ratio.median if best.ratio else 1.0
    where = f"in {best.engine}"
    if best.verdict == "cannot tell":
        then = "Time longer, by --seconds, or on a quieter machine."
        return Verdict(f"No difference can be told {where}", facts, notes, then)
    name = best.model.rpartition("/")[2]
    then = f"Use {name} {where}." if ratio > 1 else f"Stay with the first model {where}."
    word = f"{ratio:.2f}× as fast" if ratio > 1 else f"{1 / ratio:.2f}× as slow"
    return Verdict(f"{name} is {word} {where}", facts, notes, then)


def _gain(row: Row) -> float:
    return row.ratio.median if row.ratio else 0.0


def _timed(row: Row) -> Fact:
    ms = f"{row.time.median * 1e3:.4g} ms" if row.time else ""
    ratio = "" if row.ratio is None else f"{row.ratio.median:.3f}×, {row.verdict}"
    return Fact(f"{row.model.rpartition('/')[2]} in {row.engine}", ms, change=ratio)
