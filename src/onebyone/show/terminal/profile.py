"""A measured profile as a table for a terminal."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.console import Group
from rich.text import Text

from onebyone.show.terminal.table import Columns

if TYPE_CHECKING:
    from rich.console import RenderableType

    from onebyone.engines.profile import Profiled

__all__ = ["view"]


def view(profiled: Profiled) -> RenderableType:
    """Each field, and what it was taken from."""
    rows = []
    for field, value in asdict(profiled.profile).items():
        found = [f"{m.operator}: {m.value:.3g}" for m in profiled.measured if m.field == field]
        rows.append((field, f"{value:.3g}", "\n".join(found)))
    headings = ("field", "value", "what was measured")
    return Group(Columns("", headings, rows, words=(2,), kept=3), Text(profiled.where))
