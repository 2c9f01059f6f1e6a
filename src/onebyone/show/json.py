"""A result as JSON: what `--json` prints, and what a report holds."""

from __future__ import annotations

import json
from typing import Any, Protocol

__all__ = ["finite", "text"]


class _Result(Protocol):
    def to_dict(self) -> dict[str, Any]: ...


def text(result: _Result) -> str:
    """Indented, in ASCII."""
    return json.dumps(finite(result.to_dict()), indent=2, allow_nan=False)


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
