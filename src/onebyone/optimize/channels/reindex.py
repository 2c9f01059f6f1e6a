"""Weights for other channels: some left out, or all in another order.

(P_out W P_inᵀ)(P_in x) = P_out (W x)        P: rows of the identity, chosen and ordered
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from onebyone.algebra.groups import by_rows, narrowed
from onebyone.algebra.weights import Array
from onebyone.graph.channels import weight_of
from onebyone.graph.constants import constant
from onebyone.graph.edit import Edit, respell
from onebyone.graph.ops import operator_of
from onebyone.graph.ops.flow import Flow, Link, Mix

__all__ = ["Orders", "narrow", "reindex"]

Orders = Mapping[ir.Value, Array]
"""Value -> the channels that it has from now on, by their old numbers, in their new order."""


def reindex(node: ir.Node, found: Flow, orders: Orders, edit: Edit, bias: Array | None) -> bool:
    """Give a node weights for the new channels of its operands and its result; whether any changed.

    Args:
        node, found: the node, and how channels flow through it.
        orders: for values that change; those that are not there stay as they are.
        edit: of the graph.
        bias: (C_out,) in the old order, where the node's own is another one from now on.
    """
    # The rows of a weight follow the result, its columns the operand.
    out = orders.get(node.outputs[0])
    if found.mix is not None:
        return _mix(node, found.mix, out, orders.get(found.mix.operand), edit, bias)
    if found.picks:
        return _pick(node, found, orders, edit)
    if out is None:
        return False
    if found.joins:
        left = [v for v in node.inputs if v is not None and len(orders.get(v, [0]))]
        respell(node, node.op_type, left, node.attributes)
    for operand, axis in found.constants.items():
        array = constant(operand)
        assert array is not None
        _replace(node, operand, np.take(array, out, axis), edit)
    edit.spell(node, found.spelled(out))
    return True


def _pick(node: ir.Node, found: Flow, orders: Orders, edit: Edit) -> bool:
    """Pick the same channels out of others; the order is the old one, only some are missing."""
    before = orders.get(found.links[0].operand)
    if before is None:
        return False
    # Places in what is left of the operand, not in what it was.
    parts = [_picked(link, orders, before) for link in found.links]
    if operator_of(node).splits:
        counts, axis = [len(part) for part in parts], node.attributes.get_int("axis", 0)
        respell(node, node.op_type, *edit.split_form(node.inputs[0], counts, axis))
    else:
        edit.spell(node, found.spelled(parts[0]))
    return True


def _picked(link: Link, orders: Orders, before: Array) -> Array:
    """Where the channels that are picked stand from now on."""
    after = orders.get(link.result, np.arange(len(link.outs)))
    return np.searchsorted(before, link.sources[after])


def narrow(value: ir.Value, axis: int, channels: int) -> None:
    """Note that a value has another number of channels."""
    assert value.shape is not None
    dims = list(value.shape.dims)
    dims[axis] = channels
    value.shape = ir.Shape(dims)


def _mix(
    node: ir.Node,
    mix: Mix,
    out: Array | None,
    into: Array | None,
    edit: Edit,
    bias: Array | None,
) -> bool:
    if out is None and into is None:
        return False
    layout = weight_of(node)
    assert layout is not None
    weight = constant(node.inputs[layout.slot])
    assert weight is not None
    if mix.groups > 1:
        weight = _narrowed(node, mix, weight, out, into, by_row=layout.rows == 0)
    else:
        for order, axis in ((out, layout.rows), (into, layout.columns)):
            if order is not None:
                weight = np.take(weight, order, axis)
    _replace(node, node.inputs[layout.slot], weight, edit)
    if bias is None and out is not None:  # else it stays, whoever has changed it meanwhile
        bias = mix.bias
    if bias is not None:
        every = np.arange(len(bias))
        _set_bias(node, bias[every if out is None else out], edit)
    return True


def _narrowed(
    node: ir.Node, mix: Mix, weight: Array, out: Array | None, into: Array | None, *, by_row: bool
) -> Array:
    """A grouped kernel for some channels; groups of which none is left go."""
    every, each = np.arange(mix.channels), len(mix.kernel) // mix.groups
    rows = np.arange(len(mix.kernel)) if out is None else out
    columns = every if into is None else into
    groups = len(np.unique(rows // each))
    node.attributes["group"] = ir.AttrInt64("group", groups)
    if by_row:
        return narrowed(weight, mix.groups, rows, columns)
    kernel = narrowed(by_rows(weight, mix.groups), mix.groups, rows, columns)
    return by_rows(kernel, groups)  # transposing the blocks twice gives them back


def _set_bias(node: ir.Node, bias: Array, edit: Edit) -> None:
    node.attributes.pop("beta", None)  # the factor of a Gemm's bias, which is in it already
    if len(node.inputs) < 3:
        node.resize_inputs(3)
    like = next(v for v in (node.inputs[2], node.inputs[1]) if v is not None)
    node.replace_input_with(2, edit.constant_like(like, bias, "channels"))


def _replace(node: ir.Node, old: ir.Value | None, array: Array, edit: Edit) -> None:
    """Let a node read other numbers wherever it read the constant `old`."""
    new = edit.constant_like(old, array, "channels")
    for at, operand in enumerate(node.inputs):
        if operand is old:
            node.replace_input_with(at, new)
