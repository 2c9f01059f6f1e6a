"""A numbered trial: the mutant that a seed and a number draw, and the commands' verdicts on it."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.hostile.judge import COMMANDS, NOTED, Limits, Verdict, attempt, clean
from tests.hostile.mutants import KINDS, write_mutant
from tests.hostile.sources import SOURCES

__all__ = ["Trial", "trial"]

# A dry run is `optimize -o` but for the file: one mutant of so many shows that nothing is written.
# No divisor of the number of kinds, so that each kind has some.
DRY = 5


@dataclass(frozen=True)
class Trial:
    """One mutant: its number, its kind, what it was made from, and each command's verdict."""

    number: int
    kind: str
    source: str
    verdicts: tuple[Verdict, ...]

    @property
    def faults(self) -> list[str]:
        """What went wrong, by command; empty if nothing did."""
        return [f"{v.command}: {fault}" for v in self.verdicts for fault in v.faults]

    @property
    def odd(self) -> bool:
        """Whether it is worth a look: a fault, an error nobody foresaw, a failed certificate."""
        seen = {v.outcome for v in self.verdicts}
        return bool(seen & {"FAULT", NOTED["TRACEBACK=1"], NOTED["the certificate failed"]})


def trial(
    seed: int,
    number: int,
    limits: Limits,
    kept: Path | None = None,
    kinds: Sequence[str] = tuple(KINDS),
    sources: Sequence[str] = (),
) -> Trial:
    """Make mutant `number` and run the commands on it; an odd one is copied into `kept`."""
    draw = random.Random(f"{seed} {number}")
    usable = [s for s in SOURCES if (s.name in sources if sources else s.models())]
    source = draw.choices(usable, [s.weight for s in usable])[0]
    kind = kinds[number % len(kinds)]
    outer = Path(tempfile.mkdtemp(prefix="hostile-"))
    folder = outer / "model"
    folder.mkdir()
    try:
        (outer / "outside").write_bytes(bytes(4096))
        data = source.draw(draw)
        write_mutant(kind, data, draw, folder)
        done = Trial(number, kind, source.name, tuple(_verdicts(number, folder, limits)))
        if kept is not None and done.odd:
            _keep(folder, kept / f"{number:05} {kind} {source.name}".replace(" ", "-"))
        return done
    finally:
        clean(outer)


def _verdicts(number: int, folder: Path, limits: Limits) -> list[Verdict]:
    """Of each command; where nothing was written the model is verified against itself."""
    found = []
    for command in COMMANDS:
        if command == "dry run" and number % DRY:
            continue
        if command == "verify" and not (folder / "out.onnx").exists():
            shutil.copyfile(folder / "model.onnx", folder / "out.onnx")
        found.append(attempt(command, folder, limits))
    return found


def _keep(folder: Path, kept: Path) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir()
    for path in folder.iterdir():
        if path.is_file() and not path.is_symlink() and not path.name.startswith("out.onnx"):
            shutil.copyfile(path, kept / path.name)
