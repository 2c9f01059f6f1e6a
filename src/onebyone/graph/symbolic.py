"""Dimensions in one form: as text, so that equal ones are equal texts, and as monomials, to divide.

Inference leaves quotients of products, floor((h + 1)·(4w + 4)/4), where arithmetic knows better.
The floor of something whole is dropped, common factors are taken out, numbers become numbers.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import onnx_ir as ir
import sympy

from onebyone.algebra.layout import Dim, dim
from onebyone.graph.dimensions import parsed
from onebyone.graph.values import Size, all_known

__all__ = ["monomial", "monomials", "simplified"]


def simplified(size: int | ir.SymbolicDim) -> int | ir.SymbolicDim:
    """One dimension in its simplest form.

    >>> simplified(ir.SymbolicDim("floor((h + 1)*(4*w + 4)/4)"))
    SymbolicDim('(h + 1)*(w + 1)')
    >>> simplified(ir.SymbolicDim("256"))
    256
    >>> sizes = "ceiling(h/2)", "floor((h - 1)/2) + 1", "floor((floor((h - 1)/2) + 3)/2)"
    >>> [str(simplified(ir.SymbolicDim(size))) for size in sizes]
    ['floor((h + 1)/2)', 'floor((h + 1)/2)', 'floor((h + 5)/4)']
    """
    if isinstance(size, int) or size.value is None or size.value.isidentifier():
        return size
    return _simplified(size.value)


@lru_cache(maxsize=65536)
def _simplified(text: str) -> int | ir.SymbolicDim:
    expression = parsed(text)
    if expression is None:
        return ir.SymbolicDim(text)
    simplest = _simplest(expression)
    return int(simplest) if simplest.is_Integer else ir.SymbolicDim(str(simplest))


def _simplest(expression: Any) -> Any:
    """Bottom up: factor the operands, and drop the floor of what is whole."""
    if not expression.args:
        return expression
    rebuilt = expression.func(*(_simplest(part) for part in expression.args))
    if isinstance(rebuilt, sympy.floor):
        return _floor(sympy.factor_terms(rebuilt.args[0]))
    factored = sympy.factor_terms(rebuilt)
    # Also 2⌊a⌋ + 2 is twice what ⌊a⌋ + 1 is: a map that is doubled has twice the size it had.
    factor, term = factored.as_coeff_Mul()
    whole, rest = term.as_coeff_Add()
    if whole.is_Integer and whole and isinstance(rest, sympy.floor):
        return sympy.factor_terms(factor * _floor(sympy.factor_terms(rest.args[0] + whole)))
    return factored


def _floor(inner: Any) -> Any:
    """⌊a/n⌋ of whole a: without the floor where it divides, without a floor or a minus in a.

    ⌊−a/n⌋ = −⌊(a + n − 1)/n⌋ and ⌊(⌊a/m⌋ + b)/n⌋ = ⌊(a + bm)/(mn)⌋. So a pool that rounds up has a
    size like that of a stride, and a stride of a stride that of their product.
    """
    if inner.is_integer:
        return inner
    a, n = _fraction(inner)
    if not a.is_integer:
        return sympy.floor(inner)
    if a.could_extract_minus_sign():
        return -_floor(sympy.factor_terms((n - 1 - a) / n))
    for part in sorted(a.atoms(sympy.floor), key=str):
        b = a - part
        below, m = _fraction(part.args[0])
        if not b.has(part) and b.is_integer and below.is_integer:
            return _floor(sympy.factor_terms((below + b * m) / (m * n)))
    return sympy.floor(inner)


def _fraction(quotient: Any) -> tuple[Any, int]:
    """What `factor_terms` made as (a, n): a/n, with whole factors in a. Nothing is multiplied out.

    ∏ (h + x_k) over 40 names has 2⁴⁰ terms, and a file may say it in 300 characters.
    """
    factor, rest = quotient.as_coeff_Mul()
    return factor.p * rest, int(factor.q)


def monomial(size: Size) -> Dim | None:
    """A dimension as a monomial, None if it is unknown.

    >>> monomial(6), monomial(ir.SymbolicDim("h*w")), monomial(ir.SymbolicDim("2*h + 2"))
    ((6, ()), (1, ('h', 'w')), (2, ('h + 1',)))
    """
    if isinstance(size, int):
        return size, ()
    return None if size.value is None else _parse(size.value)


@lru_cache(maxsize=65536)
def _parse(text: str) -> Dim:
    if text.isidentifier():
        return dim(1, text)
    expression = parsed(text)
    if expression is None:
        return dim(1, text)
    coefficient, factors = sympy.factor_terms(expression).as_coeff_mul()
    if not coefficient.is_Integer:
        return dim(1, text)
    symbols: list[str] = []
    for factor in factors:
        base, power = factor.as_base_exp()
        # h² is h·h, so that it divides by h; what is no whole power is a symbol of its own.
        if power.is_Integer and power > 0:
            symbols += [str(base)] * int(power)
        else:
            symbols.append(str(factor))
    return dim(int(coefficient), *symbols)


def monomials(sizes: Iterable[Size]) -> tuple[Dim, ...] | None:
    """Dimensions as monomials; None if one is unknown, or nothing is left of a tensor of them."""
    dims = all_known(map(monomial, sizes))
    if dims is None or any(d[0] <= 0 for d in dims):
        return None
    return dims
