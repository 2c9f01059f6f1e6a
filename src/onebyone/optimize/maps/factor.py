"""Factor: a map of low rank as two.

    W = BA,  A: (r, C_in), B: (C_out, r)          where W is of rank r and r(a + b) < ab

The rank is the numerical one of `algebra.rank`: singular values that one rounding of W in its own
number format could have made. What is approximately of low rank is not touched.

    A = Vᵣᵀ,  B = Uᵣ diag(σᵣ)                      from W = U diag(σ) Vᵀ

Both factors are rounded to the number format of W. With u its unit roundoff that moves BA by at
most u‖W‖_F + u√r·σ₁, which is what rounding W itself does, times 1 + √r at most.

Most weights have full rank, and a decomposition of each would take longer than all else. So a
part P of W is looked at first, of r + 1 rows and some more columns that are not zero: σᵣ₊₁(W) is at
least the smallest singular value of P, and that is above τ where PPᵀ − τ² is positive definite, so
that it has a Cholesky factor.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod

import numpy as np
import onnx_ir as ir

from onebyone.algebra.digits import bits
from onebyone.algebra.rank import threshold
from onebyone.algebra.weights import Array
from onebyone.cost.price import Load, Manner, detour, time
from onebyone.cost.profile import Cost, Profile
from onebyone.graph.channels import is_pointwise_convolution, weight_of
from onebyone.graph.constants import constant, is_float
from onebyone.graph.count_walk import name_of
from onebyone.graph.edit import Edit
from onebyone.graph.exact import Unrepresentable
from onebyone.graph.shapes import Sizes
from onebyone.graph.values import input_at
from onebyone.optimize.rewritten import Rewrite, Task
from onebyone.optimize.sharing import readers

__all__ = ["factor_maps"]

_LEAST = 8
"""What r(a + b) < ab must leave room for: r = 7, as 16×16 does and 14×14 does not.

Two maps move 2r numbers a position more than one does. On the machines measured a number moved
weighs as much as 6 or 7 multiply-accumulates, and ab/(a + b) has to be above that to pay at all.
"""


def factor_maps(task: Task) -> Iterator[Rewrite]:
    """Factor, in place, every 1×1 and linear layer of low rank, where two are cheaper than one.

    One whose factors would lose more than the task's `lost_bits` stays.
    """
    # Cheap questions first: of most weights the decomposition is never computed.
    placer, pays = _Placer(Edit(task.model.graph)), _Prices(task.sizes, task.profile)
    for node in list(task.model.graph):
        weight = _matrix(node)
        if weight is None or not pays.alone(node, weight, 1):
            continue
        stored = _as_stored(weight, node)
        if not _may_be_low(stored):
            continue
        u, sigma, vt = np.linalg.svd(weight.astype(np.float64), full_matrices=False)
        tau = threshold(stored, sigma)
        rank = int((sigma > tau).sum())
        if not 0 < rank <= _largest(weight) or not pays.beside_others(node, weight, rank):
            continue
        # A has orthonormal rows, so that rounding it costs least; B carries the sizes.
        inner, outer = vt[:rank], u[:, :rank] * sigma[:rank]
        lost = _lost_bits(weight, inner, outer)
        if lost > task.lost_bits or not placer.place(node, inner, outer):
            continue
        least = float(next(iter(sigma[rank:]), 0.0))
        (b, a), name = weight.shape, name_of(node)
        positions = prod(task.sizes.shape(node.outputs[0]) or ()) // b
        before, after = positions * a * b, positions * rank * (a + b)
        # ‖(W − BA)x‖ ≤ σᵣ₊₁‖x‖, and what float64 does to it; the node multiplies that by α.
        alpha = abs(node.attributes.get_float("alpha", 1.0))
        yield Rewrite(
            name,
            (name,),
            {"rank": before - after},
            Cost(0, before),
            Cost(0, after),
            f"rank {rank} of {b}×{a}: the next singular value is {least:.2g}, "
            f"one rounding of W could make {tau:.2g}",
            lost,
            made=(*placer.edit.fresh(), name),
            left=alpha * (least + 2.0**-20 * tau),
        )


def _lost_bits(weight: Array, inner: Array, outer: Array) -> float:
    """Of (|B||A|1)_r beside (|W|1)_r: what rounds is the size of the products, row by row."""
    before = np.abs(weight.astype(np.float64)).sum(axis=1)
    after = np.abs(outer) @ np.abs(inner).sum(axis=1)
    return bits(float(np.max(after[before > 0] / before[before > 0], initial=0.0)))


def _matrix(node: ir.Node) -> Array | None:
    """(C_out, C_in) as stored, of a dense channel map; None for any other node."""
    if node.domain != "" or not node.outputs or not is_float(node.outputs[0]):
        return None
    weight = constant(input_at(node, 1))
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
    if matrix.size > 0:
        return matrix
    return None


def _as_stored(weight: Array, node: ir.Node) -> Array:
    """W as it is or will be rounded: its number type tells what one rounding could have made."""
    dtype = node.outputs[0].dtype
    assert dtype is not None
    return weight.astype(dtype.numpy(), copy=False)


def _largest(weight: Array) -> int:
    """The largest r with r(a + b) < ab."""
    a, b = weight.shape
    return int((a * b - 1) // (a + b))


@dataclass(frozen=True)
class _Prices:
    """Whether two maps are cheaper than one."""

    sizes: Sizes
    profile: Profile

    def beside_others(self, node: ir.Node, weight: Array, rank: int) -> bool:
        """Where others keep W, the factors are stored beside it, and read from memory."""
        others = [other for other in readers(_operand(node)) if other is not node]
        alike = all(self._factors(other, rank) for other in others)
        return self.alone(node, weight, rank, 0 if alike else rank * sum(weight.shape))

    def _factors(self, node: ir.Node, rank: int) -> bool:
        weight = _matrix(node)
        return weight is not None and self.alone(node, weight, rank)

    def alone(self, node: ir.Node, weight: Array, rank: int, copied: int = 0) -> bool:
        """`copied`: the numbers that are stored beside W."""
        profile, x, out = self.profile, node.inputs[0], self.sizes.shape(node.outputs[0])
        if x is None or out is None or (into := self.sizes.shape(x)) is None:
            return False
        (b, a), positions = weight.shape, prod(out) // len(weight)
        middle = positions * rank
        loads = (
            Load(positions * weight.size, prod(into) + weight.size, prod(out)),
            Load(middle * a, prod(into) + rank * a, middle),
            Load(middle * b, middle + rank * b, prod(out)),
        )
        whole, inner, outer = (time(Manner.PASS, load, profile) for load in loads)
        second = inner + outer + detour(node.op_type, len(out), profile)
        return second + profile.reading(copied) < whole


def _operand(node: ir.Node) -> ir.Value:
    weight = node.inputs[1]
    assert weight is not None
    return weight


def _may_be_low(weight: Array) -> bool:
    """Whether r(a + b) < ab is possible: False only where some part of W shows that it is not."""
    size = _largest(weight) + 1
    if size < _LEAST:
        return False
    if len(weight) > weight.shape[1]:
        weight = weight.T
    # A square may be nearly singular by chance, a part of a quarter more columns hardly ever is.
    part = weight[:size, : size + size // 4]
    if not (part.any(axis=1).all() and part.any(axis=0).all()):
        rows = np.flatnonzero(weight.any(axis=1))[:size]
        columns = np.flatnonzero(weight.any(axis=0))[: size + size // 4]
        if min(len(rows), len(columns)) < size:
            return True
        part = weight[np.ix_(rows, columns)]
    part = part.astype(np.float64)
    # ‖W‖_F stands for σ₁, which it bounds. The product and the factor are those of a matrix within
    # 2(p + 1)ε‖P‖_F² of this one (Higham 2002, theorem 10.3); twice that is left out.
    norm = _at_least_the_norm(weight)
    slack = threshold(weight, np.array([norm])) ** 2 + 4 * (size + 1) * 2.0**-52 * norm**2
    gram = part @ part.T
    gram.flat[:: size + 1] -= slack  # along the diagonal
    try:
        np.linalg.cholesky(gram)
    except np.linalg.LinAlgError:
        return True
    return False


def _at_least_the_norm(weight: Array) -> float:
    """‖W‖_F, or a little more: the squares of a line are added up in float32 where W is that.

    A sum of n squares is so within nu of itself, and more where it is subnormal; u is 2⁻²⁴.
    """
    lines = weight
    if weight.strides[0] < weight.strides[-1]:  # along what lies side by side
        lines = weight.T
    if weight.dtype == np.float32 and lines.shape[1] <= _LONGEST:
        with np.errstate(over="ignore"):
            squares = np.einsum("ij,ij->i", lines, lines).astype(np.float64)
        if np.isfinite(squares).all():
            return float(np.sqrt(squares.sum() * (1 + 2.0**-8) + weight.size * 2.0**-126))
    return float(np.linalg.norm(weight.astype(np.float64)))


_LONGEST = 1 << 15
"""A line of so many numbers has a sum of squares within 2⁻⁹ of itself."""


@dataclass
class _Placer:
    """Puts factors into a graph; nodes that share a weight share its factors."""

    edit: Edit
    stored: dict[tuple[object, ...], tuple[ir.Value, ir.Value]] = field(default_factory=dict)

    def place(self, node: ir.Node, inner: Array, outer: Array) -> bool:
        """Put A before the node, and B in it; False where they cannot be stored."""
        factors = self._factors(node, inner, outer)
        if factors is None:
            return False
        value = self._before(node, factors[0], len(inner))
        node.replace_input_with(0, value)
        node.replace_input_with(1, factors[1])
        # The first of the two strides and pads; the second sees what is left.
        for name in _ONCE:
            node.attributes.pop(name, None)
        return True

    def _factors(
        self, node: ir.Node, inner: Array, outer: Array
    ) -> tuple[ir.Value, ir.Value] | None:
        dtype = node.outputs[0].dtype
        assert dtype is not None
        layout = weight_of(node)
        key = node.inputs[1], layout is not None and layout.rows == 0
        if key not in self.stored:
            stem = f"{_operand(node).name}.factor"
            try:
                with self.edit.attempt():
                    first = self.edit.constant(_like(node, inner), stem, dtype)
                    second = self.edit.constant(_like(node, outer), stem, dtype)
            except Unrepresentable:
                return None
            self.stored[key] = first, second
        return self.stored[key]

    def _before(self, node: ir.Node, weight: ir.Value, rank: int) -> ir.Value:
        """Ax, by an operator like the node, which keeps the bias and the factor alpha."""
        y = node.outputs[0]
        dims = None if y.shape is None else list(y.shape.dims)
        if dims is not None:
            dims[-1 if node.op_type == "MatMul" else 1] = rank
        return self.edit.node(
            node.op_type,
            [node.inputs[0], weight],
            {k: a for k, a in node.attributes.items() if k not in ("alpha", "beta")},
            before=node,
            stem=f"{y.name}.inner",
            dtype=y.dtype,
            shape=dims,
        )


_ONCE = ("strides", "pads", "auto_pad", "dilations")
"""Attributes of a convolution that the first of two has done with."""


def _like(node: ir.Node, matrix: Array) -> Array:
    """A matrix (C_out, C_in) in the form that the node stores its weight in."""
    if node.op_type == "Conv":
        weight = constant(node.inputs[1])
        assert weight is not None
        return matrix.reshape(*matrix.shape, *(1,) * (weight.ndim - 2))
    layout = weight_of(node)
    if layout is not None and layout.rows == 0:
        return matrix
    return matrix.T
