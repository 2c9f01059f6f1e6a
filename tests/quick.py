"""One of many is tried each time, the others by `make slow`: parameters for what takes long.

Which one: the case that meets most of what the others do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest

__all__ = ["slow_but"]


def slow_but(*quick: str, of: Mapping[str, Any] | Iterable[str]) -> list[Any]:
    """These cases for `parametrize`, by their names; all that are not quick are marked slow."""
    cases = of if isinstance(of, Mapping) else {name: name for name in of}
    assert cases.keys() >= set(quick), "a quick case is not there"
    return [
        pytest.param(value, id=name, marks=[] if name in quick else [pytest.mark.slow])
        for name, value in cases.items()
    ]
