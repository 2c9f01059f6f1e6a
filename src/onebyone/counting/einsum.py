"""The multiply-accumulates of an einsum: for each pair of factors, the product of the sizes of
its labels; pointwise are the pairs that contract with a constant."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from math import prod

from onebyone.counting.formulas import Shape, Work

__all__ = ["einsum_work"]


def einsum_work(equation: str, shapes: Sequence[Shape], fixed: Sequence[bool]) -> Work:
    """The MACs of an einsum whose operands are multiplied pair by pair, from left to right.

    What only one factor of a pair has, and nothing later asks for, is summed before the product.
    One operand alone is summed and transposed: no MACs.

    >>> einsum_work("bhwc,cd->bhwd", [(2, 5, 7, 3), (3, 4)], [False, True])
    Work(macs=840, pointwise_macs=840, bias_adds=0)
    >>> einsum_work("bic,bjc->bij", [(2, 5, 3), (2, 7, 3)], [False, False])
    Work(macs=210, pointwise_macs=0, bias_adds=0)
    """
    terms, output = _labels(equation, [len(shape) for shape in shapes])
    sizes: dict[str, int] = {}
    for label, size in zip(chain(*terms), chain(*shapes), strict=True):
        # An axis of one is broadcast to the size that another operand has under the same label.
        if sizes.get(label, 1) == 1:
            sizes[label] = size
    macs = pointwise = 0
    # `left` are the axes of what was multiplied so far, of which each factor is the next right one.
    left, left_fixed = set(terms[0]), fixed[0]
    for k, right in enumerate(terms[1:], 1):
        later = set(output).union(*terms[k + 1 :])
        shared = left & set(right)
        product = prod(sizes[label] for label in shared | (later & (left | set(right))))
        macs += product
        # Contracted with a constant: a linear layer. Without a sum it only scales.
        pointwise += product * (left_fixed != fixed[k] and bool(shared - later))
        left, left_fixed = (left | set(right)) & later, left_fixed and fixed[k]
    return Work(macs, pointwise, kind="pointwise" if pointwise == macs else "attention")


def _labels(equation: str, ranks: Sequence[int]) -> tuple[list[list[str]], list[str]]:
    """The axes of each operand and of the output by name; those under an ellipsis are -1, -2, …"""
    left, arrow, right = equation.replace(" ", "").partition("->")
    texts = left.split(",")
    terms = [_term(text, rank) for text, rank in zip(texts, ranks, strict=True)]
    # Labels of an ellipsis count from its end, so that operands are broadcast as they are aligned.
    hidden = [label for label in chain(*terms) if label.startswith("-")]
    if arrow:
        widest = len(set(hidden))
        return terms, _term(right, len(right.replace("...", "")) + widest)
    # Without an arrow an axis is kept that occurs once; in which order, no count depends on.
    letters = left.replace("...", "").replace(",", "")
    return terms, [*set(hidden), *(label for label in letters if letters.count(label) == 1)]


def _term(text: str, rank: int) -> list[str]:
    before, dots, after = text.partition("...")
    hidden = rank - len(before) - len(after) if dots else 0
    return [*before, *(str(axis) for axis in range(-hidden, 0)), *after]
