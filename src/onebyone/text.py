r"""Text that is safe to print, options as one types them, numbers that JSON has."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

__all__ = ["escaped", "finite", "shape_option"]


def escaped(text: str, keep: str = "") -> str:
    r"""Every character that does not print becomes its escape.

    >>> print(escaped("conv\x1b[2J\n"))
    conv\x1b[2J\n
    """
    return "".join(
        c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text
    )


def shape_option(name: str, shape: Sequence[int]) -> str:
    """What to type for the shape of an input.

    >>> print(shape_option("x", (1, 3)), shape_option("token ids", (1, 7)))
    --shape x=1,3 --shape 'token ids=1,7'
    """
    return "--shape " + shlex.quote(f"{name}={','.join(map(str, shape))}")


def finite(value: Any) -> Any:
    """JSON has no infinity and no NaN: they become null.

    >>> finite({"a": [1.5, float("inf")]})
    {'a': [1.5, None]}
    """
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not abs(value) < float("inf") else value
