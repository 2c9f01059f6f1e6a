"""Factor: a map of low rank as two.

    W = BA,  A: (r, C_in), B: (C_out, r)          where W is of rank r and r(a + b) < ab

The rank is the numerical one of `algebra.rank`: singular values that one rounding of W in its own
number format could have made. What is approximately of low rank is not touched.

    A = Vᵣᵀ,  B = Uᵣ diag(σᵣ)                      from W = U diag(σ) Vᵀ

Most weights have full rank, and a decomposition of each would take longer than all else. So a
square part of W is looked at first: σᵣ₊₁(W) is at least the smallest singular value of any part of
r + 1 rows and columns, and that is at least 1/‖part⁻¹‖_F.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx_ir as ir

from onebyone.algebra.rank import threshold
from onebyone.algebra.weights import Array
from onebyone.graph.channels import is_pointwise_convolution
from onebyone.graph.constants import constant, is_float
from onebyone.graph.shapes import Sizes
from onebyone.optimize.cost import Profile
from onebyone.optimize.place import Names, Unrepresentable, rounded

__all__ = ["Factored", "factor_maps"]

_LEAST = 8
"""Smaller matrices are not worth a second operator."""


@dataclass(frozen=True)
class Factored:
    """A map that became two: its node, its sizes, and why it may.

    Args:
        node: the name of the node.
        out_channels, in_channels, rank: of W.
        next_value: the largest singular value that was taken for zero.
        threshold: what it was compared with.
    """

    node: str
    out_channels: int
    in_channels: int
    rank: int
    next_value: float
    threshold: float

    @property
    def note(self) -> str:
        """The numbers of the decision, for the report."""
        return (
            f"rank {self.rank} of {self.out_channels}×{self.in_channels}: the next singular value "
            f"is {self.next_value:.2g}, one rounding of W could make {self.threshold:.2g}"
        )


def factor_maps(graph: ir.Graph, sizes: Sizes, profile: Profile) -> Iterator[Factored]:
    """Factor, in place, every 1×1 and linear layer of low rank, where two are cheaper than one."""
    names = Names.of(graph)
    for node in list(graph):
        weight = _matrix(node)
        if weight is None or not _may_be_low(weight):
            continue
        u, sigma, vt = np.linalg.svd(weight.astype(np.float64), full_matrices=False)
        tau = threshold(weight, sigma)
        rank = int((sigma > tau).sum())
        if not 0 < rank <= _largest(weight) or not _pays(node, weight, rank, sizes, profile):
            continue
        inner, outer = vt[:rank], u[:, :rank] * sigma[:rank]
        if _place(graph, node, inner, outer, names):
            least = float(sigma[rank]) if rank < len(sigma) else 0.0
            rows, columns = weight.shape
            yield Factored(node.name or node.op_type, rows, columns, rank, least, tau)


def _matrix(node: ir.Node) -> Array | None:
    """(C_out, C_in) as stored, of a dense channel map; None for any other node."""
    if node.domain != "" or not node.outputs or not is_float(node.outputs[0]):
        return None
    weight = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if weight is None or constant(node.inputs[0]) is not None:
        return None
    if is_pointwise_convolution(node) and node.attributes.get_int("group", 1) == 1:
        matrix = weight.reshape(weight.shape[:2])
    elif node.op_type == "MatMul" and weight.ndim == 2:
        matrix = weight.T
    elif node.op_type == "Gemm" and not node.attributes.get_int("transA", 0):
        matrix = weight if node.attributes.get_int("transB", 0) else weight.T
    else:
        return None
    return matrix if np.isfinite(matrix.astype(np.float64)).all() else None


def _largest(weight: Array) -> int:
    """The largest r with r(a + b) < ab."""
    a, b = weight.shape
    return int((a * b - 1) // (a + b))


def _pays(node: ir.Node, weight: Array, rank: int, sizes: Sizes, profile: Profile) -> bool:
    x = node.inputs[0]
    into, out = None if x is None else sizes.shape(x), sizes.shape(node.outputs[0])
    if into is None or out is None:
        return False
    (b, a), positions = weight.shape, prod(out) // len(weight)
    whole = profile.time(positions * weight.size, prod(into) + prod(out) + weight.size)
    inner = profile.time(positions * rank * a, prod(into) + positions * rank + rank * a)
    outer = profile.time(positions * rank * b, positions * rank + prod(out) + rank * b)
    return inner + outer < whole


def _may_be_low(weight: Array) -> bool:
    """Whether r(a + b) < ab is possible: False only where some part of W shows that it is not."""
    size = _largest(weight) + 1
    if size < _LEAST:
        return False
    part = weight[:size, :size].astype(np.float64)
    try:
        least = 1 / float(np.linalg.norm(np.linalg.inv(part)))
    except np.linalg.LinAlgError:
        return True
    # Twice: the inverse is itself rounded. ‖W‖_F bounds every singular value.
    norm = float(np.linalg.norm(weight.astype(np.float64)))
    return least <= 2 * threshold(weight, np.array([norm]))


def _place(graph: ir.Graph, node: ir.Node, inner: Array, outer: Array, names: Names) -> bool:
    """Put A before the node, and B in it; False where they cannot be stored."""
    x, y = node.inputs[0], node.outputs[0]
    assert x is not None
    assert y.dtype is not None
    try:
        inner, outer = rounded(inner, y.dtype), rounded(outer, y.dtype)
    except Unrepresentable:
        return False
    first = ir.Node(
        "",
        node.op_type,
        [x, _stored(graph, _like(node, inner), node, names)],
        list(node.attributes.values()),
        num_outputs=1,
        name=names.mint(f"{y.name}.inner"),
    )
    value = first.outputs[0]
    value.name, value.type = first.name, y.type
    if y.shape is not None:
        dims = list(y.shape.dims)
        dims[1 if node.op_type != "MatMul" else -1] = len(inner)
        value.shape = ir.Shape(dims)
    graph.insert_before(node, first)
    node.replace_input_with(0, value)
    node.replace_input_with(1, _stored(graph, _like(node, outer), node, names))
    if node.op_type == "Conv":
        for name in ("strides", "pads", "auto_pad", "dilations"):
            node.attributes.pop(name, None)
    if node.op_type == "Gemm":
        first.attributes["alpha"] = ir.AttrFloat32("alpha", 1.0)
    return True


def _like(node: ir.Node, matrix: Array) -> Array:
    """A matrix (C_out, C_in) in the form that the node stores its weight in."""
    if node.op_type == "Conv":
        weight = constant(node.inputs[1])
        assert weight is not None
        return matrix.reshape(*matrix.shape, *(1,) * (weight.ndim - 2))
    keep = node.op_type == "Gemm" and node.attributes.get_int("transB", 0) == 1
    return matrix if keep else matrix.T


def _stored(graph: ir.Graph, array: Array, node: ir.Node, names: Names) -> ir.Value:
    like = node.inputs[1]
    assert like is not None
    name = names.mint(f"{like.name}.factor")
    tensor = ir.tensor(np.ascontiguousarray(array), name=name)
    value = ir.Value(name=name, const_value=tensor, shape=ir.Shape(array.shape))
    value.dtype = tensor.dtype
    graph.register_initializer(value)
    return value
