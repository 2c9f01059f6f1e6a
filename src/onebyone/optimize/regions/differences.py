"""Differences of exact values in a region: closed, until what they are joined with opens them.

x − y alone stays as it is (`regions.exact`). In a sum or a concat that reads y again, as EdgeConv's
W[x − y; y], it may be opened: what that loses is told by `algebra.difference`, by output row.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import onnx_ir as ir

from onebyone.algebra.difference import condition, is_difference
from onebyone.algebra.expression import Sum, Term, origins
from onebyone.algebra.refusal import Refusal
from onebyone.algebra.weights import Array
from onebyone.algebra.word import Word
from onebyone.optimize.regions.exact import Digits

__all__ = ["Differences"]


@dataclass
class Differences:
    """Those that have been met while a region is lifted.

    Args:
        digits: of the region.
        told: why the nodes that cancel stay apart from what is behind them.
        makers: the nodes that compute them.
        depth: the sums and concats around what is lifted now.
    """

    digits: Digits
    told: dict[ir.Node, Refusal]
    makers: dict[Sum, ir.Node] = field(default_factory=dict)
    depth: int = 0

    @contextmanager
    def joining(self) -> Iterator[None]:
        """While the parts of a sum or of a concat are lifted."""
        self.depth += 1
        yield
        self.depth -= 1

    def closed(self, node: ir.Node, terms: tuple[Term, ...], stays: Refusal | None) -> Term | None:
        """A sum that `stays` as it is, for what it may be joined with; None of any other."""
        # A shift by a constant is told by another law, and read by no other map.
        if stays is None or stays.law != "sum" or not self.depth or not is_difference(terms):
            return None
        if self.digits.behind.reads:  # else nothing would be folded
            self.told[node] = stays
        difference = Sum(terms, closed=True)
        self.makers[difference] = node
        return Term(Word(), difference)

    def opens(self, node: Sum, behind: Array | None) -> bool:
        """Whether a sum opens the difference in it; `behind`: the map that reads the sum."""
        closed = {origin for _, origin in origins(node, opens=True) if origin is not None}
        if not closed:
            return False
        stays = self.digits.of_difference(condition(node, behind))
        if stays is None:
            return True
        self.told.update((self.makers[difference], stays) for difference in closed)
        return False
