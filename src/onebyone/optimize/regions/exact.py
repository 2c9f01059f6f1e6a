"""Which steps of a region are exact, so that folding them can lose digits (`algebra.digits`).

Told channel by channel. A channel is *rounded* where a sum of products of more than a few bits
gave it: it carries that noise already, u|W||x|, and what is folded behind it adds no more. Every
other may be exact: what the caller gives, what a nonlinearity leaves, what is gathered or scaled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from math import inf

import numpy as np
import onnx_ir as ir

from onebyone.algebra.channel import ChannelMap
from onebyone.algebra.digits import LOST_BITS, Behind, bits, stencil
from onebyone.algebra.expression import Choice, Concat, Convolution, Leaf, Node, Term
from onebyone.algebra.laws import refused
from onebyone.algebra.refusal import Refusal
from onebyone.algebra.weights import Array
from onebyone.graph.constants import constant
from onebyone.optimize.regions.readings import Readings
from onebyone.optimize.regions.rescaled import is_rescaled
from onebyone.optimize.regions.steps import KernelNode, Step, steps

__all__ = ["Digits"]


@dataclass
class Digits:
    """What folding a region can lose, while it is lifted from its root to its leaves.

    Args:
        root: of the region.
        readings: of the graph.
        limit: bits that it may lose.
        absorbed: bits that a shift may take from what it is added to, be that rounded or not.
        lost: the most of what was let pass.
        behind: what the value that is lifted now meets on its way to the root.
        known: of what the region is made of, which channels may be exact.
    """

    root: ir.Value
    readings: Readings
    limit: float = LOST_BITS
    absorbed: float = inf
    lost: float = 0.0
    behind: Behind = field(default_factory=Behind)
    known: dict[Node, Array] = field(default_factory=dict)

    @classmethod
    def of(cls, limit: float, root: ir.Value, readings: Readings) -> Digits:
        """For a region: half of the bits of its number type are the most that a shift may take."""
        absorbed = inf
        if root.dtype in _MANTISSA and limit < inf:
            absorbed = _MANTISSA[root.dtype] / 2
        return cls(root, readings, limit, absorbed)

    @property
    def _resets(self) -> bool:
        """Whether what comes of the value that is lifted is divided by its own size."""
        return self.behind.bare and self._is_rescaled

    @cached_property
    def _is_rescaled(self) -> bool:
        return is_rescaled(self.root)

    def read_by(self, reader: ChannelMap | KernelNode) -> AbstractContextManager[None]:
        """While the operand of a map or of a K×K is lifted."""
        biased = reader.biased if isinstance(reader, KernelNode) else reader.bias is not None
        # What a bias is added to has a size from then on.
        behind = self.behind
        if biased and behind.bare:
            behind = replace(behind, bare=False)
        if isinstance(reader, KernelNode):
            return self._meeting(behind.mixed(reader.by_output(), reader.groups))
        if reader.is_diagonal:
            return self._meeting(behind.scaled(reader.weight[:, 0]))
        return self._meeting(behind.mixed(reader.weight, reader.groups))

    def added(self) -> AbstractContextManager[None]:
        """While summands are lifted."""
        return self._meeting(self.behind.added())

    def moved(self, step: Step) -> AbstractContextManager[None]:
        """While the operand of a space map is lifted."""
        if self.behind.averaged or not step.pools:
            return self._meeting(self.behind)
        return self._meeting(replace(self.behind, averaged=True))

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
        if f.is_diagonal:
            return self._of_shift(f.bias, self.exact(operand), shared) or self._absorbs(f.bias)
        rows = f.exact_rows
        if rows.any() and self.exact(operand).any():
            stays = None if _picks_one(operand) else self._exceeds(stencil(f.weight), _STENCIL)
            return stays or self._of_shift(f.bias, rows, shared) or self._absorbs(f.bias)
        return self._absorbs(f.bias)

    def _absorbs(self, shift: Array | None) -> Refusal | None:
        """Why a shift must stay that is so large that adding it rounds: (x + 1.5·2²³) − 1.5·2²³."""
        if shift is None or (taken := bits(self.behind.condition(shift))) <= self.absorbed:
            return None
        return refused("affine", "absorbed", bits=taken)

    def _of_shift(self, shift: Array | None, channels: Array, shared: bool) -> Refusal | None:
        known = np.where(channels, np.zeros(1) if shift is None else shift, 0)
        if not known.any():
            return None
        if self._resets:
            return self._exceeds(inf, _RESCALED)
        if shared:
            return self._exceeds(inf, _SHIFT)
        return self._exceeds(self.behind.condition(known), _SHIFT)

    def of_kernel(self, kernel: KernelNode, operand: Term) -> Refusal | None:
        """Why a K×K must stay apart from what is behind it."""
        rows, bias = kernel.exact_rows, kernel.kernel().bias
        if rows.any() and self.exact(operand).any():
            stays = self._exceeds(stencil(kernel.by_output(), kernel.padded), _STENCIL)
            return stays or self._of_shift(bias, rows, shared=False) or self._absorbs(bias)
        return self._absorbs(bias)

    def of_sum(self, terms: Sequence[Term], *, shared: bool) -> Refusal | None:
        """Why a sum must stay apart: two exact summands of opposite signs cancel wholly.

        A summand that is constant has numbers that can be looked at: it is a shift.
        """
        scaled = [
            t for t in terms if all(f.is_diagonal for f in t.word.maps) and self.exact(t).any()
        ]
        constants = [c for c in map(_constant, scaled) if c is not None]
        if len(scaled) < 2:
            return next(filter(None, map(self._absorbs, constants)), None)
        if _differ([_sign(t) * self.exact(t) for t in scaled if _constant(t) is None]):
            return self._exceeds(inf, _DIFFERENCE)
        if constants and shared:
            return self._exceeds(inf, _SHIFT)
        if constants and self._resets:
            return self._exceeds(inf, _RESCALED)
        return self._exceeds(max(map(self.behind.condition, constants), default=0.0), _SHIFT)

    def of_difference(self, condition: float) -> Refusal | None:
        """Why a difference must stay as it is, also beside what it was taken of."""
        return self._exceeds(condition, _DIFFERENCE)

    def _exceeds(self, condition: float, told: tuple[str, str]) -> Refusal | None:
        lost = bits(condition)
        if lost <= self.limit:
            self.lost = max(self.lost, lost)
            return None
        how_many = f"{lost:.1f} bits could be lost" if np.isfinite(lost) else "all could be lost"
        return refused(*told, lost=how_many, limit=self.limit)

    def exact(self, term: Term) -> Array:
        """(C,): which channels of a term may hold values without noise of their own size."""
        node = term.node
        if node not in self.known:
            self.known[node] = self._of_node(node)
        return reduce(_after, term.word.maps, self.known[node])

    def _of_node(self, node: Node) -> Array:
        if isinstance(node, Leaf):
            rows = self.readings.product_rows(node.value[0])
            if rows is None or len(rows) != node.channels:
                return np.ones(node.channels, bool)
            return rows
        if isinstance(node, Convolution):
            return np.asarray(node.kernel.exact_rows & self.exact(node.term).any())
        if isinstance(node, Concat):
            return np.concatenate([self.exact(term) for term in node.terms])
        # Of a shared value the last term says how it is made, the first only that it is there.
        is_shared = isinstance(node, Choice) and not node.law
        offered = node.terms[-1 if is_shared else 0 :]
        return np.asarray(np.any([self.exact(term) for term in offered], axis=0))


_MANTISSA = {
    ir.DataType.FLOAT: 24,
    ir.DataType.FLOAT16: 11,
    ir.DataType.BFLOAT16: 8,
    ir.DataType.DOUBLE: 53,
}

# What could lose digits: a law, and the sentence of its row that says so.
_SHIFT = "affine", "folded"
_RESCALED = "affine", "rescaled"
_STENCIL = "compose", "stencil"
_DIFFERENCE = "sum", "difference"


def _after(channels: Array, f: ChannelMap) -> Array:
    if f.is_diagonal:
        return channels
    return f.exact_rows & channels.any()


def _picks_one(term: Term) -> bool:
    """Whether a value is a map of what has one channel that is not zero.

    Each vector of it is a column of a weight: however many are multiplied, that rounds once.
    """
    marks = term.node.marks if isinstance(term.node, Leaf) else None
    moved = all(step.is_view or step.selects for step in steps(term.word))
    return marks is not None and marks.off == 0 and moved


def _differ(signs: Sequence[Array]) -> bool:
    """Whether some channel enters with both signs."""
    return len(signs) > 1 and bool((np.min(signs, axis=0) * np.max(signs, axis=0) < 0).any())


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
