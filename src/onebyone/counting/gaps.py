"""What a count leaves out, and why: one row for each operator and reason, nothing unmentioned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = [
    "ARITHMETIC",
    "CONSTANT",
    "INTEGER",
    "NO_FORMULA",
    "Uncounted",
    "grouped",
]

ARITHMETIC = "arithmetic that is not multiply-accumulate"
CONSTANT = "computes on constants and sizes alone"
INTEGER = "integer arithmetic"
NO_FORMULA = "has multiply-accumulates, but no formula here"


@dataclass(frozen=True)
class Uncounted:
    """Nodes of one operator that are not, or not fully, counted, and why; `example` names one."""

    op: str
    nodes: int
    reason: str
    example: str


def grouped(rows: Iterable[tuple[str, str, str]]) -> tuple[Uncounted, ...]:
    """Rows of operator, reason and name, put together: the most frequent first.

    >>> grouped([("Relu", "why", "a"), ("Add", "why", "b"), ("Relu", "why", "c")])[0]
    Uncounted(op='Relu', nodes=2, reason='why', example='a')
    """
    listed = list(rows)
    frequency = Counter((op, reason) for op, reason, _ in listed)
    # Backwards, so that the first of each is the one that stays.
    examples = {(op, reason): name for op, reason, name in reversed(listed)}
    # By name where they are as frequent, so that a count prints the same each time.
    ordered = sorted(frequency, key=lambda key: (-frequency[key], key))
    return tuple(Uncounted(key[0], frequency[key], key[1], examples[key]) for key in ordered)
