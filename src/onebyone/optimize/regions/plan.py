"""Plans: ways to evaluate a term, as values.

A plan is a tree: what was done last, on which plans, at what total cost, and in which form its
value comes out. It leaves open where a pending bias is added: `pending` says that there is one,
`carrier` that an operator which can take it for free (a convolution, a batch normalisation) has
been applied since the bias may be added."""

from __future__ import annotations

from dataclasses import dataclass

from onebyone.algebra.channel import ChannelMap
from onebyone.algebra.expression import Leaf
from onebyone.algebra.word import Word
from onebyone.cost.profile import Cost
from onebyone.optimize.regions.steps import KernelNode, Layout, Step

__all__ = ["Add", "Apply", "Cancel", "Convolve", "Flush", "How", "Input", "Move", "Plan", "Stack"]


@dataclass(frozen=True, eq=False)
class Input:
    """A leaf as it is."""

    leaf: Leaf


@dataclass(frozen=True, eq=False)
class Apply:
    """maps[j:to] of the word as one map; `window`: strided and padded first."""

    before: Plan
    word: Word
    i: int
    j: int
    to: int
    window: Step | None = None


@dataclass(frozen=True, eq=False)
class Move:
    """spaces[i] of the word applied after j of its maps."""

    before: Plan
    word: Word
    i: int
    j: int


@dataclass(frozen=True, eq=False)
class Cancel:
    """A run of views that ends where it began, left out."""

    before: Plan
    steps: tuple[Step, ...]


@dataclass(frozen=True, eq=False)
class Add:
    """The sum of plans; `split`: of the pieces that a concat was split into."""

    terms: tuple[Plan, ...]
    split: bool


@dataclass(frozen=True, eq=False)
class Stack:
    """The concat of plans along the channels; `flushed`: with their pending biases added before."""

    terms: tuple[Plan, ...]
    flushed: bool


@dataclass(frozen=True, eq=False)
class Convolve:
    """A kernel with channel maps multiplied into it: `inner` before it, `outer` after it."""

    before: Plan
    kernel: KernelNode
    inner: tuple[ChannelMap, ...]
    word: Word
    to: int


@dataclass(frozen=True, eq=False)
class Flush:
    """The pending bias added now."""

    before: Plan


How = Input | Apply | Move | Cancel | Add | Stack | Convolve | Flush


@dataclass(frozen=True, eq=False)
class Plan:
    """A way to compute a value, its total cost, and the form the value comes out in.

    Args:
        cost: of everything below, leaves free.
        layout, channels: of the value.
        how: the last thing done.
        carrier: whether a pending bias can still be taken up for free.
        pending: whether one is pending.
        laws: those that got it here from the graph as it stood.
    """

    cost: Cost
    layout: Layout
    channels: int
    how: How
    carrier: bool = False
    pending: bool = False
    laws: frozenset[str] = frozenset()
