"""Expressions: a linear region as a tree of words over its inputs.

    term   = word · node                 the word's factors applied to the node's value
    node   = Leaf                        an input of the region
           | Sum(term, …)                Σ_k term_k
           | Concat(term, …)             [term_1; term_2; …] along the channels
           | Joined(term, …)             [term_1 ∥ term_2 ∥ …] along positions
           | Convolution(kernel, term)   a K×K kernel, between whose two sides nothing commutes
           | Choice(term, …)             terms known to be equal: take any

The normal form of a term multiplies everything out,

    y = Σ_t S_t W_t x_t (+ biases),

and collects terms with the same S and x: W₁Sx + W₂Sx = (W₁ + W₂)Sx, which is the law *sum*.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from itertools import accumulate
from typing import Any

import numpy as np

from onebyone.algebra.channel import ChannelMap, add
from onebyone.algebra.weights import Array
from onebyone.algebra.word import Space, Word, product

__all__ = [
    "Choice",
    "Concat",
    "Convolution",
    "Joined",
    "Leaf",
    "Node",
    "Sum",
    "Term",
    "collect",
    "distinct",
    "evaluate",
    "flatten",
    "linear_part",
    "origins",
    "path",
    "repeats",
    "unstacked",
]


@dataclass(frozen=True, eq=False)
class Leaf:
    """An input of the region; `value` is whatever the caller knows it by."""

    value: Any
    channels: int


@dataclass(frozen=True, eq=False)
class Sum:
    """The elementwise sum of terms with equal channels and positions (up to broadcasting).

    Args:
        terms: what is added.
        at_once: whether it is done in one pass over all of them, or two at a time.
        closed: whether it is computed as it stands, for what cancels in it (`algebra.difference`):
            no map behind it goes to its terms.
    """

    terms: tuple[Term, ...]
    at_once: bool = False
    closed: bool = False

    @property
    def channels(self) -> int:
        return self.terms[0].channels


@dataclass(frozen=True, eq=False)
class Concat:
    """The terms stacked along the channel axis."""

    terms: tuple[Term, ...]

    @property
    def channels(self) -> int:
        return sum(term.channels for term in self.terms)


@dataclass(frozen=True, eq=False)
class Joined:
    """The terms, of equal channels, one behind the other along an axis of positions.

    Args:
        terms: in their order.
        layout: whatever the caller knows the form of the result by.
        along: the axis.
    """

    terms: tuple[Term, ...]
    layout: Any
    along: int

    @property
    def channels(self) -> int:
        return self.terms[0].channels


@dataclass(frozen=True, eq=False)
class Convolution:
    """A K×K (also depthwise or transposed) convolution of a term.

    Args:
        kernel: whatever the caller knows the kernel by.
        channels: its number of output channels.
        term: its operand.
    """

    kernel: Any
    channels: int
    term: Term

    @property
    def distributed(self) -> Convolution | Choice:
        """K(a or b) = Ka or Kb, of what a law makes equal, so that the maps of each may enter K."""
        choice, word = self.term.node, self.term.word
        if not isinstance(choice, Choice) or not choice.law:
            return self
        terms = (Term(Word(), replace(self, term=term.then(word))) for term in choice.terms)
        return Choice(tuple(terms), choice.law)


@dataclass(frozen=True, eq=False)
class Choice:
    """Terms of equal value, to choose from by cost; `law` makes the others equal to the first."""

    terms: tuple[Term, ...]
    law: str = ""

    @property
    def channels(self) -> int:
        return self.terms[0].channels


Node = Leaf | Sum | Concat | Joined | Convolution | Choice


@dataclass(frozen=True, eq=False)
class Term:
    """A word applied to a node."""

    word: Word
    node: Node

    @property
    def channels(self) -> int:
        if self.word.maps:
            return self.word.maps[-1].out_channels
        return self.node.channels

    def then(self, outer: Word) -> Term:
        """outer ∘ this."""
        return Term(self.word.then(outer), self.node)


def evaluate(
    term: Term, leaf: Callable[[Any], Array], space: Callable[[Space, Array], Array]
) -> Array:
    """The value of a term, factor by factor in the original order, channels on axis 1.

    Args:
        term: what to evaluate; without Convolution nodes.
        leaf: gives the array (N, C, …) of a leaf's value.
        space: applies one space map to an array.
    """
    x = _evaluate_node(term.node, leaf, space)
    done = 0
    for f, slot in zip(term.word.maps, term.word.slots, strict=True):
        for s in term.word.spaces[done:slot]:
            x = space(s, x)
        x, done = f.apply(x), slot
    return reduce(lambda y, s: space(s, y), term.word.spaces[done:], x)


def _evaluate_node(
    node: Node, leaf: Callable[[Any], Array], space: Callable[[Space, Array], Array]
) -> Array:
    if isinstance(node, Leaf):
        return leaf(node.value)
    if isinstance(node, Convolution):
        raise TypeError("a convolution is evaluated by the graph, not by the algebra")
    values = [evaluate(t, leaf, space) for t in node.terms]
    if isinstance(node, Sum):
        return sum(values[1:], values[0])
    if isinstance(node, Concat):
        return np.concatenate(values, axis=1)
    if isinstance(node, Joined):
        return np.concatenate(values, axis=node.along)
    return values[0]  # of a choice, whose terms are equal


def flatten(node: Sum, *, opens: bool = False) -> list[Term]:
    """The terms of nested sums, each with its whole word: (A + B)W + C = AW + BW + C.

    A bias on the way belongs to the sum once: the first summand keeps it. Those that are closed
    stay whole, unless it `opens` them.
    """
    return [term for term, _ in origins(node, opens=opens)]


def origins(node: Sum, *, opens: bool) -> list[tuple[Term, Sum | None]]:
    """The terms as `flatten` gives them, each with the closed sum that it comes from."""
    terms: list[tuple[Term, Sum | None]] = []
    for term in node.terms:
        nested = _as_sum(term.node)
        if nested is None or (nested.closed and not opens):
            terms.append((term, None))
            continue
        # W(A + B) + b: the word's bias enters once, whatever the number of summands.
        word = term.word
        for inner, origin in origins(nested, opens=opens):
            terms.append((inner.then(word), origin or (nested if nested.closed else None)))
            word = term.word.linear
    return terms


def _as_sum(node: Node) -> Sum | None:
    """The sum that a node is, or of which it offers a collected form."""
    if isinstance(node, Choice):
        node = node.terms[0].node
    if isinstance(node, Sum):
        return node
    return None


def path(term: Term) -> Hashable:
    """Equal for terms of the same x at the same positions."""
    # By identity: equal terms of different inputs are not the same x.
    return id(term.node), term.word.spaces


def repeats(terms: tuple[Term, ...]) -> bool:
    """Whether different terms, or sums among them, read one x at the same positions.

    >>> x, y = (Term(Word(), Leaf(name, 1)) for name in "xy")
    >>> repeats((x, Term(Word(), Sum((x, y))))), repeats((x, x, y))
    (True, False)
    """
    once = {id(term): term for term in terms}
    paths = [path(term) for term in flatten(Sum((*once.values(),)), opens=True)]
    return len(set(paths)) < len(paths)


def unstacked(node: Concat) -> Sum:
    """[x₁; x₂] as E₁x₁ + E₂x₂, where E_k puts the channels of x_k into their places.

    >>> x = Leaf("x", 1)
    >>> both = unstacked(Concat((Term(Word(), x), Term(Word(), x))))
    >>> [term.word.maps[0].weight.tolist() for term in both.terms]
    [[[1], [0]], [[0], [1]]]
    """
    ends = [0, *accumulate(term.channels for term in node.terms)]
    places = np.eye(ends[-1], dtype=np.int64)
    parts = zip(node.terms, ends, ends[1:], strict=False)
    return Sum(tuple(t.then(Word.of([ChannelMap(places[:, i:j])])) for t, i, j in parts))


def collect(node: Sum, *, commute: bool = True, opens: bool = False) -> Term | None:
    """The sum with equal paths collected, W₁Sx + W₂Sx = (W₁ + W₂)Sx; None if there are none.

    Without `commute`, only paths whose maps all stand in one place among the spaces. Closed sums
    stay whole, unless it `opens` them.

    >>> x = Leaf("x", 2)
    >>> w = Word.of([ChannelMap(np.array([[0, 1], [1, 0]]))])
    >>> once = collect(Sum((Term(Word(), x), Term(w, x))))
    >>> once.word.maps[0].weight.tolist()
    [[1, 1], [1, 1]]
    """
    groups: dict[tuple[int, tuple[Space, ...], int | None], list[Word]] = {}
    terms = flatten(node, opens=opens)
    # By identity: equal terms of different inputs are not the same x.
    nodes: Mapping[int, Node] = {id(t.node): t.node for t in terms}
    for term in terms:
        # Without commuting, W₁S x and S W₂x differ though their spaces are equal.
        place = None if commute or not term.word.spaces else _place(term)
        groups.setdefault((id(term.node), term.word.spaces, place), []).append(term.word)
    if len(groups) == len(terms):
        return None
    collected = tuple(
        Term(_merge(words, node.channels), nodes[key]) for (key, _, _), words in groups.items()
    )
    if len(collected) == 1:
        return collected[0]
    return Term(Word(), Sum(collected))


def distinct(node: Concat, constants: Mapping[int, Array] | None = None) -> Term | None:
    """What a concat is made of, once each, and a map that copies: [x; y; x; k] = P[x; y] + (0; k).

    Args:
        node: the concat.
        constants: the places of terms that are (C,) constants at every position.

    Returns:
        None if all terms are different, or all are constants.

    >>> x, y = (Term(Word(), Leaf(name, 1)) for name in "xy")
    >>> once = distinct(Concat((x, y, x)))
    >>> once.word.maps[0].weight.tolist(), len(once.node.terms)
    ([[1, 0], [0, 1], [1, 0]], 2)
    """
    held = constants or {}
    # By identity: equal terms of different inputs are not the same x.
    once = {id(term): term for at, term in enumerate(node.terms) if at not in held}
    if not once or len(once) == len(node.terms):
        return None
    ends = accumulate(term.channels for term in once.values())
    starts = {key: end - once[key].channels for key, end in zip(once, ends, strict=True)}
    channels: list[int] = []
    bias = np.zeros(node.channels)
    for at, term in enumerate(node.terms):
        here = slice(len(channels), len(channels) + term.channels)
        if at in held:
            channels += [-1] * term.channels
            bias[here] = held[at]
        else:
            channels += range(starts[id(term)], starts[id(term)] + term.channels)
    first, *others = once.values()
    inner = first
    if others:
        inner = Term(Word(), Concat((first, *others)))
    shift = bias if bias.any() else None
    return inner.then(Word.of([ChannelMap.copying(channels, inner.channels, shift)]))


def _place(term: Term) -> int:
    """The one place among the spaces where a word's maps stand, or a number of its own."""
    places = set(term.word.slots)
    if len(places) == 1:
        return places.pop()
    return -id(term)  # equal to that of no other term, and to no place


def _merge(words: list[Word], channels: int) -> Word:
    """Σ of words with equal spaces: one linear map, then each bias, in its slot, as a shift."""
    if len(words) == 1:
        return words[0]
    linear = reduce(add, (linear_part(word, channels) for word in words))
    shifts: list[tuple[int, Array]] = []
    for word in words:
        for k, f in enumerate(word.maps):
            if f.bias is not None:
                shift = f.bias
                if rest := [g.linear for g in word.maps[k + 1 :]]:
                    shift = product(rest).push(shift)
                shifts.append((word.slots[k], shift))
    # Slots never decrease in a word.
    shifts.sort(key=lambda shift: shift[0])
    unit = np.ones(channels, linear.weight.dtype)
    maps = (linear, *(ChannelMap.diagonal(unit, bias) for _, bias in shifts))
    # Where all maps stand in one place the sum may stand there too, and no order is changed.
    places = {slot for word in words for slot in word.slots}
    first = places.pop() if len(places) == 1 else 0
    return Word(_standing(words), maps, (first, *(slot for slot, _ in shifts)))


def _standing(words: list[Word]) -> tuple[Space, ...]:
    """The spaces that words share, those first that stand without a longer term beside them."""
    each = zip(*(word.spaces for word in words), strict=True)
    return tuple(min(equal, key=lambda space: space.broadcasts) for equal in each)


def linear_part(word: Word, channels: int) -> ChannelMap:
    """The product of the maps of a word on so many channels, without biases."""
    if word.maps:
        return product([f.linear for f in word.maps])
    return ChannelMap.diagonal(np.ones(channels, np.int64))
