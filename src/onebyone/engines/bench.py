"""Bench: each model in each engine, in turns, beside what the machine reaches in the same run.

    ratio = time of the first model / time of this one     over single rounds: median and interval

The first model is loaded twice: its second copy is the control (`engines.spread`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

import numpy as np

from onebyone.algebra.weights import Array
from onebyone.engines.blame import blame
from onebyone.engines.engine import ENGINES, Engine, EngineRefuses, Run, engine, installed
from onebyone.engines.inputs import random_inputs
from onebyone.engines.machine import measure_machine, usable_cores
from onebyone.engines.spread import Interval, Spread, ratio
from onebyone.engines.timings import Bench, Row
from onebyone.engines.turns import take_turns
from onebyone.engines.unoptimised import opened
from onebyone.errors import UnreadableModel, UsageError
from onebyone.graph.count import tally
from onebyone.graph.read import read
from onebyone.graph.shapes import Sizes, infer

__all__ = ["CLOCKS", "bench", "chosen_clock"]

Shapes = Mapping[str, Sequence[int]]
Progress = Callable[[str, int, int], None]

CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}


@dataclass(frozen=True)
class _Subject:
    """A model to be timed: its file, the inputs it is fed, its MACs if they can be counted."""

    path: Path
    inputs: Mapping[str, Array]
    macs: int | None
    told: str = ""

    def file(self, engine: Engine) -> Path | None:
        """What an engine reads: the file itself, or its twin beside it with the right suffix."""
        if self.path.suffix == engine.suffix or engine.suffix != ".tflite" != self.path.suffix:
            return self.path
        twin = self.path.with_suffix(engine.suffix)
        if engine.suffix == ".tflite" and twin.is_file():
            return twin
        return None


def bench(
    models: Sequence[str | PathLike[str]],
    engines: Sequence[str] = (),
    *,
    shapes: Shapes | None = None,
    threads: int | None = None,
    seconds: float = 10.0,
    clock: str = "wall",
    progress: Progress | None = None,
) -> Bench:
    """Time models in engines, the models of an engine in turns.

    Args:
        models: paths of ONNX files, and of .tflite files, which only LiteRT runs. For an ONNX
            file LiteRT runs the .tflite file of the same name beside it, if there is one.
        engines: names; if there are none, every one that is installed and has a file to run.
        shapes: sizes of inputs by name, for the models that have them; otherwise batch 1,
            sequence 128, image 224.
        threads: of each engine; otherwise every core that this process may use.
        seconds: for the rounds of one engine; at least 9 rounds are run.
        clock: "wall", or "cpu" for the processor time of one thread, which other programs on the
            machine do not count in.
        progress: called with (stage, done, total), never while something is timed.

    Raises:
        UsageError: an unknown engine, or one that is not installed; shapes that do not fit, or
            with which no engine runs the model, though it leaves open others.
        UnreadableModel: a file is no usable model, or no engine runs it.
    """
    count = usable_cores() if threads is None else threads
    tick = chosen_clock(clock, count)
    wanted = [engine(name).name for name in dict.fromkeys(engines)]
    subjects = _subjects([Path(model) for model in models], shapes or {})
    names, notes = wanted or _engines(subjects), _missing(subjects, wanted)
    machine = measure_machine(count, names, clock=tick)
    rows = [
        row
        for n in names
        for row in _timed(engine(n), subjects, count, seconds, tick, _stage(n, progress))
    ]
    _require_times(subjects, rows)
    # Once more behind the rounds: a machine that is warm, or busy, by then has changed meanwhile.
    machine = machine.best(measure_machine(count, names, clock=tick))
    told = tuple(dict.fromkeys(subject.told for subject in subjects if subject.told))
    return Bench(machine, clock, tuple(rows), notes, told)


def chosen_clock(name: str, threads: int) -> Callable[[], float]:
    """The clock of this name, "wall" or "cpu".

    Raises:
        UsageError: there is no such clock, or several threads would share the processor time.
    """
    if name not in CLOCKS:
        raise UsageError(f"got clock {name!r}, wanted one of {', '.join(CLOCKS)}")
    if name == "cpu" and threads != 1:
        raise UsageError(
            f"got {threads} threads with the cpu clock, which adds up the time of all threads: "
            "say --threads 1, or --clock wall"
        )
    if threads < 1:
        raise UsageError(f"got {threads} threads, wanted 1 or more")
    return CLOCKS[name]


# What is timed ------------------------------------------------------------------------------------


def _subjects(paths: Sequence[Path], shapes: Shapes) -> list[_Subject]:
    subjects = [_subject(path, shapes) for path in paths]
    known = {name for subject in subjects for name in subject.inputs}
    unknown = sorted(set(shapes) - known)
    if unknown and all(path.suffix != ".tflite" for path in paths):
        raise UsageError(f"no input {unknown[0]!r} in any model; there are {sorted(known)}")
    return subjects


def _subject(path: Path, shapes: Shapes) -> _Subject:
    if path.suffix == ".tflite":
        if not path.is_file():
            raise UnreadableModel(f"{path}: no such file")
        given = {name: np.zeros(tuple(s), np.float32) for name, s in shapes.items()}
        return _Subject(path, given, None)
    model = read(path)
    infer(model)
    names = {value.name for value in model.graph.inputs}
    sizes = Sizes(model, {name: shape for name, shape in shapes.items() if name in names})
    # Integers may be indices into something small: 0 and 1 are the most modest.
    inputs = random_inputs(model, sizes.inputs, np.random.default_rng(0), below=2)
    return _Subject(path, inputs, tally(model, sizes).macs, sizes.told)


def _useful(subjects: Sequence[_Subject]) -> list[Engine]:
    """The engines that have a file to run, whether they are installed or not."""
    return [e for e in ENGINES.values() if any(s.file(e) for s in subjects)]


def _engines(subjects: Sequence[_Subject]) -> list[str]:
    """The engines to time in where none is named."""
    return [e.name for e in _useful(subjects) if installed(e.name)]


def _missing(subjects: Sequence[_Subject], wanted: Sequence[str]) -> tuple[str, ...]:
    """What there is to say about engines that are left out, though nobody chose others."""
    missing = [e for e in _useful(subjects) if not (wanted or installed(e.name))]
    return tuple(f"{e.title} is not installed: pip install {e.package}" for e in missing)


def _require_times(subjects: Sequence[_Subject], rows: Sequence[Row]) -> None:
    for subject in subjects:
        mine = [row for row in rows if row.model == str(subject.path)]
        if all(row.time is None for row in mine):
            reasons = "; ".join(dict.fromkeys(row.reason for row in mine)) or "no engine reads it"
            _require_sizes(subject, reasons)
            raise UnreadableModel(f"{subject.path}: not timed: {reasons}")


def _require_sizes(subject: _Subject, reasons: str) -> None:
    """Nothing, unless other sizes of its inputs might help: then the request is wrong."""
    if subject.path.suffix == ".tflite":
        return
    model = read(subject.path)
    # Where it cannot be opened, or no sizes can help, it is unreadable: the caller says so.
    with suppress(UnreadableModel), opened(model) as run_once:
        try:
            run_once(subject.inputs)
        except UnreadableModel as refusal:
            told = f"{subject.path}: not timed: {reasons}; say --shape, with sizes it takes"
            wrong = UsageError(told)
            blame(model, wrong)
            raise wrong from refusal


# Timing -------------------------------------------------------------------------------------------


def _timed(
    engine: Engine,
    subjects: Sequence[_Subject],
    threads: int,
    seconds: float,
    clock: Callable[[], float],
    heard: Callable[[float], object],
) -> Iterator[Row]:
    """One row for each model, in their order."""
    heard(0.0)
    loaded = [_loaded(engine, subject, threads) for subject in subjects]
    runs = {k: run for k, run in enumerate(loaded) if not isinstance(run, str)}
    times: dict[int, Sequence[float]] = {}
    again: Sequence[float] = ()
    control = Interval(1.0, 1.0, 1.0)
    if runs:
        # The control is the first model that runs, loaded again: with memory of its own.
        file = subjects[min(runs)].file(engine)
        assert file is not None
        twin = engine.load(file, subjects[min(runs)].inputs, threads)
        *theirs, again = take_turns([*runs.values(), twin], seconds, clock=clock, heard=heard)
        times = dict(zip(runs, theirs, strict=True))
        control = ratio(theirs[0], again)
    for k, subject in enumerate(subjects):
        row = Row(engine.name, engine.version, str(subject.path), subject.macs)
        if k not in runs:
            yield replace(row, reason=str(loaded[k]))
            continue
        taken = tuple(times[k])
        spread = Spread.of(taken)
        row = replace(row, rounds=len(taken), time=spread, control=control, seconds=taken)
        if k == min(runs):
            yield replace(row, again=tuple(again))
        else:
            yield replace(row, ratio=ratio(times[min(runs)], times[k]))


def _stage(name: str, progress: Progress | None) -> Callable[[float], object]:
    """What hears of the share of an engine's rounds that is done."""
    return lambda share: progress and progress(name, round(100 * share), 100)


def _loaded(engine: Engine, subject: _Subject, threads: int) -> Run | str:
    """A call that runs a model, or why there is none."""
    file = subject.file(engine)
    if file is None and engine.suffix == ".tflite":
        return f"{engine.title} runs .tflite files: put {subject.path.stem}.tflite beside it"
    if file is None:
        return f"{engine.title} runs ONNX files"
    try:
        return engine.load(file, subject.inputs, threads)
    except EngineRefuses as error:
        return str(error)
