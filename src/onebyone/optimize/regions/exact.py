"""Which steps of a region are exact, so that folding them can lose digits (`algebra.digits`).

An operand is *rounded* where products of more than a few bits were summed on the way to it: it
carries that noise already, u|W||x|, and what is folded behind it adds no more. Everything else may
be exact: what the caller gives, what a nonlinearity leaves, what is gathered, scaled or moved.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from onebyone.algebra.channel import ChannelMap
from onebyone.algebra.digits import LOST_BITS, Behind, bits, few_bits, stencil
from onebyone.algebra.expression import Choice, Convolution, Leaf, Term
from onebyone.algebra.refusal import Refusal
from onebyone.algebra.weights import Array
from onebyone.graph.channels import ChannelNode, channel_axis, channel_map
from onebyone.graph.constants import constant
from onebyone.graph.operators import Role, role
from onebyone.optimize.regions.steps import KernelNode

__all__ = ["Digits", "is_exact"]


@dataclass
class Digits:
    """What folding a region can lose, while it is lifted from its root to its leaves.

    Args:
        limit: bits that it may lose.
        lost: the most of what was let pass.
        behind: what the value that is lifted now meets on its way to the root.
    """

    limit: float = LOST_BITS
    lost: float = 0.0
    behind: Behind = field(default_factory=Behind)

    def read_by(self, reader: ChannelMap | KernelNode) -> AbstractContextManager[None]:
        """While the operand of a map or of a K×K is lifted."""
        if isinstance(reader, KernelNode):
            return self._meeting(self.behind.mixed(reader.by_output(), reader.groups))
        if reader.is_diagonal:
            return self._meeting(self.behind.scaled(reader.weight[:, 0]))
        return self._meeting(self.behind.mixed(reader.weight, reader.groups))

    def added(self) -> AbstractContextManager[None]:
        """While summands are lifted."""
        return self._meeting(self.behind.added())

    def stacked(self, start: int, stop: int) -> AbstractContextManager[None]:
        """While the operand of a concat is lifted that gives these channels."""
        return self._meeting(self.behind.part(start, stop))

    @contextmanager
    def _meeting(self, behind: Behind) -> Iterator[None]:
        kept, self.behind = self.behind, behind
        yield
        self.behind = kept

    def of_map(self, f: ChannelMap, operand: Term, *, shared: bool) -> Refusal | None:
        """Why a map must stay apart from what is behind it.

        A `shared` value is lifted once, for the first that reads it; the others may scale it up.
        """
        if not f.is_diagonal:
            return self._of_weights(f.weight, operand)
        if f.bias is None or not f.bias.any() or not is_exact(operand):
            return None
        return self._exceeds(np.inf if shared else self.behind.condition(f.bias), _SHIFT)

    def of_kernel(self, kernel: KernelNode, operand: Term) -> Refusal | None:
        """Why a K×K must stay apart from what is behind it."""
        return self._of_weights(kernel.by_output(), operand)

    def _of_weights(self, weight: Array, operand: Term) -> Refusal | None:
        condition = stencil(weight)
        return self._exceeds(condition, _STENCIL) if condition and is_exact(operand) else None

    def of_sum(self, terms: Sequence[Term]) -> Refusal | None:
        """Why a sum must stay apart: two exact summands of opposite signs cancel wholly.

        A summand that is constant has numbers that can be looked at: it is a shift.
        """
        exact = [t for t in terms if all(f.is_diagonal for f in t.word.maps) and is_exact(t)]
        if len(exact) < 2:
            return None
        constants = [c for c in map(_constant, exact) if c is not None]
        if _differ([_sign(t) for t in exact if _constant(t) is None]):
            return self._exceeds(np.inf, _DIFFERENCE)
        return self._exceeds(max(map(self.behind.condition, constants), default=0.0), _SHIFT)

    def _exceeds(self, condition: float, told: Refusal) -> Refusal | None:
        lost = bits(condition)
        if lost <= self.limit:
            self.lost = max(self.lost, lost)
            return None
        how_many = f"{lost:.1f} bits could be lost" if np.isfinite(lost) else "all could be lost"
        return Refusal(told.law, f"{told.reason}: {how_many}, the limit is {self.limit:g}")


_SHIFT = Refusal("affine", "what cancels keeps its order, a shift folded into what reads it rounds")
_STENCIL = Refusal(
    "compose", "what cancels keeps its order, products of weights that subtract exactly round"
)
_DIFFERENCE = Refusal(
    "sum", "what cancels keeps its order, a difference is exact and that of maps rounds"
)


def is_exact(term: Term) -> bool:
    """Whether a term may hold values without rounding noise of their own size."""
    if any(_rounds(f.weight) for f in term.word.maps if not f.is_diagonal):
        return False
    node = term.node
    if isinstance(node, Leaf):
        return not _is_product(node.value[0])
    if isinstance(node, Convolution):
        return not _rounds(node.kernel.by_output()) and is_exact(node.term)
    offered = node.terms[-1:] if isinstance(node, Choice) and not node.law else node.terms
    return any(is_exact(inner) for inner in offered)


def _differ(signs: Sequence[Array]) -> bool:
    """Whether some channel enters with both signs."""
    return len(signs) > 1 and bool((np.min(signs, axis=0) * np.max(signs, axis=0) < 0).any())


def _rounds(weight: Array) -> bool:
    """Whether some row of a weight (C_out, …) multiplies by more than a few bits."""
    return not few_bits(weight.reshape(-1)[:_SEEN]).all() or not few_bits(weight).all()


_SEEN = 256


def _is_product(value: ir.Value) -> bool:
    """Whether a convolution or linear layer makes a value, but for moves of positions behind it."""
    node = value.producer()
    while node is not None and role(node) in _MOVES:
        operand = node.inputs[0]
        node = None if operand is None else operand.producer()
    if node is None or role(node) not in (Role.CHANNEL_MAP, Role.CONVOLUTION):
        return False
    if role(node) is Role.CONVOLUTION:
        weight = constant(node.inputs[1])
        return weight is not None and _rounds(weight)
    axis = channel_axis(node)
    found = None if axis is None else channel_map(node, axis)
    return isinstance(found, ChannelNode) and _mixes(found.map)


def _mixes(f: ChannelMap) -> bool:
    return not f.is_diagonal and _rounds(f.weight)


_MOVES = (Role.VIEW, Role.SPACE_MAP, Role.SELECTION, Role.IDENTITY)


def _constant(term: Term) -> Array | None:
    """The largest size in each channel of a summand that is an initialiser."""
    if not isinstance(term.node, Leaf):
        return None
    value, layout = term.node.value
    array = constant(value)
    if array is None:
        return None
    others = tuple(k for k in range(array.ndim) if k != layout.axis)
    size = np.abs(array.astype(np.float64)).max(axis=others, initial=0.0)
    for f in term.word.maps:
        size = np.abs(f.weight[:, 0]) * size
    return np.asarray(size)


def _sign(term: Term) -> Array:
    """The sign with which each channel of an exact summand enters a sum."""
    sign = np.ones(term.channels)
    for f in term.word.maps:
        sign = sign * np.sign(f.weight[:, 0])
    return sign
