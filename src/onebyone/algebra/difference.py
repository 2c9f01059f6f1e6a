"""Differences that stand beside what they were taken of, as in EdgeConv.

    W[x − y; y] = W₁(x − y) + W₂y = W₁x + (W₂ − W₁)y

x − y is exact where x is near y, and cancels there: what W₁ alone makes of x and y rounds to the
size of these, and all digits of a small difference would be lost. So a bare difference stays a
*closed* sum. But here W₂y is added, which rounds to that size in the original too, and what the
right side loses is the condition number at x = y, by output row,

    κ_r = (|W₁| 1 + |W₂ − W₁| 1)_r / (|W₂| 1)_r

where 1 is a vector of ones. A row of W₂ that is zero leaves the difference bare: κ = ∞.

Source of the layer: Wang et al., *Dynamic graph CNN for learning on point clouds* (2019).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from onebyone.algebra.channel import add
from onebyone.algebra.expression import Sum, Term, linear_part, origins, path
from onebyone.algebra.weights import Array

__all__ = ["condition", "is_difference"]


def is_difference(terms: Sequence[Term]) -> bool:
    """Whether a sum is x − y, or its negative in some channels: at x = y nothing is left."""
    if len(terms) != 2:
        return False
    one, other = (linear_part(term.word, term.node.channels) for term in terms)
    if not (one.is_diagonal and other.is_diagonal):
        return False
    return bool((np.abs(one.weight) == 1).all() and (add(one, other).weight == 0).all())


def condition(node: Sum, behind: Array | None = None) -> float:
    """κ of opening the closed sum of two terms that is among those of a sum; 0 if none is.

    Args:
        node: the sum.
        behind: the map (C_out, C) that reads it, or None where its own rows are looked at.

    >>> from onebyone.algebra.channel import ChannelMap
    >>> from onebyone.algebra.expression import Concat, Leaf, unstacked
    >>> from onebyone.algebra.word import Word
    >>> x, y = Term(Word(), Leaf("x", 1)), Term(Word(), Leaf("y", 1))
    >>> minus = Word.of([ChannelMap(np.array([[-1]]))])
    >>> edge = Concat((Term(Word(), Sum((x, y.then(minus)), closed=True)), y))
    >>> condition(unstacked(edge), np.array([[3, 2], [1, 4]]))  # (3 + 1) / 2, (1 + 3) / 4
    2.0
    >>> condition(unstacked(edge), np.array([[1, 0]]))
    inf
    """
    terms = origins(node, opens=True)
    closed = {origin for _, origin in terms if origin is not None}
    if len(closed) != 1:
        return np.inf if closed else 0.0
    # What stands in the difference, wherever else it comes in; the rest may be anything, even zero.
    cancelling = {path(term) for term, origin in terms if origin is not None}
    maps: dict[Hashable, Array] = {}
    for term, _ in terms:
        if (which := path(term)) in cancelling:
            weight = linear_part(term.word, term.node.channels).dense()
            maps[which] = maps.get(which, 0) + (weight if behind is None else behind @ weight)
    apart = sum(np.abs(weight).sum(axis=1) for weight in maps.values())
    at_once = np.abs(sum(maps.values())).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        # A row that reads neither has nothing to lose: 0 / 0.
        return float(np.nanmax(np.append(apart / at_once, 0.0)))
