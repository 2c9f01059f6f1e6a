"""Wholes: a value that is constant in all of its channels is read as a constant, not computed.

    f(x, v) = f(x, k)        v[c] = k[c] at every position, whatever the input; f broadcasts k

A residual branch that ends in zeros, a LayerScale of zeros, a gate that always says the same. The
channels of v are tied to those of x, so that none of them may go by itself; all of v may.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from onebyone.algebra.weights import Array
from onebyone.graph.edit import Edit
from onebyone.graph.exact import Unrepresentable
from onebyone.graph.ops import operator_of
from onebyone.graph.ops.sizes import same_shape
from onebyone.graph.values import rank_of
from onebyone.optimize.channels.dead import Dead

__all__ = ["freeze_wholes", "has_wholes"]


def has_wholes(dead: Dead) -> bool:
    """Whether any value is constant in all of its channels."""
    return any(len(known) and not np.isnan(known).any() for known in dead.known.values())


def freeze_wholes(graph: ir.Graph, dead: Dead) -> Iterator[tuple[ir.Node, ir.Node]]:
    """Let nodes read constants; each that did not, and the one in its place."""
    edit = Edit(graph)
    for node in list(graph):
        if not operator_of(node).elementwise or node not in dead.flows:
            continue
        held = {v: k for v in dead.flows[node].operands if (k := _whole(v, dead)) is not None}
        out = node.outputs[0]
        # Of what is constant itself those that read it are looked at; the others give it its size.
        others = [v for v in node.inputs if v not in held]
        if not held or _whole(out, dead) is not None or not any(same_shape(v, out) for v in others):
            continue
        try:
            constants = {v: edit.constant_like(v, k, "constant") for v, k in held.items()}
        except Unrepresentable:
            continue
        operands = [v if v is None else constants.get(v, v) for v in node.inputs]
        value = edit.node(
            node.op_type,
            operands,
            node.attributes,
            before=node,
            stem=f"{out.name}.{node.op_type}",
            dtype=out.dtype,
            shape=out.shape,
        )
        edit.replace(out, value)
        made = value.producer()
        assert made is not None
        yield node, made


def _whole(value: ir.Value, dead: Dead) -> Array | None:
    """What a value holds, with an axis of one for all but the channels; None if it varies."""
    known, rank = dead.known.get(value), rank_of(value)
    if known is None or rank is None or not len(known) or np.isnan(known).any():
        return None
    axis = dead.axes[value]
    return known.reshape((-1,) + (1,) * (rank - 1 - axis))
