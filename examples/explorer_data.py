"""Write what the explorer's page carries: `src/onebyone/show/explorer/data/`.

- `picture.npy`: the upper part of NASA's photograph of the astronaut Eileen Collins, each pixel the
  mean of 6×6. It ships with scikit-image (`skimage.data.astronaut`), which says: no known copyright
  restrictions, released into the public domain;
- `claims.json`: the rows of docs/seeds.md.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]
DATA = ROOT / "src" / "onebyone" / "show" / "explorer" / "data"
HEIGHT, WIDTH, STEP = 63, 84, 6


def picture() -> NDArray[np.uint8]:
    """(3, HEIGHT, WIDTH)."""
    from skimage.data import astronaut

    part = astronaut()[: HEIGHT * STEP, : WIDTH * STEP].reshape(HEIGHT, STEP, WIDTH, STEP, 3)
    return np.ascontiguousarray(part.mean((1, 3)).round().astype(np.uint8).transpose(2, 0, 1))


def claims(page: str) -> dict[str, dict[str, str]]:
    """Each claim by its number: what a text says, what is true, and the verdict."""
    found = {}
    for line in re.findall(r"^\| (\d+\.\d+ \|.*) \|$", page, re.MULTILINE):
        number, says, precisely, verdict, _, measured = (cell.strip() for cell in line.split("|"))
        row = {"says": says, "precisely": precisely, "verdict": verdict, "measured": measured}
        found[number] = {name: cell.replace("*", "") for name, cell in row.items()}
    return found


def main() -> None:
    DATA.mkdir(exist_ok=True)
    np.save(DATA / "picture.npy", picture())
    rows = claims((ROOT / "docs" / "seeds.md").read_text(encoding="utf-8"))
    text = json.dumps(rows, indent=1, ensure_ascii=False)
    (DATA / "claims.json").write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
