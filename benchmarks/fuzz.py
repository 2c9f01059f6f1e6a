"""Random models through `optimize`, judged outside of the certificate, on inputs that cancel.

    python benchmarks/fuzz.py                              20,000 models, 1,500 by each exporter
    python benchmarks/fuzz.py --count 500 --seed 7         others
    python benchmarks/fuzz.py --source drawn --only 1234   one of them again, told in full
    python benchmarks/fuzz.py --out fuzz.jsonl             goes on where it was stopped
    ONEBYONE_EXPORTS=folder python benchmarks/fuzz.py      exported files are kept there

A number makes a model: drawn (tests/graphs/wild.py: opsets 7 to the newest, four types, constants
computed in the graph, masks, shifts up to 1e9, quantised parts, ...), or a PyTorch module out of a
grammar, exported by one of both exporters (tests/graphs/exported.py). What is wrong is said by
tests/graphs/trial.py: values (exact ones by `==`, others beside the model's own rounding, as
tests/graphs/noise.py plays it), exceptions, results that a checker or an engine refuses, more
parameters for nothing, a second time that changes more. One in ten is verified as well, and has to
pass; one in fifty is given to OpenVINO. Work runs in processes of its own, so that a crash of a
library is a result like others. Drawn models that fail are made smaller (`--shrink`). Exits with 1
at any fault.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import signal
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.graphs.trial import KINDS, Fault, Subject, Verdict, trial

TOGETHER = 40  # tests/graphs/exported.py's; importing that takes seconds
LIMIT = 300  # seconds for one model
SHARE = {"drawn": 17_000, "dynamo": 1_500, "torchscript": 1_500}  # of 20,000
EXPORTS = "ONEBYONE_EXPORTS"  # a folder where exported files are kept for the next time
Row = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """A model to be tried."""

    source: str
    number: int

    @property
    def again(self) -> str:
        """The command that tries it once more."""
        return f"python benchmarks/fuzz.py --source {self.source} --only {self.number}"


# One model ----------------------------------------------------------------------------------------


def subject(task: Task, choices: bytes | None = None) -> tuple[Subject, frozenset[str]]:
    """The model of a task, and the situations that it contains."""
    if task.source == "drawn":
        from tests.graphs.dtypes import NUMPY
        from tests.graphs.wild import wild

        drawn = wild(task.number, choices)
        feeds = tuple((feed.label, feed.inputs) for feed in drawn.feeds)
        return Subject(drawn.model, feeds, drawn.exact, str(NUMPY[drawn.dtype])), drawn.marks
    from tests.graphs.exported import exported

    folder = Path(kept) if (kept := os.environ.get(EXPORTS)) else None
    return exported(task.number, task.source == "dynamo", folder)


def tried(task: Task, choices: bytes | None = None) -> tuple[Verdict, frozenset[str]]:
    """What comes of a task; a model that cannot be drawn or exported is skipped."""
    try:
        found, marks = subject(task, choices)
    except Exception as error:  # exporters raise what they like
        return Verdict(skipped=f"not exported: {type(error).__name__}: {error}"[:300]), frozenset()
    certify, widely = task.number % 10 == 0, task.number % 50 == 0
    return trial(found, certify, task.number, widely), marks


def shrunk(task: Task, kind: str, rounds: int = 60) -> bytes:
    """Fewer choices with which a drawn model still has a fault of this kind."""
    from tests.graphs.drawn import CHOICES
    from tests.graphs.wild import choices_of

    best, size = choices_of(task.number), CHOICES // 2
    while size and rounds:
        for start in range(0, CHOICES, size):
            zeroed = best[:start] + bytes(len(best[start : start + size])) + best[start + size :]
            if zeroed != best and rounds:
                rounds -= 1
                verdict, _ = tried(task, zeroed)
                best = zeroed if kind in {f.kind for f in verdict.faults} else best
        size //= 2
    return best


# Many ---------------------------------------------------------------------------------------------


def _work(tasks: Sequence[Task], path: Path) -> None:
    """Try each, and write a line before and one after."""
    warnings.simplefilter("ignore")
    os.environ["OMP_NUM_THREADS"] = "1"
    with path.open("a", encoding="utf-8", buffering=1) as out:
        for task in tasks:
            out.write(json.dumps({"begun": asdict(task), "at": time.time()}) + "\n")
            begin = time.process_time()
            verdict, marks = tried(task)
            row = {**asdict(task), **asdict(verdict), "marks": sorted(marks)}
            out.write(json.dumps({**row, "seconds": time.process_time() - begin}) + "\n")


def _rows(path: Path) -> tuple[list[Row], Row | None]:
    """What is written: the verdicts, and the task that was begun and not ended."""
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    parsed = [json.loads(line) for line in lines if line.endswith("}")]
    begun = parsed[-1] if parsed and "begun" in parsed[-1] else None
    return [row for row in parsed if "begun" not in row], begun


def _died(path: Path, why: str) -> None:
    """The task at hand is a crash: nobody else will say so."""
    _, begun = _rows(path)
    if begun is not None:
        faults = (Fault("crash", why),)
        row = {**begun["begun"], **asdict(Verdict(faults=faults)), "marks": [], "seconds": 0.0}
        with path.open("a", encoding="utf-8") as out:
            out.write(json.dumps(row) + "\n")


def _left(tasks: Sequence[Task], path: Path) -> list[Task]:
    done = {(row["source"], row["number"]) for row in _rows(path)[0]}
    return [task for task in tasks if (task.source, task.number) not in done]


def _started(tasks: Sequence[Task], path: Path) -> BaseProcess:
    process = multiprocessing.get_context("fork").Process(target=_work, args=(tasks, path))
    process.start()
    return process


def _watched(process: BaseProcess, path: Path) -> str:
    """Wait for a process; why it ended before its time, if it did."""
    while process.is_alive():
        process.join(1)
        begun = _rows(path)[1] if time.time() - path.stat().st_mtime > LIMIT else None
        if begun is not None and process.pid is not None:
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            return f"longer than {LIMIT} s"
    return "" if process.exitcode == 0 else f"the process ended with {process.exitcode}"


def _lane(tasks: Sequence[Task], path: Path) -> None:
    """Try all of these in one process after another, as often as one dies."""
    while left := _left(tasks, path):
        path.touch()
        if why := _watched(_started(left, path), path):
            _died(path, why)


def run(tasks: Sequence[Task], path: Path, jobs: int) -> list[Row]:
    """All of the verdicts; each of the `jobs` lanes has its own file beside `path`."""
    # What is exported together stays in one lane.
    parts = [[t for t in tasks if t.number // TOGETHER % jobs == k] for k in range(jobs)]
    lanes = [(part, path.with_suffix(f".{k}of{jobs}.jsonl")) for k, part in enumerate(parts)]
    context = multiprocessing.get_context("fork")
    running = [context.Process(target=_lane, args=lane) for lane in lanes]
    for process in running:
        process.start()
    for process in running:
        process.join()
    return [row for _, file in lanes for row in _rows(file)[0]]


# Told ---------------------------------------------------------------------------------------------


def table(rows: Sequence[Row]) -> str:
    """Source × models judged, skipped, and faults of each kind."""
    lines = [f"{'source':<12}{'judged':>8}{'skipped':>8}" + "".join(f"{k:>10}" for k in KINDS)]
    for source in (*SHARE, ""):
        of_source = [row for row in rows if source in ("", row["source"])]
        skipped = sum(bool(row["skipped"]) for row in of_source)
        kinds = Counter(k for row in of_source for k in {f["kind"] for f in row["faults"]})
        counts = "".join(f"{kinds[kind]:>10}" for kind in KINDS)
        if of_source:
            name = source or "all"
            lines.append(f"{name:<12}{len(of_source) - skipped:>8}{skipped:>8}{counts}")
    return "\n".join(lines)


def told(rows: Sequence[Row], most: int = 3) -> Iterator[str]:
    """The faults with the command that shows each, then what was drawn how often."""
    alike: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for fault in row["faults"]:
            plain = re.sub(r"[0-9.e+]+|'[^']*'", "#", fault["detail"])[:120]
            line = f"{Task(row['source'], row['number']).again}: {fault['detail']}"
            alike.setdefault((fault["kind"], plain), []).append(line)
    for (kind, _), lines in sorted(alike.items()):
        yield from (f"{kind:<9} {line}" for line in lines[:most])
        if len(lines) > most:
            yield f"{kind:<9} and {len(lines) - most} like this"
    marks = Counter(mark for row in rows for mark in row["marks"])
    yield "drawn: " + ", ".join(f"{mark} {count}" for mark, count in sorted(marks.items()))
    laws = Counter(law for row in rows for law in row["laws"])
    yield "laws: " + ", ".join(f"{law} {count}" for law, count in laws.most_common())
    why = Counter(row["skipped"][:60] for row in rows if row["skipped"])
    yield "skipped: " + "; ".join(f"{count}× {reason}" for reason, count in why.most_common(8))


def _one(task: Task, shrink: bool) -> int:
    """Try one model and show it."""
    from onnx import printer

    verdict, _ = tried(task)
    choices = None
    if shrink and verdict.faults and task.source == "drawn":
        choices = shrunk(task, verdict.faults[0].kind)
    model, marks = subject(task, choices)
    print(printer.to_text(model.model), f"\n{', '.join(sorted(marks))}\n")
    verdict, _ = tried(task, choices)
    print(verdict)
    return int(bool(verdict.faults))


def _tasks(given: argparse.Namespace) -> list[Task]:
    sources = SHARE if given.source == "all" else {given.source: 20_000}
    tasks = []
    for source, share in sources.items():
        count = given.count * share // 20_000
        tasks += [Task(source, given.seed * 1_000_000 + k) for k in range(count)]
    return tasks


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--source", choices=("all", *SHARE), default="all")
    parser.add_argument("--only", type=int, help="the number of one model")
    parser.add_argument("--shrink", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--out", type=Path, help="verdicts, as JSON lines; kept, and gone on from")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table and the faults."""
    given, start = _parser().parse_args(arguments), time.perf_counter()
    if given.only is not None:
        source = "drawn" if given.source == "all" else given.source
        return _one(Task(source, given.only), given.shrink)
    out = given.out or Path(f"fuzz-{given.seed}.jsonl")
    rows = run(_tasks(given), out, given.jobs)
    print(table(rows))
    print(*told(rows), sep="\n")
    taken = sum(row["seconds"] for row in rows)
    print(f"{len(rows)} models, {taken:.0f} s of processor, {time.perf_counter() - start:.0f} s")
    return int(any(row["faults"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
