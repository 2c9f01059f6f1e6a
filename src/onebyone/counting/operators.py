"""How often each operator runs, and how much it multiplies, reads and writes.

A *kind* is what an operator is to those who count, under one name for ONNX and PyTorch alike: each
side has a table of its own operators' kinds, and the conventions (`conventions`) know kinds alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from onebyone.counting.formulas import Shape, Work

__all__ = ["ACTIVATIONS", "KINDS", "NORMALISATIONS", "Operators", "Ran", "averages", "grouped"]

PRODUCTS = (
    "convolution", "transposed convolution", "linear", "product", "fused attention", "recurrence",
)  # fmt: skip
"""What has MACs. A linear layer multiplies by a constant, a product two activations."""
NORMALISATIONS = tuple(f"{over} normalisation" for over in ("batch", "group", "instance", "layer"))
ACTIVATIONS = ("ELU", "GELU", "LeakyReLU", "PReLU", "ReLU", "ReLU6", "SiLU", "activation")
"""The last one is any other function of an element, a sigmoid for instance."""
OTHERS = (
    "adaptive average pool", "average pool", "bilinear resize", "max pool", "nearest resize",
    "softmax", "other",
)  # fmt: skip
KINDS = (*PRODUCTS, *NORMALISATIONS, *ACTIVATIONS, *OTHERS)


@dataclass(frozen=True)
class Ran:
    """One run of an operator: elements of what it reads first and of what it gives first."""

    op: str
    kind: str
    work: Work | None
    read: int
    written: int


@dataclass(frozen=True)
class Operators:
    """All runs of one operator as one kind.

    Args:
        op: its name in the model.
        kind: one of `KINDS`.
        nodes: how often it runs.
        macs, bias_adds: in all of these.
        read, written: elements of the first operands that are no constants, and of the first
            results; 0 for those of unknown shape.
    """

    op: str
    kind: str
    nodes: int
    macs: int
    bias_adds: int
    read: int
    written: int

    def to_dict(self) -> dict[str, Any]:
        """All fields, for JSON."""
        return asdict(self)


def grouped(ran: Iterable[Ran]) -> tuple[Operators, ...]:
    """The runs put together: most MACs first, then the most frequent.

    >>> relu = Ran("Relu", "ReLU", None, 6, 6)
    >>> conv = Ran("Conv", "convolution", Work(12, 12, 4), 3, 4)
    >>> [(each.op, each.nodes, each.macs, each.read) for each in grouped([relu, conv, relu])]
    [('Conv', 1, 12, 3), ('Relu', 2, 0, 12)]
    """
    # One operator can be of two kinds: a matrix product is a linear layer where a factor is fixed.
    sums: dict[tuple[str, str], list[int]] = {}
    for run in ran:
        work = run.work or Work(0)
        amounts = (1, work.macs, work.bias_adds, run.read, run.written)
        so_far = sums.setdefault((run.op, run.kind), [0] * len(amounts))
        so_far[:] = map(sum, zip(so_far, amounts, strict=True))
    rows = [Operators(*key, *amounts) for key, amounts in sums.items()]
    return tuple(sorted(rows, key=lambda row: (-row.macs, -row.nodes, row.op, row.kind)))


def averages(read: Shape, written: Shape) -> bool:
    """Whether a mean that keeps its axes is a pooling of each channel to one number.

    >>> averages((1, 8, 5, 7), (1, 8, 1, 1)), averages((1, 8, 5, 7), (1, 1, 5, 7))
    (True, False)
    """
    return len(read) == len(written) > 2 and written == (*read[:2], *(1 for _ in read[2:]))
