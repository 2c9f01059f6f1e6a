"""Expressions for dimensions, as text: `floor(height/2 + 1/2)`, `2*n`, `s77//16`.

They come from files and from shape inference, so they are read by a small interpreter, in bounded
time, and never by `eval`. All arithmetic is SymPy's: names are symbols, or numbers to evaluate.

    expression = integer | name | expression (+ - * / // %) expression | expression ** 0..16
               | floor ceiling max min mod sqrt abs (expression, ...)
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import sympy

__all__ = ["evaluated", "names", "parsed", "plain", "safe"]

_NAME = re.compile(r"[^\W\d][\w.]*")
# Work grows with length: 40 nested abs take 7 s, and 80 of them 138 s.
_ALLOWED = re.compile(r"[\w.\s+\-*/%(),]{1,400}\Z")
# What the parser of shape inference takes without growing: no powers, short numbers.
_PLAIN = re.compile(r"(?!.*\*\*)(?!.*\d{10})[\w. +\-*/%(),]{1,400}\Z")
# Divisible by all small numbers, so that a quotient of sizes is a size.
_SOME_SIZE = 5040
_LARGEST_POWER = 16
_MOST_OPERANDS = 16
_LARGEST = 2**62

# Thousands of values share a few texts.
_once = lru_cache(maxsize=65536)


def _power(base: Any, exponent: Any) -> Any:
    if exponent == sympy.Rational(1, 2):
        return sympy.sqrt(base)
    if exponent not in range(_LARGEST_POWER + 1) or (base.is_number and abs(base) > _LARGEST):
        raise ValueError
    return base**exponent


def _few(function: Callable[..., Any], operands: Sequence[Any]) -> Any:
    """SymPy compares each with each: 16 sums take 0.2 s, and 34 take 3 s."""
    if len(operands) > _MOST_OPERANDS:
        raise ValueError
    return function(*operands)


_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": sympy.Abs,
    "ceiling": lambda a: -sympy.floor(-a),
    "floor": sympy.floor,
    "max": lambda *several: _few(sympy.Max, several),
    "min": lambda *several: _few(sympy.Min, several),
    "mod": sympy.Mod,
    "sqrt": sympy.sqrt,
}


@_once
def parsed(text: str) -> Any:
    """The text as a SymPy expression of whole numbers from 0 on; None where it is none.

    >>> parsed("h + 2*w//2"), parsed("two words")
    (h + w, None)
    """
    return _read(text, lambda name: sympy.Symbol(name, integer=True, nonnegative=True))


@_once
def names(text: str) -> frozenset[str]:
    """The free names of an expression.

    >>> sorted(names("floor(height/2) + Max(1, batch.0)"))
    ['batch.0', 'height']
    """
    matches = _NAME.finditer(text)
    return frozenset(match.group() for match in matches if not _is_call(text, match))


@_once
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
    if not all(name in values for name in names(text)):
        return None
    value = _read(text, lambda name: sympy.Integer(values[name]))
    if value is None or not value.is_Integer or abs(value) >= _LARGEST:
        return None
    return int(value)


def _is_call(text: str, match: re.Match[str]) -> bool:
    return text[match.end() :].lstrip()[:1] == "(" and match.group().lower() in _FUNCTIONS


def _read(text: str, meaning: Callable[[str], Any]) -> Any:
    """The text with a number or a symbol for each name; None where it is no expression."""
    try:
        body, words = _tree(text)
        return _value(body, [meaning(word) for word in words])
    except (ValueError, SyntaxError, TypeError, ArithmeticError, RecursionError, MemoryError):
        return None


@_once
def _tree(text: str) -> tuple[ast.expr, tuple[str, ...]]:
    """The syntax tree, and the names: numbered there, for Python reads none with a dot as one."""
    if not _ALLOWED.match(text):
        raise ValueError
    words = tuple(names(text))

    def numbered_name(match: re.Match[str]) -> str:
        if _is_call(text, match):
            return match.group()
        return f"_{words.index(match.group())}"

    numbered = _NAME.sub(numbered_name, text)
    return ast.parse(numbered.strip(), mode="eval").body, words


def _value(node: ast.expr, meanings: Sequence[Any]) -> Any:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return sympy.Integer(node.value)
    if isinstance(node, ast.Name):
        return meanings[int(node.id[1:])]
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_value(node.left, meanings), _value(node.right, meanings))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand, meanings)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        function = _FUNCTIONS.get(node.func.id.lower())
        if function is not None:
            return function(*(_value(argument, meanings) for argument in node.args))
    raise ValueError
