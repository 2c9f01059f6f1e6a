"""The most that activations take at once, when operators run in order and none is kept too long.

    alive(k) = Σ bytes(v)  over the values v that a step up to k and a step from k on touch

So a value is there from the first step that touches it to the last; one that is returned stays to
the end. What an engine takes is more: it may run in another order, copy, and keep what it took.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["Touched", "peak"]

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class Touched(Generic[K]):
    """What one operator reads and writes, constants apart.

    Args:
        values: each with its bytes, None if unknown.
        written: those that are new.
        place: a value in whose memory the new ones stand: it is viewed, or written over.
    """

    values: Sequence[tuple[K, int | None]]
    written: Sequence[K]
    place: K | None = None


def peak(steps: Sequence[Touched[K]], returned: Iterable[K]) -> int | None:
    """The most bytes that are alive at once; None if a size is unknown.

    Args:
        steps: what each operator touches, in order.
        returned: the values that are there at the end.

    >>> chain = [Touched([("x", 5), ("h", 7)], ["h"]), Touched([("h", 7), ("y", 4)], ["y"])]
    >>> peak(chain, ["y"])
    12
    """
    holder: dict[K, K] = {}
    sizes: dict[K, int] = {}
    spans: dict[K, tuple[int, int]] = {}
    for k, step in enumerate(steps):
        if step.place is not None:
            holder.update(dict.fromkeys(step.written, holder.get(step.place, step.place)))
        for value, size in step.values:
            if size is None:
                return None
            held = holder.get(value, value)
            # A part may be touched before the whole is: the largest is what the memory takes.
            sizes[held] = max(sizes.get(held, 0), size)
            spans[held] = (spans.get(held, (k, k))[0], k)
    for value in returned:
        held = holder.get(value, value)
        if held in spans:
            spans[held] = (spans[held][0], len(steps))
    return _highest((*span, sizes[value]) for value, span in spans.items())


def _highest(spans: Iterable[tuple[int, int, int]]) -> int:
    """Of spans (first step, last step, bytes), the most bytes at any step.

    >>> _highest([(0, 1, 5), (1, 2, 7), (2, 3, 4)])
    12
    """
    # Only where something comes or goes can the sum change.
    changes: dict[int, int] = {}
    for first, last, size in spans:
        changes[first] = changes.get(first, 0) + size
        changes[last + 1] = changes.get(last + 1, 0) - size
    alive = most = 0
    for step in sorted(changes):
        alive += changes[step]
        most = max(most, alive)
    return most
