"""Some of many are tried each time, the others by `make slow`: parameters for what takes long.

Which one: the case that meets most of what the others do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations, product
from typing import Any

import pytest

__all__ = ["slow_but", "slow_but_pairs"]


def slow_but(*quick: str, of: Mapping[str, Any] | Iterable[str]) -> list[Any]:
    """These cases for `parametrize`, by their names; all that are not quick are marked slow."""
    cases = of if isinstance(of, Mapping) else {name: name for name in of}
    assert cases.keys() >= set(quick), "a quick case is not there"
    return [
        pytest.param(value, id=name, marks=[] if name in quick else [pytest.mark.slow])
        for name, value in cases.items()
    ]


def slow_but_pairs(*axes: Iterable[Any]) -> list[Any]:
    """All combinations of these values; quick are a few, in which any two values of two axes meet.

    What breaks for one value breaks in a quick case, and what breaks for two of them together too.

    >>> [p.values for p in slow_but_pairs("ab", [1, 2], [True, False]) if not p.marks]
    [('a', 1, True), ('a', 2, False), ('b', 1, False), ('b', 2, True)]
    """
    cases = list(product(*(enumerate(axis) for axis in axes)))
    pairs = [{*combinations(((k, i) for k, (i, _) in enumerate(case)), 2)} for case in cases]
    missing, quick = set().union(*pairs), set()
    while missing:
        best = max(range(len(cases)), key=lambda k: len(pairs[k] & missing))
        missing -= pairs[best]
        quick.add(best)
    return [
        pytest.param(*(value for _, value in case), marks=[] if k in quick else [pytest.mark.slow])
        for k, case in enumerate(cases)
    ]
