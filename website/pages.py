"""Lay out the documentation site's pages, for `make docs` to build: build/docs.

    README.md               the first page
    docs/**/*.md            as they are, their links seen from the site
    what these link to      beside them, under repository/: pages as pages, source as listings
    api/                    a page for each row of `API`, from the docstrings
    explorer.html           what `onebyone explore` writes, with links to the claims
    report.html             `onebyone optimize --report` of the bundled network

Links are written for a forge, relative to the file that has them. Here each is turned into the one
that leads to the same file on the site; one that leads nowhere is an error.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from onebyone.show.explorer.build import build

ROOT = Path(__file__).parents[1]
OUT = ROOT / "build" / "docs"
LINK = re.compile(r'(?<=\]\()([^)#\s]+)(?=[)#])|(?<=src=")([^"]+)|(?<=srcset=")([^"]+)')
MADE = {ROOT / "docs" / "explorer.html", ROOT / "docs" / "report.html"}
LANGUAGES = {".py": "python", ".toml": "toml", ".md": "markdown"}

# Page -> its title, and what is documented on it.
API: dict[str, tuple[str, str]] = {
    "index": (
        "Functions",
        "onebyone.api.count onebyone.api.geometry onebyone.api.optimize onebyone.api.rank "
        "onebyone.graph.read.read "
        "onebyone.graph.write.write onebyone.verify.verify.verify",
    ),
    "results": (
        "Results",
        "onebyone.counting.value.Count onebyone.counting.value.LayerCount "
        "onebyone.counting.tree.Branch onebyone.counting.operators.Operators "
        "onebyone.counting.conventions onebyone.optimize.run.Optimized "
        "onebyone.optimize.report onebyone.verify.certificate "
        "onebyone.algebra.rank.Rank onebyone.graph.receptive onebyone.algebra.geometry",
    ),
    "errors": ("Errors", "onebyone.errors"),
    "algebra": (
        "Algebra",
        "onebyone.algebra.laws onebyone.algebra.channel onebyone.algebra.space "
        "onebyone.algebra.word onebyone.algebra.kernel onebyone.algebra.pool "
        "onebyone.algebra.resize onebyone.algebra.selection onebyone.algebra.expression "
        "onebyone.algebra.digits onebyone.algebra.refusal",
    ),
    "nn": (
        "Layers and blocks",
        "onebyone.nn.pointwise onebyone.nn.bottleneck onebyone.nn.shortcut onebyone.nn.separable "
        "onebyone.nn.inverted onebyone.nn.inception onebyone.nn.fire onebyone.nn.mlpconv "
        "onebyone.nn.shared_mlp onebyone.nn.points onebyone.nn.class_maps onebyone.nn.products",
    ),
    "convert": (
        "Conversions",
        "onebyone.nn.convert.linear onebyone.nn.convert.channels onebyone.nn.convert.norm "
        "onebyone.nn.convert.patches onebyone.nn.convert.points onebyone.nn.convert.tied "
        "onebyone.nn.convert.plain onebyone.nn.copies.stored "
        "onebyone.nn.sliding.fully_convolutional",
    ),
}


def place(path: Path) -> Path:
    """Where a file of the repository stands on the site, from its root."""
    if path == ROOT / "README.md":
        return Path("index.md")
    inside = path.is_relative_to(ROOT / "docs")
    there = path.relative_to(ROOT / "docs") if inside else "repository" / path.relative_to(ROOT)
    if there.name == "README.md":
        return there.with_name("index.md")
    return there.with_name(there.name + ".md") if path.suffix == ".py" else there


def target(page: Path, link: str) -> Path:
    """The file that a link of a page leads to; of a folder its README."""
    path = Path(os.path.normpath(page.parent / link))
    return path / "README.md" if path.is_dir() else path


def seen_from_site(page: Path, text: str) -> str:
    """The page with its links turned."""

    def turned(found: re.Match[str]) -> str:
        link = found[0]
        if "://" in link:
            return link
        path = place(target(page, link))
        return os.path.relpath(path, place(page).parent).replace(os.sep, "/")

    return LINK.sub(turned, text)


def linked(page: Path, text: str) -> Iterable[Path]:
    """The files that a page's links lead to; raises FileNotFoundError for one that is not there."""
    for found in LINK.finditer(text):
        if "://" not in found[0]:
            path = target(page, found[0])
            if path not in MADE:
                if not path.is_file():
                    raise FileNotFoundError(f"{page.relative_to(ROOT)} links to {found[0]}")
                yield path


def lay(pages: Iterable[Path]) -> None:
    """Put pages, and all that they lead to, in their places."""
    todo, seen = list(pages), set[Path]()
    while todo:
        path = todo.pop()
        if path in seen:
            continue
        seen.add(path)
        there = OUT / place(path)
        there.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md":
            text = path.read_text(encoding="utf-8")
            todo += linked(path, text)
            there.write_text(seen_from_site(path, text), encoding="utf-8")
        elif path.suffix == ".py":
            there.write_text(listing(path), encoding="utf-8")
        else:
            shutil.copy(path, there)


def listing(path: Path) -> str:
    """A page that shows a source file."""
    source = path.read_text(encoding="utf-8")
    return f"# {path.relative_to(ROOT).as_posix()}\n\n````{LANGUAGES[path.suffix]}\n{source}````\n"


def reference() -> None:
    """The pages of the API."""
    (OUT / "api").mkdir(parents=True, exist_ok=True)
    for name, (title, parts) in API.items():
        rows = "\n\n".join(f"::: {part}" for part in parts.split())
        (OUT / "api" / f"{name}.md").write_text(f"# {title}\n\n{rows}\n", encoding="utf-8")


def made() -> None:
    """The explorer, its claims linked to their page, and the report of the bundled network."""
    (OUT / "explorer.html").write_text(build(docs="seeds.html"), encoding="utf-8")
    model = ROOT / "src" / "onebyone" / "demo" / "digits.onnx"
    onebyone = [sys.executable, "-m", "onebyone"]
    report = ["--dry-run", "--shape", "canvas=1,1,96,112", "--report", OUT / "report.html"]
    subprocess.run([*onebyone, "optimize", model, *report], check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    """Lay all out anew."""
    shutil.rmtree(OUT, ignore_errors=True)
    lay([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
    shutil.copy(ROOT / "website" / "style.css", OUT / "style.css")
    reference()
    made()


if __name__ == "__main__":
    main()
