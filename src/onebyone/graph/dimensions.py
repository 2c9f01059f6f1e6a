"""Expressions for dimensions, as text: `floor(height/2 + 1/2)`, `2*n`, `s77//16`.

They come from files and from shape inference, so they are evaluated by a small interpreter with
exact fractions, in bounded time, and never by `eval`.

    expression = integer | name | expression (+ - * / // %) expression | expression ** 0..16
               | floor ceiling max min mod sqrt abs (expression, ...)
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping
from fractions import Fraction

__all__ = ["evaluated", "names", "plain", "safe"]

_NAME = re.compile(r"[^\W\d][\w.]*")
_ALLOWED = re.compile(r"[\w.\s+\-*/%(),]{1,1000}\Z")
# What the parser of shape inference takes without growing: no powers, short numbers.
_PLAIN = re.compile(r"(?!.*\*\*)(?!.*\d{10})[\w. +\-*/%(),]{1,400}\Z")
# Divisible by all small numbers, so that a quotient of sizes is a size.
_SOME_SIZE = 5040
_LARGEST_POWER = 16
_LARGEST = 2**62


class _NoValueError(Exception):
    """The expression has no value."""


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent == Fraction(1, 2):
        return _sqrt(base)
    if exponent.denominator != 1 or not 0 <= exponent <= _LARGEST_POWER:
        raise _NoValueError
    return base ** int(exponent)


def _sqrt(square: Fraction) -> Fraction:
    root = Fraction(math.isqrt(square.numerator), math.isqrt(square.denominator))
    if root * root != square:
        raise _NoValueError
    return root


_OPERATORS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: lambda a, b: Fraction(a // b),
    ast.Mod: operator.mod,
    ast.Pow: _power,
}
_FUNCTIONS: dict[str, Callable[..., Fraction]] = {
    "abs": abs,
    "ceiling": lambda a: Fraction(math.ceil(a)),
    "floor": lambda a: Fraction(math.floor(a)),
    "max": max,
    "min": min,
    "mod": operator.mod,
    "sqrt": _sqrt,
}


def names(text: str) -> frozenset[str]:
    """The free names of an expression.

    >>> sorted(names("floor(height/2) + Max(1, batch.0)"))
    ['batch.0', 'height']
    """
    found = _NAME.finditer(text)
    return frozenset(match.group() for match in found if not _is_call(text, match))


def plain(text: str) -> bool:
    """Can the text stand for a dimension in shape inference: a name, or arithmetic of names?

    >>> plain("batch"), plain("2*n + 1"), plain("floor(h/4)"), plain("two words"), plain("9**n")
    (True, True, True, False, False)
    """
    if not _PLAIN.match(text) or not names(text):
        return False
    return evaluated(text, dict.fromkeys(names(text), _SOME_SIZE)) is not None


def safe(text: str) -> str:
    """A name like `text` that can be calculated with.

    >>> safe("two words")
    'd_two_words'
    """
    return "d_" + re.sub(r"\W", "_", text, flags=re.ASCII)[:60]


def evaluated(text: str, values: Mapping[str, int]) -> int | None:
    """The value of an expression; None unless it is a whole number below 2**62 in magnitude.

    >>> evaluated("floor(h/2 + 1/2)", {"h": 225}), evaluated("h/2", {"h": 225}), evaluated("w", {})
    (113, None, None)
    """
    if not _ALLOWED.match(text) or not all(name in values for name in names(text)):
        return None
    try:
        numbers = _NAME.sub(
            lambda m: m.group() if _is_call(text, m) else f"({values[m.group()]})", text
        )
        result = _value(ast.parse(numbers.strip(), mode="eval").body)
    except (
        _NoValueError,
        ValueError,
        SyntaxError,
        TypeError,
        ArithmeticError,
        RecursionError,
        MemoryError,
    ):
        return None
    return int(result) if result.denominator == 1 and abs(result) < _LARGEST else None


def _is_call(text: str, match: re.Match[str]) -> bool:
    return text[match.end() :].lstrip()[:1] == "(" and match.group().lower() in _FUNCTIONS


def _value(node: ast.expr) -> Fraction:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return Fraction(node.value)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_value(node.left), _value(node.right))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        function = _FUNCTIONS.get(node.func.id.lower())
        if function is not None:
            return function(*(_value(argument) for argument in node.args))
    raise _NoValueError
