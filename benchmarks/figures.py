"""How the code reads, in figures: its size, its scatter, its circles. `make figures`.

None of them is a goal by itself; each has been one that went the wrong way without being looked at.
"""

from __future__ import annotations

import argparse
import ast
import io
import itertools
import json
import re
import statistics
import sys
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import onebyone
import onebyone.optimize.run  # all that a walk needs is imported before it is watched

ROOT = Path(onebyone.__file__).parent
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
DOCUMENTED = (ast.Module, ast.ClassDef, *DEFINITIONS)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    parser.add_argument("--files", action="store_true", help="list the files of the walk")
    arguments = parser.parse_args()
    found = figures()
    for name, value in found.items():
        print(f"{name:<58} {value:>10,}" if value != int(value) else f"{name:<58} {value:>10,.0f}")
    if arguments.files:
        print("\n".join(walk()[0]))
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 0


def figures() -> dict[str, float]:
    """Each figure by its name, over the package's files, the views (`show/`) apart."""
    sources = {path: path.read_text(encoding="utf-8") for path in sorted(ROOT.rglob("*.py"))}
    core = {
        path: text for path, text in sources.items() if path.relative_to(ROOT).parts[0] != "show"
    }
    shown = {path: text for path, text in sources.items() if path not in core}
    lines = sum(map(code_lines, core.values()))
    files, switches = walk()
    files_long = [text.count("\n") for text in core.values()]
    functions = [length for text in core.values() for length in function_lengths(text)]
    conditional, nested = (
        sum(counts) for counts in zip(*map(conditionals, core.values()), strict=True)
    )
    comments = sum(map(comment_lines, core.values()))
    slices = [path for path, text in core.items() if re.search(r"""["']Slice["']""", text)]
    # The algebra knows no operator: its own Slice is a map of positions.
    slices = [path for path in slices if path.relative_to(ROOT).parts[0] != "algebra"]
    return {
        "lines of code (no blank lines, comments, docstrings)": lines,
        "lines of code of the views (show/)": sum(map(code_lines, shown.values())),
        "files that one rewrite of Resize, Concat, 1x1 passes": len(files),
        "switches between files on the way": switches,
        "files that name Slice outside graph/ops": sum("ops" not in path.parts for path in slices),
        "import circles between files": len(circles(sources, file_of)),
        "import circles between folders": len(circles(sources, folder_of)),
        "median file, lines": statistics.median(files_long),
        "longest file, lines": max(files_long),
        "median function, lines": statistics.median(functions),
        "functions at the ninth decile, lines": float(np.quantile(functions, 0.9)),
        "comments a hundred lines": round(100 * comments / lines, 2),
        "conditional expressions a hundred lines": round(100 * conditional / lines, 2),
        "nested conditional expressions": nested,
    }


def code_lines(text: str) -> int:
    """Lines that hold code: not blank, no comment, no docstring."""
    kept = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.string.strip() and token.type != tokenize.COMMENT:
            kept.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node) is not None:
            kept.difference_update(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return len(kept)


def comment_lines(text: str) -> int:
    """Comments for a reader; directives to a tool (`# type:`, `# noqa`) are none."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    words = [token.string for token in tokens if token.type == tokenize.COMMENT]
    return sum(not re.match(r"#\s*(type:|noqa|pragma|fmt:)", word) for word in words)


def function_lengths(text: str) -> Iterator[int]:
    """Lines of each function, from its `def` to its end."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, DEFINITIONS):
            yield node.end_lineno - node.lineno + 1


def conditionals(text: str) -> tuple[int, int]:
    """How many conditional expressions there are, and how many stand directly in another."""
    found = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.IfExp)]
    inner = [isinstance(part, ast.IfExp) for node in found for part in (node.body, node.orelse)]
    return len(found), sum(inner)


def circles(sources: dict[Path, str], part: Callable[[str], str]) -> list[list[str]]:
    """Sets of parts that import each other in a circle, at the top or inside functions."""
    names = {module(path): text for path, text in sources.items()}
    reads: dict[str, set[str]] = {part(name): set() for name in names}
    for name, text in names.items():
        reads[part(name)] |= set(map(part, imported(ast.parse(text), names))) - {part(name)}
    reached = {name: closure(name, reads) for name in reads}
    sets = {frozenset(b for b in reached[a] if a in reached[b]) for a in reads if a in reached[a]}
    return [sorted(parts) for parts in sets]


def file_of(name: str) -> str:
    """A file is a part by itself."""
    return name


def folder_of(name: str) -> str:
    """The folder, or top-level file, of the package that a module belongs to."""
    return ".".join(name.split(".")[:2])


def module(path: Path) -> str:
    """The dotted name of a file."""
    return ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")


def imported(tree: ast.Module, known: dict[str, str]) -> Iterator[str]:
    """Names of the package's modules that a file imports, types apart."""
    for node in executed(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module in known:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in known else node.module for name in inner)


def executed(node: ast.AST) -> Iterator[ast.AST]:
    """All below a node but what only a type checker reads."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        yield child
        yield from executed(child)


def closure(start: str, reads: dict[str, set[str]]) -> set[str]:
    """What is reached from a module in one step or more."""
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        new = reads[waiting.pop()] - seen
        seen |= new
        waiting += new
    return seen


def walk() -> tuple[list[str], int]:
    """Files that a 1x1 behind an upsampling and a concat passes, and how often they take turns.

    A turn: two calls in a row, in the order in which they are made, in different files.
    """
    model = upsampled()
    # Once before: what is cached at the first use is no part of the way.
    onebyone.optimize(model, verify=False)
    calls: list[str] = []

    def watch(frame, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(str(ROOT)):
            calls.append(frame.f_code.co_filename)

    watched(lambda: onebyone.optimize(model, verify=False), watch)
    files = sorted({str(Path(name).relative_to(ROOT)) for name in calls})
    return files, sum(a != b for a, b in itertools.pairwise(calls))


def watched(act: Callable[[], object], watch: Callable[..., None]) -> None:
    """Run something while `watch` hears of each call."""
    sys.setprofile(watch)
    try:
        act()
    finally:
        sys.setprofile(None)


def upsampled() -> onnx.ModelProto:
    """Resize -> Concat -> 1x1: the neck of a detector, small."""
    weight = np.arange(7 * 5, dtype=np.float32).reshape(7, 5, 1, 1)
    scales = np.array([1, 1, 2, 2], np.float32)
    nodes = [
        helper.make_node("Resize", ["x", "", "scales"], ["up"], mode="nearest"),
        helper.make_node("Concat", ["up", "skip"], ["both"], axis=1),
        helper.make_node("Conv", ["both", "weight"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "neck",
        [value("x", 1, 3, 5, 7), value("skip", 1, 2, 10, 14)],
        [value("y", 1, 7, 10, 14)],
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(scales, "scales")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def value(name: str, *shape: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


if __name__ == "__main__":
    sys.exit(main())
