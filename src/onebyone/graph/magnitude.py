"""How large the terms are that a graph adds up: the yardstick for rounding in float64.

    m(x) = |x|                            an input
    m(Wx + b) = |W| m(x) + |b|            a sum of products: each term without its sign
    m(f(x)) = |f(x)| + |f'| m(x)          any other function, to first order

With it an error of ε·m in what a node reads is one of at most ε·m in what it gives, and rounding
adds a few units of m. So |computed − exact| ≤ n·2⁻⁵³·m, n being the additions on the longest path.
The derivative is a difference along m with signs at random; of a function of one number each the
signs do not matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from onebyone.algebra.weights import Array
from onebyone.graph.evaluate import Run, computed
from onebyone.graph.ops import operator_of
from onebyone.graph.ops.call import call_of, is_floating

__all__ = ["Sized", "magnitudes"]

# Of the distance along m: far above the rounding of float64, and small enough for a first order.
_STEP = 2.0**-20


@dataclass(frozen=True)
class Sized:
    """A result and the size of its terms."""

    value: Any
    size: Any


@dataclass(frozen=True)
class _Sizes(Run):
    """A run on sizes: what a floating weight stands for is without its sign."""

    def value(self, value: ir.Value | None) -> Any:
        weight = value is not None and value not in self.known
        known = super().value(value)
        if weight:
            return _unsigned(known)
        return known


def magnitudes(graph: ir.Graph, inputs: Mapping[ir.Value, Array]) -> list[Sized]:
    """Each output of a graph in float64, and the size of its terms; other types are their own size.

    Raises what `evaluate` raises.

    >>> x = ir.val("x", ir.DataType.FLOAT, (2,))
    >>> y = ir.node("Sub", [x, ir.val("c", const_value=ir.tensor(np.float32([1, 1])))]).outputs[0]
    >>> graph = ir.Graph([x], [y], nodes=[y.producer()], opset_imports={"": 17})
    >>> magnitudes(graph, {x: np.array([1.0, 2.0])})[0].size
    array([2., 3.])
    """
    values = Run(graph.opset_imports, np.dtype(np.float64), 600.0)
    values.known.update(inputs)
    sizes = _Sizes(graph.opset_imports, np.dtype(np.float64), 600.0)
    sizes.known.update({value: _unsigned(x) for value, x in inputs.items()})
    rng = np.random.default_rng(0)
    with np.errstate(all="ignore"):
        for node in graph:
            results = computed(node, values)
            values.known.update(zip(node.outputs, results, strict=False))
            terms = _sizes(node, results, values, sizes, rng)
            sizes.known.update(zip(node.outputs, terms, strict=False))
    return [Sized(values.value(v), sizes.value(v)) for v in graph.outputs]


def _sizes(
    node: ir.Node, results: Sequence[Any], values: Run, sizes: Run, rng: np.random.Generator
) -> list[Any]:
    if not any(_is_float(x) for x in results):
        return list(results)
    op = operator_of(node).magnitude
    if op is None:
        return _moved(node, results, values, sizes, rng)
    if callable(op):
        call = call_of(node, sizes.opsets.get("", 1))
        return [op(call, *(sizes.value(v) for v in node.inputs))]
    # Sizes go through the operator itself, weights being without a sign in `sizes`.
    count = 1 if op == "Identity" else len(node.inputs)
    same = ir.Node("", op, node.inputs[:count], [*_unsigned_factors(node)],
                   num_outputs=len(node.outputs))  # fmt: skip
    terms = computed(same, sizes)
    same.resize_inputs(0)  # so that nobody counts it as a reader
    return terms


def _unsigned_factors(node: ir.Node) -> Iterator[ir.Attr]:
    """The attributes of a node, those by which a Gemm multiplies without their signs."""
    for name, attribute in node.attributes.items():
        factor = name in ("alpha", "beta")
        yield ir.AttrFloat32(name, abs(attribute.as_float())) if factor else attribute


def _moved(
    node: ir.Node, results: Sequence[Any], values: Run, sizes: Run, rng: np.random.Generator
) -> list[Any]:
    """|f(x)| + |f(x + ε·s∘m) − f(x)| / ε, s signs at random."""
    near = Run(values.opsets, values.dtype, values.longest)
    for value in {v for v in node.inputs if v is not None}:
        x = values.value(value)
        if _is_float(x):
            signs = rng.choice([-1.0, 1.0], x.shape)
            x = x + _STEP * signs * np.where(np.isfinite(x), sizes.value(value), 0)
        near.known[value] = x
    moved = computed(node, near)
    return [_moved_by(y, z) for y, z in zip(results, moved, strict=True)]


def _moved_by(y: Any, z: Any) -> Any:
    """|y| + |z − y| / ε, the second where both are finite; other types are their own size."""
    if _is_float(y):
        return np.abs(y) + _difference(y, z)
    return y


def _difference(y: Array, z: Array) -> Array:
    if y.shape != z.shape:
        return np.zeros(y.shape)
    known = np.isfinite(y) & np.isfinite(z)
    return np.where(known, np.abs(np.where(known, z, 0) - np.where(known, y, 0)) / _STEP, 0)


def _is_float(x: Any) -> bool:
    return isinstance(x, np.ndarray) and is_floating(x.dtype)


def _unsigned(x: Any) -> Any:
    if _is_float(x):
        return np.abs(x)
    return x
