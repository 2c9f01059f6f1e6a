"""Text as a terminal can show it: no character steers it, and one that it lacks has a stand-in.

shortened    a long name loses its middle, never its ends
stand_ins    "8.4 → 4.1 M, 1.8×"  ->  "8.4 -> 4.1 M, 1.8x"   in ASCII
"""

from __future__ import annotations

import codecs
import unicodedata

__all__ = ["READABLE", "can_show", "shortened", "stand_ins"]

READABLE = "onebyone.readable"
"""The way to encode what an encoding lacks: `sys.stdout.reconfigure(errors=READABLE)`."""

# Where the decomposition of Unicode gives no ASCII: the signs of the laws, of sizes and of tables.
_STAND_INS = {
    "×": "x", "·": "*", "→": "->", "↔": "<->", "↦": "->", "…": "...", "−": "-", "–": "-", "±": "+-",
    "≤": "<=", "≥": ">=", "≠": "!=", "⇔": "<=>", "∗": "*", "⊗": "(x)", "∘": "o", "√": "sqrt",
    "Σ": "sum", "∏": "prod", "‖": "||", "∥": "|", "⌈": "ceil(", "⌉": ")", "⌊": "floor(", "⌋": ")",
    "σ": "sigma", "γ": "gamma", "β": "beta", "ε": "eps", "Δ": "delta", "τ": "tau", "μ": "mu",
    "ρ": "rho", "η": "eta", "ᵀ": "^T", "²": "^2", "½": "1/2", "█": "#", "━": "-", "─": "-",
    "▶": ">", "•": "*", "₊": "+", "₋": "-", "⁻": "^-", "¹": "^1", "⁵": "^5", "ₙ": "n", "ₖ": "k",
}  # fmt: skip


def shortened(name: str, most: int) -> str:
    """A name of at most so many characters: of a longer one the middle goes.

    >>> shortened("encoder.layers.11.attention.output", 20)
    'encoder.l…ion.output'
    """
    if len(name) <= most:
        return name
    before = max(most - 1, 0) // 2
    after = max(most - 1 - before, 0)
    return f"{name[:before]}…{name[len(name) - after :]}"


def can_show(text: str, encoding: str) -> bool:
    """Whether an encoding has all characters of a text."""
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def stand_ins(text: str, encoding: str) -> str:
    """The text with a stand-in for each character that an encoding lacks.

    >>> stand_ins("W₁x, 3×3 → 8.4", "cp1252"), stand_ins("3×3 ≤ 9", "ascii")
    ('W1x, 3×3 -> 8.4', '3x3 <= 9')
    """
    if can_show(text, encoding):
        return text
    return "".join(c if can_show(c, encoding) else _stand_in(c) for c in text)


def _stand_in(character: str) -> str:
    known = _STAND_INS.get(character)
    if known is None:
        parts = unicodedata.normalize("NFKD", character)
        known = "".join(c for c in parts if c.isascii())
    return known or character.encode("unicode_escape").decode()


def _readable(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_stand_in, error.object[error.start : error.end])), error.end


codecs.register_error(READABLE, _readable)
