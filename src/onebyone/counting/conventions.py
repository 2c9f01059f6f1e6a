"""A model as other tools count it, so that a difference between two counts is explained.

    count = Σ over operators   mac · MACs + bias · bias additions + read · |x| + written · |y|

with the four numbers that a convention gives to the operator's kind; a kind that it does not name
counts nothing. The rows of tools are those of the versions named, found by running them
(`benchmarks/counters.py`): they tell what a tool gives for a network of PyTorch modules.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onebyone.counting.operators import ACTIVATIONS, NORMALISATIONS, Operators

__all__ = ["CONVENTIONS", "Convention", "Counted", "Per", "by_conventions"]


@dataclass(frozen=True)
class Per:
    """What one MAC, one addition of a bias, one element read and one written count for."""

    mac: int = 0
    bias: int = 0
    read: int = 0
    written: int = 0


@dataclass(frozen=True)
class Convention:
    """A row.

    Args:
        name: of the tool, or of the measure.
        version: of the tool; empty for a measure.
        unit: what it calls the number.
        about: what it counts, in a sentence.
        rules: what a kind of operator counts for.
    """

    name: str
    version: str
    unit: str
    about: str
    rules: Mapping[str, Per]

    @property
    def per_mac(self) -> int:
        """What a MAC counts for, where it counts."""
        return max(per.mac for per in self.rules.values())


@dataclass(frozen=True)
class Counted:
    """A model by one convention.

    Args:
        convention: the row.
        products: what its MACs count for.
        biases: what the additions of biases count for.
        elements: what is counted besides, by kind, largest first.
        without: MACs that are not counted, by kind, largest first.
    """

    convention: Convention
    products: int
    biases: int
    elements: tuple[tuple[str, int], ...]
    without: tuple[tuple[str, int], ...]

    @property
    def total(self) -> int:
        """What the tool would say."""
        return self.products + self.biases + sum(amount for _, amount in self.elements)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        row = self.convention
        return {
            "name": row.name,
            "version": row.version,
            "unit": row.unit,
            "about": row.about,
            "total": self.total,
            "products": self.products,
            "biases": self.biases,
            "elements": [{"kind": kind, "amount": amount} for kind, amount in self.elements],
            "without": [{"kind": kind, "macs": macs} for kind, macs in self.without],
        }


def by_conventions(operators: Sequence[Operators]) -> tuple[Counted, ...]:
    """The model by each of `CONVENTIONS`."""
    return tuple(_counted(row, operators) for row in CONVENTIONS)


def _counted(row: Convention, operators: Sequence[Operators]) -> Counted:
    # A kind that a convention does not name counts nothing there.
    pairs = [(each, row.rules.get(each.kind, Per())) for each in operators]
    return Counted(
        row,
        sum(per.mac * each.macs for each, per in pairs),
        sum(per.bias * each.bias_adds for each, per in pairs),
        _summed((e.kind, per.read * e.read + per.written * e.written) for e, per in pairs),
        _summed((each.kind, each.macs) for each, per in pairs if not per.mac),
    )


def _summed(amounts: Iterable[tuple[str, int]]) -> tuple[tuple[str, int], ...]:
    sums: dict[str, int] = {}
    for kind, amount in amounts:
        sums[kind] = sums.get(kind, 0) + amount
    # Largest first; what counts nothing is not worth a row.
    return tuple(sorted(((k, n) for k, n in sums.items() if n), key=lambda pair: -pair[1]))


def _rules(*groups: tuple[Per, str | Sequence[str]]) -> Mapping[str, Per]:
    """What each kind counts for, from what several do; kinds in a text are between commas."""
    return {
        kind: per
        for per, kinds in groups
        for kind in (kinds.split(", ") if isinstance(kinds, str) else kinds)
    }


_LAYERS = "convolution, transposed convolution, linear"
_MATRICES = f"{_LAYERS}, product"
_ALL = f"{_MATRICES}, fused attention, recurrence"
_LEARNED_NORMS = "batch normalisation, layer normalisation, instance normalisation"

# What a tool leaves out is what its authors had no rule for: nothing here is a recommendation.
CONVENTIONS = (
    Convention("MACs", "", "MACs", "one a multiply-accumulate", _rules((Per(1), _ALL))),
    Convention("FLOPs", "", "FLOPs", "two a multiply-accumulate", _rules((Per(2), _ALL))),
    Convention(
        "FLOPs and biases",
        "",
        "FLOPs",
        "two a multiply-accumulate, one a bias added",
        _rules((Per(2, 1), _ALL)),
    ),
    Convention(
        "FLOPs with activations",
        "",
        "FLOPs",
        "the same, and for each element one an activation, three a softmax, two a batch "
        "normalisation (its scale and shift), seven one that computes its mean and variance; "
        "poolings, sums and resizes are not in it",
        _rules(
            (Per(2, 1), _ALL),
            (Per(read=2), "batch normalisation"),
            (Per(read=7), NORMALISATIONS[1:]),
            (Per(written=1), ACTIVATIONS),
            (Per(read=3), "softmax"),
        ),
    ),
    Convention(
        "torch.utils.flop_counter",
        "2.13.0",
        "FLOPs",
        "two a multiply-accumulate of convolutions, matrix products and attention, of the kernel "
        "of fused attention on a CPU none; of an LSTM, GRU or RNN none",
        _rules((Per(2), f"{_MATRICES}, fused attention")),
    ),
    Convention(
        "ptflops",
        "0.7.5",
        "MACs",
        "MACs and biases; a layer normalisation one an element, others two; an "
        "activation or pooling module once as a module and once more as the function that it "
        "calls, if that is one of those watched (not of ReLU6, LeakyReLU and SiLU); resizes and "
        "softmax once; products by torch.matmul, not by @; of fused attention nothing",
        _rules(
            (Per(1, 1), f"{_LAYERS}, recurrence"),
            (Per(1), "product"),
            (Per(read=2), "batch normalisation, group normalisation, instance normalisation"),
            (Per(read=1), "layer normalisation, softmax"),
            (Per(written=2), "ELU, GELU, PReLU, ReLU"),
            (Per(written=1), "LeakyReLU, ReLU6, SiLU, bilinear resize, nearest resize"),
            (Per(read=2), "adaptive average pool, average pool, max pool"),
        ),
    ),
    Convention(
        "thop",
        "0.1.1",
        "MACs",
        "modules alone: MACs of convolutions and linear layers without biases, four an element of "
        "a normalisation with weights, but none of a group normalisation; poolings that average; "
        "a transposed convolution is taken at the positions of its result, here at those of its "
        "operand; nothing of functions: products of attention, F.softmax, F.interpolate (an "
        "nn.Upsample counts eleven an element if it is bilinear, one if it takes the nearest)",
        _rules(
            (Per(1), f"{_LAYERS}, recurrence"),
            (Per(read=4), _LEARNED_NORMS),
            (Per(read=1), "PReLU"),
            (Per(written=1), "average pool"),
            (Per(read=1, written=1), "adaptive average pool"),
        ),
    ),
    Convention(
        "fvcore",
        "0.1.5",
        "FLOPs",
        "one a multiply-accumulate, called a FLOP; no biases; a batch normalisation two an "
        "element, others five; an adaptive pooling that averages one, a nearest resize one, a "
        "bilinear one four; of activations, other poolings and fused attention nothing",
        _rules(
            (Per(1), _MATRICES),
            (Per(read=2), "batch normalisation"),
            (Per(read=5), NORMALISATIONS[1:]),
            (Per(read=1), "adaptive average pool"),
            (Per(written=1), "nearest resize"),
            (Per(written=4), "bilinear resize"),
        ),
    ),
)
"""The measures first, then the tools."""
