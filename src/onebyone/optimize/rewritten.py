"""Rewrite: what was replaced by what, by which law, and what that saves. The report lists these.

Every pass takes one `Task` and yields one `Rewrite` for each thing that it did. What its proof
found, and how both sides look, the driver adds (`optimize.rewrite`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import inf

import onnx_ir as ir

from onebyone.algebra.digits import LOST_BITS
from onebyone.algebra.refusal import Refusal
from onebyone.cost.profile import Cost, Profile
from onebyone.graph.channel_axes import channel_axes
from onebyone.graph.shapes import Sizes
from onebyone.optimize.outline import NOTHING, Outline
from onebyone.verify.pieces.prove import Proof

__all__ = ["UNBOUNDED", "Memory", "Rewrite", "Task"]

_NOTHING = Cost()


@dataclass(frozen=True)
class Memory:
    """How much memory activations may take at once in a network that is put on tiles.

    Args:
        original: what they take in the original, in bytes (`graph.count.peak_memory`); None if
            that is unknown.
        factor: how many times as much is the most.
    """

    original: int | None = None
    factor: float = inf

    @property
    def is_bounded(self) -> bool:
        """Whether there is a most."""
        return self.factor < inf

    def allows(self, peak: int | None) -> bool:
        """Whether so many bytes are no more than that; of a number that is unknown nobody knows.

        >>> Memory(100, 1.15).allows(115), Memory(100, 1.15).allows(116), Memory(None, 2).allows(1)
        (True, False, False)
        """
        if not self.is_bounded:
            return True
        if peak is None or not self.original:
            return False
        # The quotient: 1.15 · 100 is rounded to less than 115, and 115 / 100 to 1.15 itself.
        return peak / self.original <= self.factor


UNBOUNDED = Memory()
"""Whatever it takes."""


@dataclass(frozen=True)
class Task:
    """What a pass is given. It holds for the graph as it stands: after a change there is another.

    Args:
        model: with shapes inferred; it is changed in place.
        sizes: that costs are computed for.
        profile: of the machine.
        lost_bits: the digits that a rewrite may lose (`algebra.digits`).
        memory: that tiles may take.
        refused: what a pass left for a reason that hangs on the task, by the name of the node;
            what the graph alone tells is for its near misses.
    """

    model: ir.Model
    sizes: Sizes
    profile: Profile
    lost_bits: float = LOST_BITS
    memory: Memory = UNBOUNDED
    refused: dict[str, Refusal] = field(default_factory=dict, init=False)

    @cached_property
    def axes(self) -> Mapping[ir.Value, int]:
        """The channel axis of each value that has one, worked out once: every pass asks."""
        return channel_axes(self.model.graph)


@dataclass(frozen=True, eq=False)
class Rewrite:
    """One region that was replaced.

    Args:
        root: the name of the value that the region computes.
        nodes: the names of the nodes that computed it.
        saved: MACs that each law contributed; for a region they add up to before.macs - after.macs.
        before, after: modelled costs, of what the law compared.
        note: the numbers of the decision, where it hangs on some.
        lost_bits: the digits that it can lose (`algebra.digits`), at most.
        made: the names of the nodes that stand in their place, changed ones included; before the
            step is settled, names of other new things too.
        moved: values that are still there, with another meaning that their shapes do not tell.
        small: whether what it did can be proved at smaller sizes; not where it chose positions.
        left: what the law itself leaves out, as the largest factor ‖y‖/‖x‖ of it.
        proof: what was found of it by itself; None where nobody looked.
        sides: both graphs as they stood, before the step and behind it.
    """

    root: str
    nodes: tuple[str, ...]
    saved: dict[str, int]
    before: Cost = _NOTHING
    after: Cost = _NOTHING
    note: str = ""
    lost_bits: float = 0.0
    made: tuple[str, ...] = ()
    moved: tuple[ir.Value, ...] = ()
    small: bool = True
    left: float = 0.0
    proof: Proof | None = None
    sides: tuple[Outline, Outline] = (NOTHING, NOTHING)

    @property
    def laws(self) -> frozenset[str]:
        """Those that the new form uses."""
        return frozenset(self.saved)
