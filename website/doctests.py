"""For the site's API pages: the examples in docstrings are code, and are shown as such."""

from __future__ import annotations

import re
from typing import Any

import griffe

__all__ = ["Doctests", "fenced"]

# From a prompt at the beginning of a line to the next empty line.
_EXAMPLE = re.compile(r"^>>> .*?(?=\n\n|\Z)", re.MULTILINE | re.DOTALL)


def fenced(docstring: str) -> str:
    """The docstring with a fence around each example.

    >>> print(fenced("Adds.\\n\\n>>> 1 + 2\\n3"))
    Adds.
    <BLANKLINE>
    ```pycon
    >>> 1 + 2
    3
    ```
    """
    return _EXAMPLE.sub(lambda found: f"```pycon\n{found[0]}\n```", docstring)


class Doctests(griffe.Extension):
    """Puts the fences in before a docstring is read."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Once for each object that is loaded."""
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)
