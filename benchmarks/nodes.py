"""Does any other tool take a node out of what we wrote?

    python benchmarks/nodes.py                         the README's rows and forty further exports
    python benchmarks/nodes.py --only swin bert --json nodes.json

Each export is optimised here, and the result goes through onnxsim, onnxslim, onnxscript and
onnxoptimizer, each as its documentation shows it. Nodes are counted in the main graph and in
subgraphs, without `Constant`. A tool that leaves fewer than it was given found something that we
left: the operators that it removed are listed. What it writes may be larger or unequal; such
results are told apart by `EXCEPTIONS`, which gives the reason. Exits with 1 if a row has none.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import multiprocessing
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from peers import TOOLS, one_line

if TYPE_CHECKING:
    import onnx

TOOLS_ASKED = ("onnxsim", "onnxslim", "onnxscript", "onnxoptimizer")
LIMIT = 900.0

QKV = "stacked q/k/v: one product of three weights and a Split measure no faster"
# Of the further ones, timed in turns beside what onnxsim wrote (one thread): 0.99 to 1.01 in ONNX
# Runtime, 1.00 to 1.05 in OpenVINO, where the same file against itself gave 0.98 to 1.05.
FOREIGN = "an Attention of com.microsoft: not standard ONNX, and slower (0.92× in ONNX Runtime)"
GELU = "the Mul is part of a GELU that engines fuse only with it (repvit: 1.11× the time, 1.03×)"
GROWS = "a mask, anchors or places that are computed: as constants they make the file larger"
ROUNDS = "a factor of 0.999995 that it takes for 1: not equal"
LAST_BIT = "integers that hang on the last bit of a logarithm: in float64 they are others"

EXCEPTIONS: dict[tuple[str, str], str] = {
    **{
        (f"{name} {exporter}", "onnxsim"): QKV
        for name in ("deit-small", "lora-vit", "segformer-b0", "segformer-b2", "segformer-b5")
        for exporter in ("torchscript", "dynamo")
    },
    **{
        (title, "onnxsim"): QKV
        for title in (
            *("clip-vision torchscript", "clip-vision dynamo", "dpt torchscript free"),
            *("dpt dynamo free", "mobilevit torchscript free", "mobilevit dynamo free"),
            *("swin dynamo free", "t5-encoder dynamo", "whisper-encoder dynamo"),
        )
    },
    ("bert torchscript free", "onnxsim"): FOREIGN,
    ("repvit-m1 torchscript", "onnxsim"): GELU,
    ("wav2vec2 torchscript", "onnxsim"): GELU,
    ("whisper-encoder torchscript", "onnxsim"): GELU,
    **{(f"repvit-m1 {exporter}", "onnxscript"): ROUNDS for exporter in ("torchscript", "dynamo")},
    **{
        (title, tool): GROWS
        for title in (
            *("swin torchscript free", "yolov8n torchscript", "yolo11n torchscript"),
            *("rt-detr torchscript", "d-fine torchscript"),
        )
        for tool in ("onnxsim", "onnxslim", "onnxscript")
    },
    **{
        ("t5-encoder torchscript", tool): LAST_BIT for tool in ("onnxsim", "onnxslim", "onnxscript")
    },
}
"""(export, tool) -> why what it removes stays."""


@dataclass(frozen=True)
class Export:
    """One file to write: a name, an exporter, whether axes are free, and of which list it is."""

    name: str
    exporter: str
    free: bool
    listed: str

    @property
    def title(self) -> str:
        return f"{self.name} {self.exporter}{' free' if self.free else ''}"


@dataclass(frozen=True)
class Row:
    """Nodes of an export, of our result, and of what each tool makes of that.

    `removed` has by tool the operators that it left fewer of, where it left fewer nodes.
    """

    title: str
    original: int = 0
    ours: int = 0
    bytes: int = 0
    left: dict[str, int] = field(default_factory=dict)
    removed: dict[str, dict[str, int]] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def unexplained(self) -> list[str]:
        return [tool for tool in self.removed if self.why(tool) is None]

    def why(self, tool: str) -> str | None:
        """Why what a tool removes stays, where that holds of what it wrote."""
        found = EXCEPTIONS.get((self.title, tool))
        if found is GROWS and self.sizes.get(tool, 0) <= self.bytes:
            return None
        return found


def exports() -> list[Export]:
    """All that is asked about: the README's rows by both exporters, and the further ones."""
    from further import FURTHER
    from models import ARCHITECTURES, EXPORTERS

    rows = [Export(name, by, False, "readme") for by in EXPORTERS for name in ARCHITECTURES]
    return rows + [Export(name, by, free, "further") for name, by, free in FURTHER]


def write(export: Export, path: Path) -> None:
    """Export one network, unless the file is there."""
    from further import export_further
    from models import ARCHITECTURES, export_row

    if path.exists():
        return
    partial = path.with_suffix(".partial")
    if export.listed == "readme":
        export_row(ARCHITECTURES[export.name], export.exporter, export.free, partial)
    else:
        export_further(export.name, export.exporter, export.free, partial)
    partial.rename(path)


def operators(path: Path) -> Counter[str]:
    """How often each operator stands in a file, in subgraphs too; standard ones, no `Constant`."""
    import onnx

    return Counter(
        node.op_type
        for node in _nodes(onnx.load(path, load_external_data=False).graph)
        if node.domain in ("", "ai.onnx") and node.op_type != "Constant"
    )


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _nodes(inner)


def optimise(source: Path, target: Path) -> None:
    """Our result, not verified: other benchmarks do."""
    import onebyone

    onebyone.write(onebyone.optimize(source, verify=False).model, target)


class Worker:
    """A process that runs one call after the other; a new one after a crash or a time-out."""

    def __init__(self) -> None:
        self.pool: ProcessPoolExecutor | None = None

    def run(self, function: Callable[..., object], *arguments: object) -> None:
        """Call a function of a module; raises what it raises, or that the process was lost."""
        if self.pool is None:
            context = multiprocessing.get_context("spawn")
            self.pool = ProcessPoolExecutor(1, mp_context=context)
        try:
            error = self.pool.submit(_quietly, function, arguments).result(LIMIT)
        except Exception:
            for process in list((self.pool._processes or {}).values()):
                process.kill()
            self.pool = None
            raise
        if error:
            raise RuntimeError(error)


def _quietly(function: Callable[..., object], arguments: Sequence[object]) -> str:
    """What went wrong, as a line: not every exception can be sent."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            function(*arguments)
    except Exception as error:
        return one_line(error)
    return ""


def ask(export: Export, folder: Path, worker: Worker) -> Row:
    """One export through us and then through each tool."""
    source = folder / f"{export.title.replace(' ', '-')}.onnx"
    ours = source.with_suffix(".ours.onnx")
    try:
        worker.run(write, export, source)
        worker.run(optimise, source, ours)
    except Exception as error:
        return Row(export.title, failures={"onebyone": one_line(error)})
    before = operators(ours)
    row = Row(export.title, operators(source).total(), before.total(), ours.stat().st_size)
    for tool in TOOLS_ASKED:
        target = source.with_suffix(f".{tool}.onnx")
        try:
            worker.run(TOOLS[tool], ours, target, {})
            _note(row, tool, before, operators(target))
            row.sizes[tool] = target.stat().st_size
        except Exception as error:  # a tool that fails removes nothing
            row.failures[tool] = one_line(error)
    return row


def _note(row: Row, tool: str, before: Counter[str], after: Counter[str]) -> None:
    row.left[tool] = after.total()
    if after.total() < before.total():
        row.removed[tool] = dict(before - after) | {f"+{k}": v for k, v in (after - before).items()}


def tell(row: Row) -> None:
    """One line, and one more for each tool that removed something."""
    counts = " ".join(f"{tool} {row.left.get(tool, '–')}" for tool in TOOLS_ASKED)
    print(f"{row.title:32} {row.original:5} → {row.ours:5} | {counts}", flush=True)
    for tool, found in row.removed.items():
        why = row.why(tool) or "NO REASON"
        size = row.sizes.get(tool, 0) - row.bytes
        print(f"    {tool}: {found} bytes {size:+}: {why}", flush=True)
    for tool, reason in row.failures.items():
        print(f"    {tool} failed: {reason}", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask about all that was chosen; 1 if a tool removed a node without a reason."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--only", nargs="+", help="names of networks, or parts of titles")
    parser.add_argument("--listed", choices=("readme", "further"))
    parser.add_argument("--json", type=Path)
    parser.add_argument(
        "--cache", type=Path, default=Path(tempfile.gettempdir()) / "onebyone-nodes"
    )
    options = parser.parse_args(arguments)
    options.cache.mkdir(parents=True, exist_ok=True)
    rows, worker = [], Worker()
    for export in exports():
        if options.listed not in (None, export.listed):
            continue
        if options.only and not any(part in export.title for part in options.only):
            continue
        rows.append(ask(export, options.cache, worker))
        tell(rows[-1])
        if options.json:
            options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    left = [row for row in rows if row.unexplained]
    nodes = sum(row.ours for row in rows)
    print(
        f"{len(rows)} exports, {nodes} nodes; a tool removes some of {len(left)} without a reason"
    )
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
