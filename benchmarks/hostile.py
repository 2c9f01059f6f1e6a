"""Damaged and hostile models through the commands: one line, a bounded cost, nothing written.

    python benchmarks/hostile.py                       5000 mutants, all kinds
    python benchmarks/hostile.py --mutants 200 --kinds vast external
    python benchmarks/hostile.py --only 1234           one of them again

Real models (trained networks, the backend suite's) are mutated byte by byte, field by field, in
their wiring, names, nesting, sizes and external data (tests/hostile/). On each mutant run `count`,
`optimize -o` and `verify`, and on each fifth `optimize --dry-run`, in processes of their own with
limits on time and memory. A mutant may still be a model that works. What may not be: a crash, a
traceback, more than one line on stderr, control characters, a file written without success, an
input changed, anything left behind, more time or memory than the limit. Errors that nobody foresaw
(one line, exit 3) and certificates that fail are allowed, and listed: each is worth a look.

Then models that are long or deep (`--no-deep` leaves them out). Then `optimize -o`, over files that
are there, is interrupted by signals at random moments: both files are the old ones or both are the
new ones, and nothing else is there.

Odd mutants are kept in `--keep`; exits with 1 at any fault.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from rich.console import Console
from rich.table import Table
from tests.hostile.deep import DEEP
from tests.hostile.interrupt import interruption, usual_time
from tests.hostile.judge import NOTED, Limits, attempt, load
from tests.hostile.mutants import KINDS
from tests.hostile.sources import SOURCES
from tests.hostile.trial import Trial, trial

OUTCOMES = ("0", "1", "2", "3", *NOTED.values(), "FAULT")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--mutants", type=int, default=5000)
    parser.add_argument("--deep", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--interruptions", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, nargs="+", help="numbers of mutants")
    parser.add_argument("--kinds", nargs="+", default=[""], help="those that begin with one")
    parser.add_argument("--sources", nargs="+", default=[], choices=[s.name for s in SOURCES])
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seconds", type=int, default=Limits.seconds, help="for each command")
    parser.add_argument("--megabytes", type=int, default=Limits.memory >> 20)
    parser.add_argument("--keep", type=Path, help="a folder for the faulty mutants")
    return parser


def _trials(given: argparse.Namespace) -> Iterator[Trial]:
    limits = Limits(given.seconds, given.megabytes << 20)
    kinds = [kind for kind in KINDS if kind.startswith(tuple(given.kinds))]
    load()
    for source in SOURCES:
        if source.name in (given.sources or (source.name,)):
            source.models()
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(given.workers, mp_context=context) as pool:
        waiting = [
            pool.submit(trial, given.seed, number, limits, given.keep, kinds, given.sources)
            for number in given.only or range(given.mutants)
        ]
        for future in as_completed(waiting):
            yield future.result()


def _table(trials: Sequence[Trial]) -> Table:
    """Kind of mutation × outcome, over all commands."""
    table = Table("kind", "mutants", *OUTCOMES, box=None)
    for kind in KINDS:
        of_kind = [t for t in trials if t.kind == kind]
        seen = Counter(v.outcome for t in of_kind for v in t.verdicts)
        if of_kind:
            table.add_row(kind, str(len(of_kind)), *(str(seen[o] or "") for o in OUTCOMES))
    seen = Counter(v.outcome for t in trials for v in t.verdicts)
    table.add_row("all", str(len(trials)), *(str(seen[o] or "") for o in OUTCOMES))
    return table


def _told(found: Trial) -> None:
    for verdict in found.verdicts:
        noted = [verdict.outcome] if verdict.outcome in NOTED.values() else []
        for fault in (*verdict.faults, *noted):
            where = f"{found.number} {found.kind} {found.source} {verdict.command}"
            print(f"{where}: {fault}: {verdict.message[:400]!r}", flush=True)


def _deep(given: argparse.Namespace) -> int:
    """Chains of 10,000 nodes, 2,000 Ifs in Ifs, and the like; how many of them went wrong."""
    limits, faulty = Limits(4 * given.seconds, given.megabytes << 20), 0
    for name, (data, codes) in DEEP.items() if given.deep else ():
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "model.onnx").write_bytes(data)
            for command in ("count", "optimize"):
                seen = attempt(command, Path(folder), limits)
                wrong = bool(seen.faults) or (command == "optimize" and seen.code not in codes)
                faulty += wrong
                print(
                    f"{name:20} {command:9} {seen.outcome:6} {seen.seconds:6.1f} s "
                    f"{seen.megabytes:5} MiB  {seen.message[:200]}{' WRONG' * wrong}",
                    flush=True,
                )
    return faulty


def _interruptions(given: argparse.Namespace) -> int:
    """Interrupt so many runs; how many of them went wrong."""
    if not given.interruptions:
        return 0
    with tempfile.TemporaryDirectory() as folder:
        most = 1.1 * usual_time(Path(folder))
    found = [interruption(given.seed, number, most) for number in range(given.interruptions)]
    for each in found:
        if each.faults:
            print(each)
    ended = Counter(each.code for each in found)
    faulty = sum(bool(each.faults) for each in found)
    print(f"{faulty} of {len(found)} interruptions went wrong; exit codes {dict(ended)}")
    return faulty


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the faults as they are found, the table, and the cost of a command."""
    given, start = _parser().parse_args(arguments), time.perf_counter()
    trials = []
    for found in _trials(given):
        trials.append(found)
        _told(found)
    Console(width=120).print(_table(trials))
    verdicts = [v for t in trials for v in t.verdicts]
    seconds = [v.seconds for v in verdicts]
    print(
        f"{len(verdicts)} commands in {time.perf_counter() - start:.0f} s; processor time of one: "
        f"median {statistics.median(seconds):.2f} s, most {max(seconds):.1f} s; "
        f"memory at most {max(v.megabytes for v in verdicts)} MiB"
    )
    faulty = sum(bool(t.faults) for t in trials)
    print(f"{faulty} of {len(trials)} mutants met a fault")
    return 1 if faulty + _deep(given) + _interruptions(given) else 0


if __name__ == "__main__":
    sys.exit(main())
