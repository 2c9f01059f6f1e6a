"""What a module is called with, from one example of its input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["arguments"]


def arguments(example: object) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A tuple is arguments by position, a dictionary arguments by name, all else the only one.

    >>> arguments((1, 2)), arguments({"x": 1}), arguments([1, 2])
    (((1, 2), {}), ((), {'x': 1}), (([1, 2],), {}))
    """
    if isinstance(example, Mapping):
        return (), dict(example)
    if isinstance(example, tuple):
        return example, {}
    return (example,), {}
