"""The panels as the page tells them, and the states in which their numbers are compared."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from urllib.parse import urlencode

from playwright.sync_api import Page

from onebyone.show.explorer.build import PAGE

__all__ = ["PANELS", "Case", "cases", "expected", "hash_of", "numbers"]

HERE = Path(__file__).parent
PANELS = re.findall(r'"\./(\w+)\.js"', (PAGE / "panels" / "index.js").read_text(encoding="utf-8"))
"""The names of the panels' files, which are their ids, in the order of the page."""


@dataclass(frozen=True)
class Case:
    """A panel in a state; fields that are not in it are as the page has them at first."""

    panel: str
    state: dict[str, object]

    def __str__(self) -> str:
        return f"{self.panel} {self.state or 'untouched'}"


@cache
def expected(panel: str) -> ModuleType:
    """What the numbers of a panel must be."""
    return import_module(f"{__package__}.expected.{panel}")


def cases() -> list[Case]:
    """Each panel in each state that is compared."""
    known = [name for name in PANELS if (HERE / "expected" / f"{name}.py").exists()]
    return [Case(panel, state) for panel in known for state in expected(panel).STATES]


def hash_of(case: Case) -> str:
    """The address of the page in this state."""
    words = {True: "on", False: "off"}
    fields = {
        f"{case.panel}.{name}": words[value] if isinstance(value, bool) else str(value)
        for name, value in case.state.items()
    }
    return f"#{urlencode({'at': case.panel, **fields})}"


def numbers(page: Page, panel: str) -> dict[str, float]:
    """The numbers that prove a panel's point, in full precision, by name."""
    found: dict[str, str] = page.eval_on_selector_all(
        f"#{panel} [data-proof]",
        "all => Object.fromEntries(all.map(e => [e.dataset.proof, e.dataset.value]))",
    )
    return {name: float(value) for name, value in found.items()}
