"""Dimensions in one form, so that equal expressions are equal texts.

Inference leaves quotients of products, floor((h + 1)·(4w + 4)/4), where arithmetic knows better.
The floor of something whole is dropped, common factors are taken out, numbers become numbers.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import onnx_ir as ir

__all__ = ["expression_of", "simplified", "simplify_shapes"]


def simplify_shapes(graph: ir.Graph) -> None:
    """Rewrite the shape of every value that a node of the graph makes, in place."""
    for node in graph:
        for value in node.outputs:
            shape = value.shape
            if shape is not None and any(not isinstance(d, int) for d in shape):
                value.shape = ir.Shape([simplified(d) for d in shape])


def simplified(size: int | ir.SymbolicDim) -> int | ir.SymbolicDim:
    """One dimension in its simplest form.

    >>> simplified(ir.SymbolicDim("floor((h + 1)*(4*w + 4)/4)"))
    SymbolicDim('(h + 1)*(w + 1)')
    >>> simplified(ir.SymbolicDim("256"))
    256
    """
    if isinstance(size, int) or size.value is None or size.value.isidentifier():
        return size
    return _simplified(size.value)


def expression_of(text: str) -> Any:
    """The text as a SymPy expression; None where it is none that onnx-ir can read."""
    import sympy

    try:
        return sympy.sympify(ir.SymbolicDim(text)._expr)
    except (ValueError, TypeError):
        return None


@lru_cache(maxsize=65536)
def _simplified(text: str) -> int | ir.SymbolicDim:
    expression = expression_of(text)
    if expression is None:
        return ir.SymbolicDim(text)
    found = _simplest(expression)
    return int(found) if found.is_Integer else ir.SymbolicDim(str(found))


def _simplest(expression: Any) -> Any:
    """Bottom up: factor the operands, and drop the floor of what is whole."""
    import sympy

    if not expression.args:
        return expression
    rebuilt = expression.func(*(_simplest(part) for part in expression.args))
    if isinstance(rebuilt, sympy.floor):
        inner = sympy.factor_terms(rebuilt.args[0])
        return inner if inner.is_integer else sympy.floor(inner)
    return sympy.factor_terms(rebuilt)
