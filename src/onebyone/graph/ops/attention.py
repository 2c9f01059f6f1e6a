"""Attention as one operator."""

from __future__ import annotations

from onebyone.counting.formulas import Work, attention
from onebyone.graph.ops.row import Effort, Operator, Product, Site

__all__ = ["ROWS"]


def _work(site: Site) -> Work:
    """Heads apart (N, h, L, d), or side by side (N, L, h·d); with the keys of earlier calls."""
    q, k, v, past = site.shapes
    keys = k[-2] + (past[-2] if past else 0)
    if len(q) == 4:
        return attention(q, keys, v[3])
    queries = site.node.attributes.get_int("q_num_heads", 1)
    values = v[2] // site.node.attributes.get_int("kv_num_heads", 1)
    return attention((q[0], queries, q[1], q[2] // queries), keys, values)


ROWS = (
    Operator(
        "Attention", work=Product(_work, (0, 1, 2, 4)), kind="fused attention", settings=(3,)
    ),
    Operator("LinearAttention", effort=Effort.PRODUCTS),
)  # fmt: skip
