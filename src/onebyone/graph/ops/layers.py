"""Whole layers as one operator: recurrent ones, attention."""

from __future__ import annotations

import onnx_ir as ir

from onebyone.counting.formulas import Work, attention, recurrence
from onebyone.graph.ops.needs import Needs, aligned
from onebyone.graph.ops.row import Effort, NodeShapes, Operator, Product
from onebyone.graph.picks import Picks
from onebyone.graph.values import rank_of

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


def _attention_needs(node: ir.Node, axis: int, picks: Picks, _version: int) -> Needs | None:
    """The rows of the queries, and those of a mask."""
    mask, past = aligned(node, axis, picks, [3]), any(v is not None for v in node.inputs[4:])
    causal = node.attributes.get_int("is_causal", 0) != 0  # it counts from the first query
    rows = axis + 2 == rank_of(node.outputs[0])
    if not rows or causal or past or mask is None:
        return None
    return {0: (axis, picks), **mask}


_RECURRENCE = Product(_recurrent_work, (0, 1, 2), 3)
_ATTENTION = Product(_attention_work, (0, 1, 2, 4))

# The first states of a recurrence are settings, of the cell too, where there is one.
ROWS = (
    Operator("LSTM", work=_RECURRENCE, kind="recurrence", settings=(5, 6)),
    Operator("GRU", work=_RECURRENCE, kind="recurrence", settings=(5,)),
    Operator("RNN", work=_RECURRENCE, kind="recurrence", settings=(5,)),
    Operator("Attention", needs=_attention_needs, work=_ATTENTION, kind="fused attention",
             settings=(3,)),
    Operator("LinearAttention", effort=Effort.PRODUCTS),
)  # fmt: skip
