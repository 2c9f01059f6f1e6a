"""Matrix products: MatMul, Gemm, Einsum; and transforms of which no formula counts the products."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onebyone.algebra.channel import ChannelMap
from onebyone.algebra.laws import refused
from onebyone.algebra.refusal import Refusal
from onebyone.algebra.weights import Array
from onebyone.counting.einsum import einsum_work
from onebyone.counting.formulas import Work, product
from onebyone.graph.constants import constant, per_channel
from onebyone.graph.ops.call import Call
from onebyone.graph.ops.channel_node import ChannelNode, Weight, bias_of, not_constant
from onebyone.graph.ops.flow import Axes, Flow, mixed, same
from onebyone.graph.ops.needs import Needs, aligned
from onebyone.graph.ops.row import Effort, NodeShapes, Operator, Product, Role, Rounding
from onebyone.graph.ops.weighed import Weighed
from onebyone.graph.picks import Picks
from onebyone.graph.values import rank_of

__all__ = ["ROWS", "matmul_work"]


def _matmul(call: Call, a: Array, b: Array) -> Array:
    return np.asarray(np.matmul(_blas(a), _blas(b)))


def _blas(x: Array) -> Array:
    """A matrix without a unit stride would be multiplied by a plain loop: copy it."""
    if x.ndim < 2 or x.itemsize in x.strides[-2:]:
        return x
    return np.ascontiguousarray(x)


def _gemm(call: Call, a: Array, b: Array, c: Array | None = None) -> Array:
    if call.get("transA", 0):
        a = a.T
    if call.get("transB", 0):
        b = b.T
    y = _scaled(call.get("alpha", 1.0), np.matmul(a, b))
    if c is not None:
        y = y + _scaled(call.get("beta", 1.0), c)
    return y


def _scaled(factor: float, x: Array) -> Array:
    return x if factor == 1 else (factor * x).astype(x.dtype)


def _einsum(call: Call, *inputs: Array) -> Array:
    return np.asarray(np.einsum(call.get("equation"), *inputs, optimize=True))


def matmul_work(site: NodeShapes) -> Work:
    """Of two tensors as NumPy multiplies them."""
    return _product(site, site.shapes[0][-1])


def _gemm_work(site: NodeShapes) -> Work:
    rows, columns = site.shapes[0]
    if site.node.attributes.get_int("transA", 0):
        return _product(site, rows)
    return _product(site, columns)


def _product(site: NodeShapes, inner: int) -> Work:
    return product(site.output, inner, constants=sum(site.fixed), biased=site.biased)


def _einsum_work(site: NodeShapes) -> Work:
    equation = site.node.attributes.get_string("equation", "")
    return einsum_work(equation, site.shapes, site.fixed)


def _matmul_channels(node: ir.Node, axis: int) -> ChannelNode | Refusal | None:
    left, right = node.inputs
    ranks = rank_of(left), rank_of(right)
    if left is None or right is None or None in ranks:
        return None
    a, b = constant(left), constant(right)
    # x W maps what stands last, W x what stands last but one.
    if b is not None and b.ndim == 2 and axis + 1 == ranks[0] and axis > 0:
        return ChannelNode(left, ChannelMap(b.T))
    if a is not None and a.ndim == 2 and axis + 2 == ranks[1] and axis >= 0:
        return ChannelNode(right, ChannelMap(a))
    return None


def _gemm_channels(node: ir.Node, axis: int) -> ChannelNode | Refusal | None:
    x, weight, bias = node.inputs[0], constant(node.inputs[1]), bias_of(node, 2)
    if axis != 1 or x is None or node.attributes.get_int("transA", 0) != 0:
        return None
    if weight is None:
        if constant(x) is None:
            return not_constant("weight")
        return None  # a constant times what is computed: its channels stand in the rows
    if isinstance(bias, Refusal):
        return bias
    if not node.attributes.get_int("transB", 0):
        weight = weight.T
    if bias is not None:
        bias = per_channel(bias, 2, 1, weight.shape[0])
        if bias is None:
            return refused("compose", "rows")
        bias = _times(bias, node.attributes.get_float("beta", 1.0))
    return ChannelNode(x, ChannelMap(_times(weight, node.attributes.get_float("alpha", 1.0)), bias))


def _matmul_weight(node: ir.Node) -> Weight:
    if constant(node.inputs[1]) is None:
        return Weight(0, 0, 1)
    return Weight(1, 1, 0)


def _gemm_weight(node: ir.Node) -> Weight:
    columns = int(node.attributes.get_int("transB", 0) != 0)
    return Weight(1, 1 - columns, columns, node.attributes.get_float("alpha", 1.0))


def _times(array: Array, factor: float) -> Array:
    if factor == 1.0:
        return array  # in the type that it is stored in
    return array.astype(np.float64) * factor


def _matmul_axis(node: ir.Node) -> int | None:
    """The rows of what a constant matrix stands before, the columns of what one stands behind."""
    rank = rank_of(node.outputs[0]) or 0
    if rank >= 2 and constant(node.inputs[0]) is not None:
        return rank - 2
    if rank >= 1 and constant(node.inputs[1]) is not None:
        return rank - 1
    return None


def _matmul_weighed(node: ir.Node, axis: int) -> Weighed | None:
    """A v, with the channels last, or v A, with the channels last but one."""
    left, right = (rank_of(value) or 0 for value in node.inputs)
    if min(left, right) < 2 or any(constant(value) is not None for value in node.inputs):
        return None
    last = max(left, right) - 1
    if axis == last:
        return Weighed(1, right - 1, right - 2, 0, left - 1)
    if axis == last - 1:
        return Weighed(0, left - 2, left - 1, 1, right - 2)
    return None


def _matmul_flow(node: ir.Node, axis: int, _axes: Axes) -> Flow | None:
    found = _matmul_channels(node, axis)
    if isinstance(found, ChannelNode):
        return mixed(found.operand, axis, found.map.weight, None, zeros_only=True)  # has no bias
    # A product of matrices for each channel, the heads of an attention say.
    if axis < (rank_of(node.outputs[0]) or 0) - 2:
        return same(node, axis, held=_zero_factor)
    return None


def _zero_factor(known: Sequence[Array]) -> Array:
    """A product for each channel is zero where one of its factors is."""
    return np.where(np.any([k == 0 for k in known], axis=0), 0, np.nan)


def _gemm_flow(node: ir.Node, axis: int, _axes: Axes) -> Flow | None:
    found = _gemm_channels(node, axis)
    if not isinstance(found, ChannelNode):
        return None
    return mixed(found.operand, axis, found.map.weight, found.map.bias)


def _matmul_needs(node: ir.Node, axis: int, picks: Picks, _version: int) -> Needs | None:
    """Rows of the left operand, columns of the right one, or products side by side."""
    ranks, rank = [rank_of(x) or 0 for x in node.inputs], rank_of(node.outputs[0]) or 0
    if min(ranks) < 2:
        return None
    at = axis - rank + 2  # rows are the left operand's, columns the right one's
    if at < 0:
        return aligned(node, axis, picks, [0, 1]) or None
    if constant(node.inputs[at]) is not None:  # the channels of a weight are no positions
        return None
    return aligned(node, axis, picks, [at]) or None


def _gemm_needs(node: ir.Node, axis: int, picks: Picks, _version: int) -> Needs | None:
    """The rows of its first operand, and those of a bias that has as many."""
    bias = aligned(node, axis, picks, [2])
    if axis != 0 or constant(node.inputs[0]) is not None or bias is None:
        return None
    return {0: (node.attributes.get_int("transA", 0), picks), **bias}


ROWS = (
    Operator("MatMul", Role.CHANNEL_MAP, _matmul, Rounding.SMOOTHLY, is_sure_of_integers=True,
             magnitude="MatMul", channels=_matmul_channels, weight=_matmul_weight,
             channel_axis=_matmul_axis, flow=_matmul_flow, needs=_matmul_needs, weighs=True,
             weighed=_matmul_weighed, work=Product(matmul_work, (0, 1)), kind="product"),
    Operator("Gemm", Role.CHANNEL_MAP, _gemm, Rounding.SMOOTHLY, magnitude="Gemm",
             channels=_gemm_channels, weight=_gemm_weight, channel_axis=1, flow=_gemm_flow,
             needs=_gemm_needs, weighs=True, work=Product(_gemm_work, (0, 1), 2), kind="product"),
    Operator("Einsum", value=_einsum, rounding=Rounding.SMOOTHLY, magnitude="Einsum",
             work=Product(_einsum_work, None), kind="product"),
    Operator("Det", rounding=Rounding.SMOOTHLY, effort=Effort.PRODUCTS),
    Operator("DFT", effort=Effort.PRODUCTS),
    Operator("STFT", effort=Effort.PRODUCTS, settings=(2,)),
)  # fmt: skip
