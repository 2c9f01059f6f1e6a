"""Write the table of laws of docs/optimize.md as their rows have it; `make format` does."""

from __future__ import annotations

import re
from pathlib import Path

from onebyone.algebra.laws import LAWS

PAGE = Path(__file__).parents[1] / "docs" / "optimize.md"
TABLE = re.compile(r"^\| law \|.*?(?=^$)", re.MULTILINE | re.DOTALL)


def main() -> None:
    """Write the page."""
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def written(page: str) -> str:
    """The page with the table of today.

    >>> print(written("| law | old\\n|---|---\\n\\nEnd").splitlines()[0])
    | law | equation | where it helps |
    """
    rows = [
        f"| [`{law.name}`]({law.section}) | {law.equation} | {law.covers} |"
        for law in LAWS.values()
    ]
    return TABLE.sub(
        "\n".join(["| law | equation | where it helps |", "|---|---|---|", *rows, ""]), page
    )


if __name__ == "__main__":
    main()
