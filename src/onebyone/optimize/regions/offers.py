"""Offers: a sum or a concat beside other forms of it, of which the search takes the cheapest.

xA + xB      = x(A + B)                one product for two
W[x; Ax]     = (W₁ + W₂A)x             what a concat reads in several ways is read once
W[x − y; y]  = W₁x + (W₂ − W₁)y        where that loses few digits (`algebra.difference`)
"""

from __future__ import annotations

from collections.abc import Collection

from onebyone.algebra.expression import Choice, Concat, Sum, Term, collect, repeats, unstacked
from onebyone.algebra.weights import Array
from onebyone.algebra.word import Word
from onebyone.optimize.regions.differences import Differences
from onebyone.optimize.regions.parallel import sum_kernels

__all__ = ["concat_of", "sum_of"]


def sum_of(
    terms: tuple[Term, ...], laws: Collection[str], differences: Differences, *, at_once: bool
) -> Term:
    """A sum, with its equal paths collected and parallel kernels made one."""
    if len(terms) == 1:
        return terms[0]
    whole = Term(Word(), Sum(terms, at_once))
    if "sum" not in laws:
        return whole
    opens = differences.opens(Sum(terms), None)
    collected = collect(Sum(terms), commute="commute" in laws, opens=opens)
    last, merged = (collected or whole).node, None
    if isinstance(last, Sum):
        merged = sum_kernels(last, laws)
    offers = [offer for offer in (whole, collected, merged) if offer is not None]
    if len(offers) == 1:
        return whole
    return Term(Word(), Choice(tuple(offers), "sum"))


def concat_of(
    node: Concat, behind: Array | None, laws: Collection[str], differences: Differences
) -> Term:
    """A concat; of one that reads some x in two ways, and that a map `behind` reads, also the sum.

    What it holds twice is no matter of sums: see `regions.copies`.
    """
    whole = Term(Word(), node)
    if behind is None or not {"split", "sum"} <= set(laws) or not repeats(node.terms):
        return whole
    parts = unstacked(node)
    opens = differences.opens(parts, behind)
    collected = collect(parts, commute="commute" in laws, opens=opens)
    if collected is None:
        return whole
    return Term(Word(), Choice((whole, collected), "split"))
