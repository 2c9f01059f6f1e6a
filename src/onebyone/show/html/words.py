"""Numbers and names as a page writes them."""

from __future__ import annotations

from math import isfinite

from onebyone.counting.formulas import Shape
from onebyone.optimize.verdict import short
from onebyone.show.terminal.text import shortened
from onebyone.text import escaped

__all__ = ["MOST", "many", "named", "of_bound", "percent", "shape", "short"]

MOST = 48
"""Characters of a name in a drawing; its middle goes."""


def named(name: str, most: int = MOST) -> str:
    r"""A name that can neither steer the page nor fill it.

    >>> named("a\u202eb"), len(named("x" * 10_000))
    ('a\\u202eb', 48)
    """
    return shortened(escaped(shortened(name, 4 * most)), most)


def percent(part: float, whole: float) -> str:
    """A share in whole percents; tenths below ten.

    >>> percent(1, 3), percent(1, 30), percent(0, 0)
    ('33%', '3.3%', '')
    """
    if not whole:
        return ""
    share = 100 * part / whole
    return f"{share:.0f}%" if share >= 9.95 or share == 0 else f"{share:.1f}%"


def of_bound(used: float) -> str:
    """The used share of a bound: in percents, or how many times it is passed.

    >>> of_bound(0.0627), of_bound(14964.7), of_bound(float("inf"))
    ('6.3%', '14,965×', '')
    """
    if not isfinite(used):
        return ""
    return f"{used:.1%}" if used <= 1 else f"{used:,.0f}×" if used >= 10 else f"{used:.1f}×"


def shape(sizes: Shape | None) -> str:
    """`(1, 3, 5)` -> `1×3×5`."""
    if sizes is None:
        return "?"
    return "×".join(map(str, sizes)) or "scalar"


def many(count: int, what: str) -> str:
    """`1 layer`, `2,000 layers`."""
    return f"{count:,} {what}{'s' * (count != 1)}"
