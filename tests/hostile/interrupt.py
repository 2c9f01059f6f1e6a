"""`optimize -o` interrupted at a random moment: the old files, or the whole new ones.

the command, forked ──▶ a signal, or two, after a random part of the time that it takes
  ──▶ out.onnx and out.onnx.data are both as before or both new; nothing else is there
"""

from __future__ import annotations

import os
import random
import select
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.graphs.text import model
from tests.hostile.external import moved_out
from tests.hostile.judge import left_by, start
from tests.signals import SIGNALS

__all__ = ["Interruption", "interruption", "usual_time"]

OLD = {"out.onnx": b"precious", "out.onnx.data": b"old data"}


@dataclass(frozen=True)
class Interruption:
    """One interrupted run: what was sent and when, how it ended, and what was wrong with that."""

    number: int
    sent: str
    code: int
    faults: tuple[str, ...]


def prepared(folder: Path) -> None:
    """A model with its weights beside it, and an output of earlier days."""
    # One that gains, and keeps a weight: with nothing to gain, out.onnx names the source's data.
    text = "h = MatMul(x, a) k = MatMul(h, b) r = Relu(k) y = MatMul(r, c)"
    random = np.random.default_rng(0)
    shapes = {"a": (32, 64), "b": (64, 16), "c": (16, 40)}
    weights = {n: random.standard_normal(s).astype(np.float32) for n, s in shapes.items()}
    moved_out(model(text, "float[n,32] x", constants=weights).SerializeToString(), folder)
    for name, data in OLD.items():
        (folder / name).write_bytes(data)


def interruption(seed: int, number: int, most: float) -> Interruption:
    """Run `optimize` on its own weights' copy and interrupt it within `most` seconds."""
    draw = random.Random(f"{seed} {number}")
    with tempfile.TemporaryDirectory(prefix="interrupted-") as outer:
        folder, place = Path(outer) / "model", Path(outer) / "place"
        folder.mkdir()
        prepared(folder)
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        child = start("optimize", folder, place)
        sent = [draw.choice(SIGNALS)]
        ended = _ends(child, most * draw.random())
        if not ended:
            os.kill(child, sent[0])
            if draw.random() < 0.3:
                ended = _ends(child, 0.01 * draw.random())
                sent.append(draw.choice(SIGNALS))
                if not ended:
                    os.kill(child, sent[-1])
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        said = (place / "err").read_text(errors="replace")
        faults = [*_of_files(before, folder), *_of_end(code, said, len(sent)), *left_by(place)]
        shutil.rmtree(place)
    return Interruption(number, "+".join(s.name for s in sent), code, tuple(faults))


def _ends(child: int, seconds: float) -> bool:
    """Wait; whether the process ended meanwhile (it stays to be waited for)."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return True
        select.select([], [], [], 0.002)
    return False


def _of_files(before: dict[str, bytes], folder: Path) -> list[str]:
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    faults = [f"left {name}" for name in after.keys() - before.keys()]
    faults += [f"took {name}" for name in before.keys() - after.keys()]
    new = {name for name, old in OLD.items() if after.get(name) != old}
    if new not in (set(), set(OLD)):
        faults.append(f"only {new} is new")
    faults += [f"changed {n}" for n, old in before.items() if n not in OLD and after.get(n) != old]
    return faults


def _of_end(code: int, said: str, signals: int) -> list[str]:
    if code == 0:
        return [f"said {said!r}"] if said else []
    faults = [] if code == 130 else [f"exit code {code}"]
    if said.strip() != "onebyone: interrupted" and not (signals > 1 and not said):
        faults.append(f"said {said[-300:]!r}")
    return faults


def usual_time(folder: Path) -> float:
    """Seconds that the command takes when nothing disturbs it; it must succeed."""
    source, place = folder / "model", folder / "place"
    source.mkdir()
    prepared(source)
    begin = time.monotonic()
    _, status = os.waitpid(start("optimize", source, place), 0)
    if status:
        sys.exit((place / "err").read_text())
    return time.monotonic() - begin
