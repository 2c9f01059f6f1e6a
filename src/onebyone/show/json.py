"""A result as JSON: what `--json` prints, and what a report holds."""

from __future__ import annotations

import json
from typing import Any, Protocol

from onebyone.text import finite

__all__ = ["text"]


class _Result(Protocol):
    def to_dict(self) -> dict[str, Any]: ...


def text(result: _Result) -> str:
    """Indented, in ASCII."""
    return json.dumps(finite(result.to_dict()), indent=2, allow_nan=False)
