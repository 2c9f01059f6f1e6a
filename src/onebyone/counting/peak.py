"""The most bytes that are alive at once.

highest(spans) = max over steps k of Σ bytes   over the spans with first ≤ k ≤ last
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["highest"]


def highest(spans: Iterable[tuple[int, int, int]]) -> int:
    """Of spans (first step, last step, bytes).

    >>> highest([(0, 1, 5), (1, 2, 7), (2, 3, 4)])
    12
    """
    changes: dict[int, int] = {}
    for first, last, size in spans:
        changes[first] = changes.get(first, 0) + size
        changes[last + 1] = changes.get(last + 1, 0) - size
    alive = most = 0
    for step in sorted(changes):
        alive += changes[step]
        most = max(most, alive)
    return most
