"""Arithmetic that engines recognise as one operator, and that must therefore be left in its form.

Exporters of older opsets spell GELU and layer normalisation out,

    GELU(x) = x · (erf(x / √2) + 1) · ½          LayerNorm(x) = (x − mean) / √(var + ε) · γ + β

and every CPU engine fuses those spellings into one operator. To fold the ½ or the γ into the next
linear layer is exact, saves one pass on paper, and costs the fusion.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx_ir as ir

__all__ = ["fused_by_engines"]

_SCALINGS = ("Mul", "Div")


def fused_by_engines(graph: ir.Graph) -> frozenset[ir.Node]:
    """The nodes of a graph that belong to a spelled-out GELU or layer normalisation."""
    found: set[ir.Node] = set()
    for node in graph:
        if node.domain == "" and node.op_type in ("Erf", "Tanh"):
            found.update(_gelu(node))
        elif node.domain == "" and node.op_type == "Div":
            found.update(_layer_norm(node))
    return frozenset(found)


def _gelu(erf: ir.Node) -> Iterator[ir.Node]:
    """From Erf (or Tanh): the scaling before it, the +1 after it, the products that follow."""
    yield from _makers([erf], _SCALINGS)
    shifted = list(_users([erf], ("Add",)))
    products = list(_users(shifted, ("Mul",)))
    yield from shifted
    if shifted and products:
        yield from products
        yield from _makers(products, _SCALINGS)
        yield from _users(products, _SCALINGS)


def _layer_norm(division: ir.Node) -> Iterator[ir.Node]:
    """From Div(x − mean, √…): the scale and the shift after it."""
    if not list(_makers([division], ("Sub",))) or not list(_makers([division], ("Sqrt",))):
        return
    scaled = list(_users([division], ("Mul",)))
    yield division
    yield from scaled
    yield from _users(scaled, ("Add",))


def _users(nodes: Iterable[ir.Node], ops: tuple[str, ...]) -> Iterator[ir.Node]:
    for node in nodes:
        for value in node.outputs:
            yield from (use.node for use in value.uses() if use.node.op_type in ops)


def _makers(nodes: Iterable[ir.Node], ops: tuple[str, ...]) -> Iterator[ir.Node]:
    for node in nodes:
        for value in node.inputs:
            maker = None if value is None else value.producer()
            if maker is not None and maker.op_type in ops:
                yield maker
