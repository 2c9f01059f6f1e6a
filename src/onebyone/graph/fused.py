"""Arithmetic that engines recognise as one operator, and that must therefore be left in its form.

Exporters of older opsets spell GELU and layer normalisation out,

    GELU(x) = x · (erf(x / √2) + 1) · ½          LayerNorm(x) = (x − mean) / √(var + ε) · γ + β

and ONNX Runtime fuses some of these spellings into one operator. To fold the ½ or the γ into the
next linear layer is exact, saves one pass on paper, and costs the fusion. Other spellings it does
not fuse (x multiplied by 1/√2, x³ as x·x·x, a square as a product, 1/√ by Reciprocal): nothing is
lost there, and they are arithmetic as any other. OpenVINO needs neither the ½ nor the γ for its
own fusions. Which are which is held against the engine by `tests/graph/test_fused.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import onnx_ir as ir

from onebyone.graph.axes import integers
from onebyone.graph.constants import constant
from onebyone.graph.values import made_by, rank_of

__all__ = ["fused_by_engines"]

_CLOSE = 1e-3
"""How near √2 and its like have to be, relatively: files have four digits and more."""


def fused_by_engines(graph: ir.Graph) -> frozenset[ir.Node]:
    """The nodes of a graph that belong to a spelled-out GELU or normalisation that is fused."""
    fused: set[ir.Node] = set()
    for node in graph:
        if node.domain == "" and node.op_type in _SPELLINGS:
            fused.update(_SPELLINGS[node.op_type](node))
    return frozenset(fused)


# GELU --------------------------------------------------------------------------------------------

_ROOT, _CUBIC = math.sqrt(2 / math.pi), 0.044715


def _erf(erf: ir.Node) -> Iterator[ir.Node]:
    """x · (erf(x / √2) + 1) · ½, the ½ last or on x."""
    scaled = made_by(erf.inputs[0], "Div")
    if scaled is not None and _is(scaled.inputs[1], math.sqrt(2)):
        yield from _product(erf, scaled.inputs[0], scaled, half_last=True)


def _tanh(tanh: ir.Node) -> Iterator[ir.Node]:
    """½x · (tanh(√(2/π)(x + 0.044715x³)) + 1), x³ a power or multiplied out in one way."""
    outer = made_by(tanh.inputs[0], "Mul")
    x = _of_power(outer) or _of_products(outer)
    if outer is not None and x is not None:
        yield from _product(tanh, x, outer, half_last=False)


def _of_power(outer: ir.Node | None) -> ir.Value | None:
    """x of √(2/π) · (x + 0.044715 · x³)."""
    total = made_by(_beside(outer, _ROOT), "Add")
    for x, cubed in _both_ways(total):
        power = made_by(_beside(made_by(cubed, "Mul"), _CUBIC), "Pow")
        if power is not None and power.inputs[0] is x and _is(power.inputs[1], 3):
            return x
    return None


def _of_products(outer: ir.Node | None) -> ir.Value | None:
    """x of (x · √(2/π)) · (1 + (0.044715 · x) · x)."""
    for scaled, total in _both_ways(outer):
        x = _beside(made_by(scaled, "Mul"), _ROOT)
        square = made_by(_beside(made_by(total, "Add"), 1), "Mul")
        for other, cubic in _both_ways(square):
            if x is not None and other is x and _beside(made_by(cubic, "Mul"), _CUBIC) is x:
                return x
    return None


def _product(
    curve: ir.Node, x: ir.Value | None, before: ir.Node, *, half_last: bool
) -> Iterator[ir.Node]:
    """From what stands before the curve on: the 1 that is added, and the products with x and ½."""
    shifted = _user(curve, "Add")
    last = _user(shifted, "Mul")
    if shifted is None or last is None or _beside(shifted, 1) is None:
        return
    other = _other(last, shifted)
    # ½x · (curve + 1)
    halved = made_by(other, "Mul")
    if halved is not None and _beside(halved, 0.5) is x:
        yield from (before, shifted, halved, last)
    # x · (curve + 1) · ½
    ending = _user(last, "Mul")
    if half_last and other is x and ending is not None and _beside(ending, 0.5) is not None:
        yield from (before, shifted, last, ending)


# Normalisations ----------------------------------------------------------------------------------


def _root(root: ir.Node) -> Iterator[ir.Node]:
    """z / √(mean(z²) + ε) · γ, and + β where z = x − mean(x) and γ is a vector."""
    z = _squared(root)
    divided = _divided(root, z)
    scaled = _user(divided, "Mul")
    gain = constant(_other(scaled, divided))
    if divided is None or scaled is None or gain is None:
        return
    yield from (divided, scaled)
    # Without a mean taken off it is an RMS normalisation, which engines fuse up to γ.
    shifted = _user(scaled, "Add")
    is_affine = shifted is not None and constant(_other(shifted, scaled)) is not None
    if shifted is not None and is_affine and _is_centred(z) and gain.size > 1:
        yield shifted


def _squared(root: ir.Node) -> ir.Value | None:
    """z of √(mean(z²) + ε), the mean over the last axis."""
    for epsilon, mean in _both_ways(made_by(root.inputs[0], "Add")):
        node = made_by(mean, "ReduceMean")
        if node is None or constant(epsilon) is None or not _is_over_last(node):
            continue
        power = made_by(node.inputs[0], "Pow")
        if power is not None and _is(power.inputs[1], 2):
            return power.inputs[0]
    return None


def _divided(root: ir.Node, z: ir.Value | None) -> ir.Node | None:
    """z / √…, or z · (1 / √…)."""
    division = _user(root, "Div")
    if division is None or z is None:
        return None
    if division.inputs[0] is z:
        return division
    product = _user(division, "Mul")
    if product is None or z not in product.inputs or not _is(division.inputs[0], 1):
        return None
    return product


def _is_centred(z: ir.Value | None) -> bool:
    """Whether z = x − mean(x)."""
    difference = made_by(z, "Sub")
    if difference is None:
        return False
    mean = made_by(difference.inputs[1], "ReduceMean")
    return mean is not None and mean.inputs[0] is difference.inputs[0]


def _is_over_last(mean: ir.Node) -> bool:
    last = (rank_of(mean.inputs[0]) or 0) - 1
    axes = integers(mean, 1, "axes")
    return axes in ([-1], [last]) and mean.attributes.get_int("keepdims", 1) == 1


_SPELLINGS: dict[str, Callable[[ir.Node], Iterator[ir.Node]]] = {
    "Erf": _erf,
    "Sqrt": _root,
    "Tanh": _tanh,
}

# Reading a graph ---------------------------------------------------------------------------------


def _is(value: ir.Value | None, number: float) -> bool:
    """Whether a value is this one number."""
    array = constant(value)
    if array is None or array.size != 1:
        return False
    return bool(abs(float(np.asarray(array, np.float64).reshape(-1)[0]) / number - 1) < _CLOSE)


def _user(node: ir.Node | None, op_type: str) -> ir.Node | None:
    """The one node that reads a node's result, if it is of this type."""
    if node is None:
        return None
    users = [use.node for use in node.outputs[0].uses()]
    if len(users) != 1 or users[0].op_type != op_type or users[0].domain != "":
        return None
    return users[0]


def _both_ways(node: ir.Node | None) -> Iterator[tuple[ir.Value | None, ir.Value | None]]:
    if node is not None:
        yield node.inputs[0], node.inputs[1]
        yield node.inputs[1], node.inputs[0]


def _other(node: ir.Node | None, known: ir.Node | None) -> ir.Value | None:
    """The operand of a node that another one does not make."""
    if node is None or known is None:
        return None
    return next((v for v in node.inputs if v not in known.outputs), None)


def _beside(node: ir.Node | None, number: float) -> ir.Value | None:
    """The operand of a sum or product that stands beside this number."""
    return next((b for a, b in _both_ways(node) if _is(a, number)), None)
