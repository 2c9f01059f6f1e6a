"""A result that can be looked at: a line by itself, and views, which it does not know.

repr(result)            one line: what a list, a debugger or an error shows
print(result)           all of it, as in a terminal
result._repr_html_()    the report in a notebook, or the terminal's page where Jinja2 is not there

The package's door, `onebyone/__init__.py`, says where the views are; they are imported when the
first result is looked at.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from onebyone.text import escaped

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["Shown", "Views", "seen_by"]


class Views(Protocol):
    """What can be made of a result."""

    def rich(self, result: Shown, **options: Any) -> RenderableType:
        """What rich draws in a terminal."""

    def text(self, result: Shown) -> str:
        """The same as plain text."""

    def notebook(self, result: Shown) -> str:
        """HTML."""


class Shown(ABC):
    """A result that has a line, `summary`, and views."""

    @property
    @abstractmethod
    def summary(self) -> str:
        """What there is to say in one line."""

    def __rich__(self) -> RenderableType:
        return self._drawn()

    def _drawn(self, **options: Any) -> RenderableType:
        """With options of the view."""
        return _views().rich(self, **options)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {escaped(self.summary)}>"

    def __str__(self) -> str:
        return _views().text(self)

    def _repr_html_(self) -> str:
        return _views().notebook(self)


def seen_by(views: Callable[[], Views]) -> None:
    """From now on results are looked at through what `views` gives."""
    global _views
    _views = views


# Set from outside, so that a value, which is below all views, imports none.
def _nothing() -> Views:
    raise LookupError("nobody said where the views are: import onebyone")


_views: Callable[[], Views] = _nothing
