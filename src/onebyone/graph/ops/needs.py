"""Which positions of its operands a node needs for some positions of its result.

S f(x, y) = f(Sx, Sy)              f elementwise along the axis; what has one position there, or
                                   does not have the axis, stays
S (A B) = (S A) B,  A (B S) = (A B) S
S K x   = K' (C x)                 K: a convolution or pool; C cuts out what its windows see,
                                   K' pads only where the border was (`windows`)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx_ir as ir

from onebyone.graph.picks import Picks
from onebyone.graph.values import input_at

__all__ = ["Needs", "Reader", "aligned", "of_first"]

Needs = dict[int, tuple[int, Picks]]
"""Index of an operand -> one of its axes, and the positions there; of all other operands, all."""

Reader = Callable[[ir.Node, int, Picks, int], Needs | None]
"""Of a node, an axis of its result, the positions there and the opset; None: it mixes these."""


def aligned(node: ir.Node, axis: int, picks: Picks, operands: Sequence[int]) -> Needs | None:
    """What is needed of these operands, where they meet position by position along `axis`.

    They are aligned at their last axes. An operand that has one position there needs no other, and
    is left out. None where the sizes do not tell.
    """
    shape, needs = node.outputs[0].shape, Needs()
    assert shape is not None
    for index in operands:
        x = input_at(node, index)
        if x is None:
            continue
        if x.shape is None:
            return None
        own = axis - shape.rank() + x.shape.rank()
        if own < 0 or x.shape[own] == 1:
            continue
        if x.shape[own] != shape[axis]:
            return None
        needs[index] = own, picks
    if len(needs) > 1 and shape.is_unknown_dim(axis):
        return None  # one of them may have a single position there when the model runs
    return needs


def of_first(node: ir.Node, own: int, axis: int, picks: Picks) -> Needs | None:
    """Those positions of axis `own` of the first operand, if that is as long as the result's."""
    x, out = node.inputs[0], node.outputs[0]
    if x is None or x.shape is None or out.shape is None or x.shape[own] != out.shape[axis]:
        return None
    return {0: (own, picks)}
