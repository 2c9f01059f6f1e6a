"""The tables of `optimize.py`: for a terminal, and one of all tools in Markdown."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import peers
from measure import Timing
from outcomes import Outcome, memory_ratio

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["markdown", "show", "verdict"]

ENGINES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}


def verdict(met: bool | None) -> str:
    """A claim's mark in the table; nothing where nothing is claimed."""
    return {True: " met", False: " NOT met", None: ""}[met]


def show(outcomes: Sequence[Outcome], machine: Mapping[str, Any]) -> None:
    """Print the table, the notes of the models, and the refusals where nothing was saved."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 200)
    table = Table("export", "GMACs", "saved", "claim", "error / bound", "tool", "laws")
    for engine in sorted({t.engine for o in outcomes for t in o.timings}):
        table.add_column(f"{engine}, ms → ms, ratio [10%, 90%]")
    for outcome in outcomes:
        table.add_row(*cells(outcome))
    console.print(table)
    if any(outcome.peers for outcome in outcomes):
        console.print(peers_table(outcomes))
    console.print(
        f"{machine['processor']}: sgemm {machine['sgemm_gflops']:.0f} GFLOP/s, dgemm "
        f"{machine['dgemm_gflops']:.0f} GFLOP/s, copy {machine['copy_gb_per_s']:.1f} GB/s",
        highlight=False,
    )
    for line in [*notes(outcomes), *refusals(outcomes)]:
        console.print(line, highlight=False, markup=False)


def cells(outcome: Outcome) -> list[str]:
    """One outcome as the cells of the table."""
    title = outcome.job.title
    if outcome.error is not None:
        return [title, "", "", f"{outcome.claim} NOT met", outcome.error]
    certificate = outcome.certificate or {}
    return [
        title,
        f"{outcome.macs_before / 1e9:.3f} → {outcome.macs_after / 1e9:.3f}",
        f"{outcome.saved:.1%}",
        outcome.claim + verdict(outcome.macs_met and outcome.operators_met),
        f"{certificate['max_abs_error']:.1e} / {certificate['bound']:.1e}"
        + verdict(certificate["passed"]),
        f"{outcome.tool_seconds:.1f} s, {outcome.tool_memory / 2**20:.0f} MiB "
        f"({memory_ratio(outcome):.1f}× model){verdict(outcome.tool_met)}",
        ", ".join(f"{law} {n}" for law, n in (outcome.laws or {}).items()),
        *(time_cell(t, outcome) for t in sorted(outcome.timings, key=lambda t: t.engine)),
    ]


def time_cell(timing: Timing, outcome: Outcome) -> str:
    """One engine's times, their ratio with its spread, and its claim's mark."""
    return (
        f"{timing.original_ms:.2f} → {timing.optimised_ms:.2f}, {timing.ratio:.2f}× "
        f"\\[{timing.low:.2f}, {timing.high:.2f}]"
        + verdict((outcome.times_met or {})[timing.engine])
    )


def peers_table(outcomes: Sequence[Outcome]) -> Table:
    """What each tool made of each file, one row each, and the losers too."""
    from rich.table import Table

    versions = peers.installed()
    table = Table("export", "tool", "GMACs", "nodes", "tool's time", "equal: error / bound")
    engines = _timed(outcomes)
    for engine in engines:
        table.add_column(f"{engine}, ms, ratio [10%, 90%]")
    for outcome in outcomes:
        for made in outcome.peers:
            name = f"{made.tool} {versions.get(made.tool) or ''}".rstrip()
            table.add_row(*peer_cells(outcome.job.title, name, made, engines))
        table.add_section()
    return table


def peer_cells(title: str, name: str, made: peers.Made, engines: Sequence[str]) -> list[str]:
    """One tool and file as the cells of the table; what failed stands where it would have been."""
    from rich.markup import escape

    if "tool" in made.failures:
        return [title, name, "", "", "", escape(f"failed: {made.failures['tool']}")]
    failed = {stage: escape(line) for stage, line in made.failures.items()}
    return [
        title,
        name,
        failed.get("count") or f"{(made.macs or 0) / 1e9:.3f}",
        "" if made.nodes is None else str(made.nodes),
        "" if made.seconds is None else f"{made.seconds:.1f} s",
        failed.get("verify") or peer_proof(made),
        *(failed.get(engine) or peer_time(made.times.get(engine)) for engine in engines),
    ]


def peer_proof(made: peers.Made) -> str:
    """The error beside its bound; nothing for the original."""
    if made.error is None:
        return ""
    return f"{made.error:.1e} / {made.bound:.1e}{verdict(made.passed)}"


def peer_time(found: peers.Time | None) -> str:
    """A time, and the original's over it with its spread."""
    if found is None:
        return ""
    return f"{found.ms:.2f}, {found.ratio:.2f}× \\[{found.low:.2f}, {found.high:.2f}]"


def notes(outcomes: Sequence[Outcome]) -> list[str]:
    """What an exporter could not follow, once for each model shown."""
    from models import ARCHITECTURES

    names = dict.fromkeys(outcome.job.model for outcome in outcomes)
    return [f"{n}: {ARCHITECTURES[n].note}" for n in names if ARCHITECTURES[n].note]


def refusals(outcomes: Sequence[Outcome]) -> list[str]:
    """The refusals of exports on which nothing was saved, the same reasons counted together."""
    lines = []
    for outcome in outcomes:
        if outcome.error is None and outcome.macs_after == outcome.macs_before:
            reasons = Counter((r["law"], r["reason"]) for r in outcome.refusals)
            lines += [
                f"{outcome.job.title}: {law} refused {n} times: {why}"
                for (law, why), n in reasons.most_common()
            ]
    return lines


# ---------------------------------------------------------------- Markdown


def markdown(outcomes: Sequence[Outcome]) -> str:
    """One table of all tools, those that lose too: a line for each export, a column for each tool.

    A cell: how many times faster than the original in each engine, nodes, the tool's seconds. What
    failed stands in its place, with a number; the reasons are below.
    """
    engines, versions = _timed(outcomes), peers.installed()
    tools = [f"{tool} {versions[tool] or ''}".rstrip() for tool in peers.TOOLS]
    shown = [outcome for outcome in outcomes if outcome.peers]
    is_one_kind = len({(outcome.job.exporter, outcome.job.dynamic) for outcome in shown}) == 1
    notes: list[str] = []
    lines = [
        _line(outcome.job.model if is_one_kind else outcome.job.title, outcome, engines, notes)
        for outcome in shown
    ]
    columns = ["network", "GMACs", "nodes", *tools]
    times = "".join(f"times faster in {ENGINES[engine]} · " for engine in engines)
    return "\n".join(
        [
            f"Of each tool: {times}nodes left · seconds it took.",
            "",
            f"| {' | '.join(columns)} |",
            "|---" * len(columns) + "|",
            *lines,
            "",
            *(f"{number}. {note}" for number, note in enumerate(notes, 1)),
            "",
        ]
    )


def _timed(outcomes: Sequence[Outcome]) -> list[str]:
    return [e for e in ENGINES if any(e in m.times for o in outcomes for m in o.peers)]


def _line(name: str, outcome: Outcome, engines: Sequence[str], notes: list[str]) -> str:
    original, *others = outcome.peers
    digits = 2 if outcome.macs_before >= 1e9 else 3
    macs = " → ".join(f"{n / 1e9:.{digits}f}" for n in (outcome.macs_before, outcome.macs_after))
    made = [_tool_cell(one, engines, notes) for one in others]
    return f"| {' | '.join([name, macs, str(original.nodes), *made])} |"


def _tool_cell(made: peers.Made, engines: Sequence[str], notes: list[str]) -> str:
    if "tool" in made.failures:
        return _noted("fails", f"{made.tool}: {made.failures['tool']}", notes)
    cells = [_times_faster(made, engine, notes) for engine in engines]
    nodes = "–" if made.nodes is None else str(made.nodes)
    cell = " · ".join([*cells, nodes, f"{made.seconds or 0:.1f} s"])
    return cell if made.passed is not False else _noted(f"{cell}, differs", _how_far(made), notes)


def _times_faster(made: peers.Made, engine: str, notes: list[str]) -> str:
    if engine in made.times:
        return f"{made.times[engine].ratio:.2f}×"
    why = made.failures.get(engine, "not timed")
    return _noted("–", f"{made.tool} in {ENGINES[engine]}: {why}", notes)


def _how_far(made: peers.Made) -> str:
    return f"{made.tool}: error {made.error:.1e}, where rounding allows {made.bound:.1e}"


def _noted(text: str, note: str, notes: list[str]) -> str:
    """The text with the number of a note, which is added if it is not there yet."""
    if note not in notes:
        notes.append(note)
    return f"{text} <sup>{notes.index(note) + 1}</sup>"
