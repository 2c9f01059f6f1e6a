"""Look-ups: what channel maps make of one-hot vectors is picked from a table.

    W e_i + b = W[:, i] + b        e_i is one at i, and zero elsewhere

As many rows as there are indices to tell apart (`graph.ops.marking`); no product is left. Any
channel maps behind the vectors may be in the table, and biases that enter there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator

from onebyone.algebra.expression import Leaf
from onebyone.algebra.word import Word
from onebyone.optimize.regions.plan import LookUp, Plan, Run, runs
from onebyone.optimize.regions.price import Pricer

__all__ = ["look_ups"]


def look_ups(
    leaf: Leaf,
    word: Word,
    laws: Collection[str],
    price: Pricer,
    crossed: Callable[[Word, int, int], Iterable[str]],
) -> Iterator[tuple[tuple[int, int], Plan]]:
    """The states that a one-hot leaf reaches by its indices, and how; nothing of another leaf.

    Args:
        leaf: of the region.
        word: what is above it.
        laws: in force.
        crossed: the laws by which a state of the word is in another order than in the graph.
    """
    if leaf.marks is None or "onehot" not in laws:
        return
    for run in runs(word, 0, leaf.channels):
        if not run.laws <= set(laws):
            return
        used = run.laws.union(crossed(word, 0, run.to))
        if _mixes(run, leaf.channels) and word.allows(0, run.to) and used <= set(laws):
            yield (0, run.to), _looked_up(leaf, word, run, used, price)


def _mixes(run: Run, channels: int) -> bool:
    """Whether a product is more than a diagonal, of which a table would be a square."""
    return not run.groups == channels == run.channels


def _looked_up(leaf: Leaf, word: Word, run: Run, used: frozenset[str], price: Pricer) -> Plan:
    layout, width = leaf.value[1], run.channels
    how = LookUp(leaf, word, run.to)
    cost = price.look_up(layout, width, leaf.marks)
    pending, laws = word.biased(0, 0, run.to), used | {"onehot"}
    return Plan(cost, layout, width, how, carrier=True, pending=pending, laws=laws)
