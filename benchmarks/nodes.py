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
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from peers import TOOLS, limited, one_line

if TYPE_CHECKING:
    import onnx

TOOLS_ASKED = ("onnxsim", "onnxslim", "onnxscript", "onnxoptimizer")
LIMIT = 900.0

EXCEPTIONS: dict[tuple[str, str], str] = {}
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
        return [tool for tool in self.removed if (self.title, tool) not in EXCEPTIONS]


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


def ask(export: Export, folder: Path) -> Row:
    """One export through us and then through each tool."""
    source = folder / f"{export.title.replace(' ', '-')}.onnx"
    ours = source.with_suffix(".ours.onnx")
    try:
        limited(LIMIT, write, export, source)
        limited(LIMIT, optimise, source, ours)
    except Exception as error:
        return Row(export.title, failures={"onebyone": one_line(error)})
    before = operators(ours)
    row = Row(export.title, operators(source).total(), before.total(), ours.stat().st_size)
    for tool in TOOLS_ASKED:
        target = source.with_suffix(f".{tool}.onnx")
        try:
            limited(LIMIT, TOOLS[tool], ours, target, {})
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
        why = EXCEPTIONS.get((row.title, tool), "NO REASON")
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
    rows = []
    for export in exports():
        if options.listed not in (None, export.listed):
            continue
        if options.only and not any(part in export.title for part in options.only):
            continue
        rows.append(ask(export, options.cache))
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
