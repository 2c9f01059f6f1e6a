"""`python -m onebyone.demo [--out DIR]`: optimise the bundled network and see what that does.

Prints the report of `onebyone optimize` and a comparison of both networks in ONNX Runtime on the
held-out canvases. Writes the optimised network, the class maps of one canvas, before and after, and
the report as a page for a browser; what is missing to draw these is said in a line.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console, Group
from rich.table import Table

from onebyone.bundled import MODEL, HeldOut, accuracy, held_out
from onebyone.engines.engine import Run, engine
from onebyone.engines.machine import usable_cores
from onebyone.engines.spread import Spread, at_odds, ratio
from onebyone.engines.turns import take_turns
from onebyone.errors import CheckFailed, OnebyoneError, UsageError
from onebyone.graph.write import write
from onebyone.optimize import optimize
from onebyone.show.figures import class_maps, save
from onebyone.show.html import page
from onebyone.terminal import readable

Maps = NDArray[np.float32]

# All canvases at once would take half a gigabyte in the decoder.
_BATCH = 10
_SECONDS = 1.0
"""Of timing both networks in turns."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; return 0, or after one line on stderr the exit code of the error."""
    readable()  # before the parser, which may have to print its help
    parser = argparse.ArgumentParser(prog="python -m onebyone.demo", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/demo"), help="where to write")
    try:
        run(parser.parse_args(arguments).out)
    except OnebyoneError as error:
        print(f"onebyone: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def run(out: Path) -> None:
    """Optimise, compare and print; write the network, its class maps and the report into `out`.

    Raises UsageError if `out` cannot be written to, CheckFailed if the two networks differ.
    """
    # In a pipe or a file nobody knows a width: rich would break lines at 80.
    width = None if sys.stdout.isatty() else 120
    console = Console(emoji=False, highlight=False, width=width)
    optimized = _folder(out) / "digits.optimized.onnx"
    truth = held_out()
    inputs = truth.inputs()
    console.print(f"onebyone optimize {MODEL.name} -o {optimized}\n", markup=False)
    result = optimize(MODEL, shapes={"canvas": inputs[:1].shape}, data={"canvas": inputs[:_BATCH]})
    console.print(result.report)
    if not (result.report.certificate and result.report.certificate.passed):
        raise CheckFailed(f"{MODEL}: the certificate failed, nothing was written: report this")
    write(result.model, optimized)

    times = take_turns([_network(path, inputs[:1]) for path in (MODEL, optimized)], _SECONDS)
    maps = _maps(MODEL, inputs), _maps(optimized, inputs)
    console.print(_comparison(truth, maps, times))
    shown = {
        f"Its class maps: {out / 'class_maps.png'}": lambda: save(
            class_maps(truth.canvases[0], maps[0][0], maps[1][0]), out / "class_maps.png"
        ),
        f"The report, for a browser: {out / 'report.html'}": lambda: page.save(
            page.page(result.report, MODEL.name), out / "report.html"
        ),
    }
    console.print(f"\nThe optimised network: {optimized}", markup=False)
    for said, draw in shown.items():
        console.print(_drawn(draw) or said, markup=False)


def _drawn(draw: Callable[[], None]) -> str:
    """Draw, or say what is missing for it."""
    try:
        draw()
    except UsageError as error:
        return f"not drawn: {error}"
    return ""


def _folder(out: Path) -> Path:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror
        raise UsageError(f"--out {out}: {reason}: name a folder that can be written to") from error
    return out


def _network(path: Path, inputs: NDArray[np.float32]) -> Run:
    """The model in ONNX Runtime, with the runtime's own optimisations: they are the competition."""
    return engine("onnxruntime").load(path, {"canvas": inputs}, usable_cores())


def _maps(path: Path, inputs: NDArray[np.float32]) -> Maps:
    """What a network gives for all the canvases."""
    parts = np.split(inputs, range(_BATCH, len(inputs), _BATCH))
    return np.concatenate([_network(path, part)()[0] for part in parts])


def _comparison(truth: HeldOut, maps: tuple[Maps, Maps], times: Sequence[Sequence[float]]) -> Group:
    table = Table(title="\nin ONNX Runtime", title_justify="left", box=None, padding=(0, 1))
    table.add_column()
    table.add_column("before", justify="right")
    table.add_column("after", justify="right")
    table.add_column()
    right = [f"{accuracy(one, truth):.1%}" for one in maps]
    most = float(np.abs(maps[0] - maps[1]).max())
    n, size = truth.labels.size, "×".join(map(str, truth.canvases.shape[1:]))
    table.add_row(f"accuracy on {n} held-out digits", *right, f"maps differ by at most {most:.1e}")
    # The ratio is that of rounds, in which both ran next to each other, and not of the medians.
    first, second = (Spread.of(one).median for one in times)
    found = ratio(times[0], times[1])
    medians = [f"{1e3 * one:.2f} ms" for one in (first, second)]
    table.add_row(f"time for one canvas of {size}", *medians, f"{found.median:.2f}× as fast")
    return Group(table, *filter(None, [at_odds(found, first, second)]))


if __name__ == "__main__":
    sys.exit(main())
