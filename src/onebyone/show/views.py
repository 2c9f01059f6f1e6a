"""Which view shows which result: one row a result, imported when it is looked at.

The package's door says that this is where the views are (`onebyone.shown.seen_by`), so that no
result has to know how it looks.
"""

from __future__ import annotations

from html import escape
from importlib import import_module
from typing import TYPE_CHECKING, Any

from onebyone.shown import Shown

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["PAGES", "TERMINAL", "notebook", "rich", "text"]

TERMINAL = {
    "Bench": "bench",
    "Certificate": "certificate",
    "Cost": "scan",
    "Count": "count",
    "Explanation": "explanation",
    "ModelGeometry": "geometry",
    "Profiled": "profile",
    "Rank": "rank",
    "Report": "report",
    "Scanned": "scan",
}
"""The name of a result's class -> the module of `onebyone.show.terminal` that draws it."""


PAGES = frozenset({"Bench", "Certificate", "Count", "Report"})
"""The results that have a report in HTML."""


def rich(result: Shown, **options: Any) -> RenderableType:
    """What rich draws in a terminal; options are those of the view."""
    module = import_module(f"onebyone.show.terminal.{TERMINAL[type(result).__name__]}")
    drawn: RenderableType = module.view(result, **options)
    return drawn


def text(result: Shown) -> str:
    """A page of text."""
    from onebyone.show.terminal.page import text as page

    return page(result)


def notebook(result: Shown) -> str:
    """The report in a frame of its own; the page of text where it cannot be made."""
    shown: Any = getattr(result, "report", result)
    if type(shown).__name__ in PAGES:
        from onebyone.errors import UsageError
        from onebyone.show.html.page import page

        try:
            return _framed(page(shown))
        except UsageError:
            pass
    return f'<pre style="white-space: pre; overflow-x: auto">{escape(str(result))}</pre>'


def _framed(page: str) -> str:
    """A document whose style, script and names stay in it."""
    style = "width: 100%; height: 44rem; border: 0"
    frame = f'<iframe title="report" sandbox="allow-scripts" style="{style}"'
    return f'{frame} srcdoc="{escape(page)}"></iframe>'
