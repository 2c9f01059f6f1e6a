"""Mutants: each law broken on purpose, one place at a time; the tests have to see every one.

    python benchmarks/mutants.py                     all laws
    python benchmarks/mutants.py --law prune         one law

A row names a law, a function, code that stands in it exactly once and what it becomes, what that
breaks, and the tests that should see it. For each row the package and its tests are copied to a
temporary folder, the copy is changed, and the tests are run on it. A mutant is *killed* when a
test fails; it *survived* when all pass, and is *broken* when the tests cannot even be collected or
take longer than `--limit`, which proves nothing. Before that, the same tests have to pass on an
unchanged copy. Prints law × killed and survived; exits with 1 unless all are killed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mutant import Mutant, mutated
from pass_faults import PASS_FAULTS
from region_faults import REGION_FAULTS

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path("src/onebyone")

MUTANTS = (*REGION_FAULTS, *PASS_FAULTS)

KILLED, SURVIVED, BROKEN = "killed", "survived", "broken"


def snapshot(folder: Path) -> None:
    """Copy what tests need, as it is now; in the copy Hypothesis does not shrink."""
    for part in ("docs", "src", "tests"):
        shutil.copytree(ROOT / part, folder / part)
    shutil.copy(ROOT / "pyproject.toml", folder)
    with (folder / "tests/conftest.py").open("a", encoding="utf-8") as conftest:
        conftest.write(_UNSHRUNK)


_UNSHRUNK = """
from hypothesis import Phase

_PHASES = (Phase.explicit, Phase.generate)  # the first counterexample will do
settings.register_profile("mutants", deadline=None, derandomize=True, phases=_PHASES)
settings.load_profile("mutants")
"""


def change(package: Path, mutant: Mutant) -> None:
    """Break a package."""
    texts = {path: path.read_text("utf-8") for path in sorted(package.rglob("*.py"))}
    path, text = mutated(mutant, texts)
    path.write_text(text, "utf-8")


def outcome(folder: Path, paths: Sequence[str], limit: float) -> tuple[str, str]:
    """What the tests say of a copy, and the first of them that failed."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder / "src"),
        "PYTHONDONTWRITEBYTECODE": "",  # the original's serves all copies
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *paths]
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=limit
        )
    except subprocess.TimeoutExpired:
        return BROKEN, f"longer than {limit:g} s"
    told = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    # pytest: 0 all passed, 1 some failed, above: not collected, interrupted, no tests.
    return {0: SURVIVED, 1: KILLED}.get(done.returncode, BROKEN), "".join(told[:1])


def check(mutant: Mutant, original: Path, limit: float) -> tuple[str, str]:
    """Whether the tests kill a mutant of the original, and which one does."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as name:
        folder = Path(name) / "copy"
        shutil.copytree(original, folder)
        change(folder / PACKAGE, mutant)
        return outcome(folder, mutant.paths, limit)


def unchanged(mutants: Sequence[Mutant], original: Path, limit: float) -> str:
    """What the tests say of the original: empty where all of them pass."""
    paths = sorted({path for mutant in mutants for path in mutant.paths})
    found, told = outcome(original, paths, limit)
    return "" if found == SURVIVED else told or found


def checked(mutants: Sequence[Mutant], original: Path, limit: float, workers: int) -> Iterator[str]:
    """What becomes of each mutant, told as it is known."""
    with ThreadPoolExecutor(workers) as pool:
        results = pool.map(lambda mutant: check(mutant, original, limit), mutants)
        for mutant, (found, told) in zip(mutants, results, strict=True):
            print(f"{found:<9} {mutant.law:<8} {mutant.scope}: {mutant.fault}  {told}", flush=True)
            yield found


def table(mutants: Sequence[Mutant], found: Sequence[str]) -> str:
    """Law × killed, survived, broken."""
    counts = Counter(zip((m.law for m in mutants), found, strict=True))
    kinds = (KILLED, SURVIVED, BROKEN)
    lines = [f"{'law':<10}" + "".join(f"{kind:>10}" for kind in kinds)]
    for law in dict.fromkeys(m.law for m in mutants):
        lines.append(f"{law:<10}" + "".join(f"{counts[law, kind]:>10}" for kind in kinds))
    totals = Counter(found)
    return "\n".join([*lines, f"{'all':<10}" + "".join(f"{totals[kind]:>10}" for kind in kinds)])


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--law", choices=tuple(dict.fromkeys(m.law for m in MUTANTS)))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--limit", type=float, default=600, help="seconds for one mutant's tests")
    options = parser.parse_args()
    mutants = [m for m in MUTANTS if options.law in (None, m.law)]
    with tempfile.TemporaryDirectory(prefix="original-") as name:
        original = Path(name)
        snapshot(original)
        if wrong := unchanged(mutants, original, 10 * options.limit):
            print(f"the tests do not pass on the package as it is: {wrong}")
            return 1
        found = list(checked(mutants, original, options.limit, options.workers))
    print(table(mutants, found))
    return int(any(kind != KILLED for kind in found))


if __name__ == "__main__":
    sys.exit(main())
