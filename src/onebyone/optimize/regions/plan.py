"""Plans: ways to evaluate a term, as values.

A plan is a tree: what was done last, on which plans, at what total cost, and in which form its
value comes out. It leaves open where a pending bias is added: `pending` says that there is one,
`carrier` that an operator which can take it for free (a convolution, a batch normalisation) has
been applied since the bias may be added."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from onebyone.algebra.channel import ChannelMap, join_structure
from onebyone.algebra.expression import Leaf
from onebyone.algebra.word import Word
from onebyone.cost.profile import Cost
from onebyone.optimize.regions.steps import KernelNode, Layout, Step, Stored

__all__ = [
    "Add",
    "Apply",
    "Cancel",
    "Convolve",
    "Flush",
    "How",
    "Input",
    "Join",
    "LookUp",
    "Move",
    "Plan",
    "Run",
    "Stack",
    "absorbing",
    "runs",
]


class Input(NamedTuple):
    """A leaf as it is."""

    leaf: Leaf


class Apply(NamedTuple):
    """maps[j:to] of the word as one map; `window`: strided and padded first."""

    before: Plan
    word: Word
    i: int
    j: int
    to: int
    window: Step | None = None


class LookUp(NamedTuple):
    """maps[:to] of the word as a table, of which the indices of a one-hot leaf pick rows."""

    leaf: Leaf
    word: Word
    to: int


class Move(NamedTuple):
    """spaces[i] of the word applied after j of its maps."""

    before: Plan
    word: Word
    i: int
    j: int


class Cancel(NamedTuple):
    """A run of views that ends where it began, left out."""

    before: Plan
    steps: tuple[Step, ...]


class Add(NamedTuple):
    """The sum of plans, two at a time if not at once; `split`: of a concat's pieces."""

    terms: tuple[Plan, ...]
    split: bool
    at_once: bool = False


class Stack(NamedTuple):
    """The concat of plans along the channels; `flushed`: with their pending biases added before."""

    terms: tuple[Plan, ...]
    flushed: bool


class Join(NamedTuple):
    """The plans' values one behind the other along an axis of positions.

    maps[:to] of the word were applied to each; `flushed`: with the biases that enter there.
    """

    terms: tuple[Plan, ...]
    along: int
    word: Word
    to: int
    flushed: bool


class Convolve(NamedTuple):
    """A kernel with channel maps multiplied into it: `inner` before it, maps[:to] after it.

    With an average pool, which is spaces[:i] of the word.
    """

    before: Plan
    kernel: KernelNode
    inner: tuple[ChannelMap, ...]
    word: Word
    i: int
    to: int


class Flush(NamedTuple):
    """The pending bias added now."""

    before: Plan


How = Input | Apply | LookUp | Move | Cancel | Add | Stack | Join | Convolve | Flush


class Plan(NamedTuple):
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

    def leaves(self) -> Iterator[Leaf]:
        """What it reads, as often as it does."""
        if isinstance(self.how, Input | LookUp):
            yield self.how.leaf
            return
        below = self.how.terms if isinstance(self.how, Add | Stack | Join) else (self.how.before,)
        for plan in below:
            yield from plan.leaves()


def absorbing(maps: Iterable[ChannelMap]) -> Iterator[str]:
    """The laws by which maps are multiplied into a kernel, or into another map."""
    for f in maps:
        if f.is_diagonal:
            yield "affine"
        else:
            yield "compose"


class Run(NamedTuple):
    """maps[j:to] of a word as one product: what can be said of it without multiplying.

    Args:
        to: where it ends.
        channels: of its result.
        groups: of the product.
        laws: by which its maps become one.
        only_shifts: whether it does not scale.
        only_signs: whether it scales by no other factors than one and minus one.
        stored: how the weight is stored, if it is that of one map.
    """

    to: int
    channels: int
    groups: int
    laws: frozenset[str]
    only_shifts: bool
    only_signs: bool
    stored: Stored | None

    @property
    def is_shared(self) -> bool:
        """Whether others read its weight, too."""
        return self.stored is not None and self.stored.shared

    def serves(self, layout: Layout) -> bool:
        """Whether its weight can be read as it is stored."""
        return self.stored is not None and self.stored.serves(layout)


def runs(word: Word, j: int, channels: int) -> Iterator[Run]:
    """The runs of maps that begin at j, the shortest first, on a tensor of `channels` channels.

    A run whose product is larger than its factors is left out: r(a + b) < ab stays factored, also
    where one operator less would save time on paper.
    """
    groups = between = channels
    mixing = diagonal = factored = 0
    only_shifts = only_signs = True
    # Without multiplying anything out: of a product, sizes and groups are enough for its price.
    for to, f in enumerate(word.maps[j:], j + 1):
        groups = join_structure(groups, f.groups, (channels, between, f.out_channels))
        between = f.out_channels
        mixing += not f.is_diagonal
        diagonal += f.is_diagonal
        only_shifts = only_shifts and f.is_shift
        only_signs = only_signs and (f.is_shift or f.linear.is_negation)
        factored += f.macs
        # Further on, a product may be smaller than its factors again.
        if mixing > 1 and channels * between // groups > factored:
            continue
        laws = _NAMES[mixing > 1, diagonal > 0 and to > j + 1]
        # A product of two is nobody's weight yet.
        stored = f.stored if to == j + 1 else None
        yield Run(to, between, groups, laws, only_shifts, only_signs, stored)


_NAMES = {
    (False, False): frozenset[str](),
    (True, False): frozenset({"compose"}),
    (False, True): frozenset({"affine"}),
    (True, True): frozenset({"compose", "affine"}),
}
