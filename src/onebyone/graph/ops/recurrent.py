"""Recurrent layers."""

from __future__ import annotations

from onebyone.counting.formulas import Work, recurrence
from onebyone.graph.ops.row import Operator, Product, Site

__all__ = ["ROWS"]


def _work(site: Site) -> Work:
    x, w, r = site.shapes
    # W is (directions, gates·hidden, C_in); a gate has two biases, one beside W, one beside R.
    biases = [(2, *w[:2])] if site.biased else []
    return recurrence(x[0] * x[1], [w, r], biases)


_WORK = Product(_work, (0, 1, 2), 3)

# Their first states are settings: of the cell too, where there is one.
ROWS = (
    Operator("LSTM", work=_WORK, kind="recurrence", settings=(5, 6)),
    Operator("GRU", work=_WORK, kind="recurrence", settings=(5,)),
    Operator("RNN", work=_WORK, kind="recurrence", settings=(5,)),
)  # fmt: skip
