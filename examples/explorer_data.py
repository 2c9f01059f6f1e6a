"""Write what the explorer's page carries: `src/onebyone/show/explorer/data/`.

- `picture.npy`: the upper part of NASA's photograph of the astronaut Eileen Collins, each pixel the
  mean of 6×6. It ships with scikit-image (`skimage.data.astronaut`), which says: no known copyright
  restrictions, released into the public domain;
- `claims.json`: the rows of docs/seeds.md.

The links of docs/seeds.md to the panels are written anew, too, from the `claims` of each panel.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]
SEEDS = ROOT / "docs" / "seeds.md"
DATA = ROOT / "src" / "onebyone" / "show" / "explorer" / "data"
PANELS = DATA.parent / "page" / "panels"
ROW = r'^\| <a id="claim-[\d.]+"></a>(\d+\.\d+ \|.*) \|$'
HEIGHT, WIDTH, STEP = 63, 84, 6


def picture() -> NDArray[np.uint8]:
    """(3, HEIGHT, WIDTH)."""
    from skimage.data import astronaut

    part = astronaut()[: HEIGHT * STEP, : WIDTH * STEP].reshape(HEIGHT, STEP, WIDTH, STEP, 3)
    return np.ascontiguousarray(part.mean((1, 3)).round().astype(np.uint8).transpose(2, 0, 1))


def claims(page: str) -> dict[str, dict[str, str]]:
    """Each claim by its number: what a text says, what is true, and the verdict."""
    found = {}
    for line in re.findall(ROW, page, re.MULTILINE):
        number, says, precisely, verdict, _, measured, _ = map(str.strip, line.split("|"))
        row = {"says": says, "precisely": precisely, "verdict": verdict, "measured": measured}
        found[number] = {name: cell.replace("*", "") for name, cell in row.items()}
    return found


@dataclass(frozen=True)
class Panel:
    """A panel's id, its question, and the numbers of the claims that it shows."""

    id: str
    question: str
    claims: tuple[str, ...]

    @property
    def line(self) -> str:
        return f"- [{self.question}](explorer.html#{self.id}): {', '.join(self.claims)}"


def panels() -> list[Panel]:
    """As the page has them, in its order."""
    index = (PANELS / "index.js").read_text(encoding="utf-8")
    return [_panel(name) for name in re.findall(r'"\./(\w+)\.js"', index)]


def _panel(name: str) -> Panel:
    source = (PANELS / f"{name}.js").read_text(encoding="utf-8")
    (question,) = re.findall(r'^  question: "(.*)",$', source, re.MULTILINE)
    (listed,) = re.findall(r"^  claims: \[(.*?)\]", source, re.MULTILINE | re.DOTALL)
    return Panel(name, question, tuple(re.findall(r'"([\d.]+)"', listed)))


def linked(page: str, panels: Sequence[Panel]) -> str:
    """The page of claims with its links to the panels: of each row, and the list of panels."""

    def seen(row: re.Match[str]) -> str:
        number, _, _ = row[1].partition(" ")
        showing = [panel.id for panel in panels if number in panel.claims]
        links = ", ".join(f"[{name}](explorer.html#{name})" for name in showing)
        *cells, _, end = row[0].split("|")
        return "|".join([*cells, f" {links} ", end])

    page = re.sub(ROW, seen, page, flags=re.MULTILINE)
    listed = "\n".join(panel.line for panel in panels)
    return re.sub(r"(?<=that it shows:\n\n)(?:- .*\n)+", f"{listed}\n", page)


def main() -> None:
    DATA.mkdir(exist_ok=True)
    np.save(DATA / "picture.npy", picture())
    page = linked(SEEDS.read_text(encoding="utf-8"), panels())
    SEEDS.write_text(page, encoding="utf-8")
    rows = claims(page)
    text = json.dumps(rows, indent=1, ensure_ascii=False)
    (DATA / "claims.json").write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
