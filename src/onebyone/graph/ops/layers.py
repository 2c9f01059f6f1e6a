"""Whole layers as one operator: recurrent ones, attention."""

from __future__ import annotations

from onebyone.counting.formulas import Work, attention, recurrence
from onebyone.graph.ops.row import Effort, NodeShapes, Operator, Product

__all__ = ["ROWS"]


def _recurrent_work(site: NodeShapes) -> Work:
    x, w, r = site.shapes
    # W is (directions, gates·hidden, C_in); a gate has two biases, one beside W, one beside R.
    return recurrence(x[0] * x[1], [w, r], [(2, *w[:2])] * site.biased)


def _attention_work(site: NodeShapes) -> Work:
    """Heads apart (N, h, L, d), or side by side (N, L, h·d); with the keys of earlier calls."""
    q, k, v, past = site.shapes
    keys = k[-2] + (past[-2] if past else 0)
    if len(q) == 4:
        return attention(q, keys, v[3])
    queries = site.node.attributes.get_int("q_num_heads", 1)
    values = v[2] // site.node.attributes.get_int("kv_num_heads", 1)
    return attention((q[0], queries, q[1], q[2] // queries), keys, values)


_RECURRENCE = Product(_recurrent_work, (0, 1, 2), 3)
_ATTENTION = Product(_attention_work, (0, 1, 2, 4))

# The first states of a recurrence are settings, of the cell too, where there is one.
ROWS = (
    Operator("LSTM", work=_RECURRENCE, kind="recurrence", settings=(5, 6)),
    Operator("GRU", work=_RECURRENCE, kind="recurrence", settings=(5,)),
    Operator("RNN", work=_RECURRENCE, kind="recurrence", settings=(5,)),
    Operator("Attention", work=_ATTENTION, kind="fused attention", settings=(3,)),
    Operator("LinearAttention", effort=Effort.PRODUCTS),
)  # fmt: skip
