"""From what ran to its layers: one tally for the nodes of a file and the operators of a module.

- A *layer* is an operator that has MACs or reads weights. A bias that the next operator adds (a
  product of matrices, then +) belongs to the layer before it: `with_bias`.
- A weight is a *parameter* or a *buffer* of the first layer that reads it, and counts no more where
  it is read again. Its bytes count in each layer that reads it, and once in the total.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Generic, TypeVar

from onebyone.counting.formulas import Shape, Work
from onebyone.counting.value import LayerCount

__all__ = ["Operation", "Weight", "layers_of", "with_bias"]

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class Weight:
    """A parameter or buffer: its elements, and their size in bytes."""

    elements: int
    bytes: int
    buffer: bool


@dataclass(frozen=True)
class Operation(Generic[K]):
    """One operator that ran, as it is counted.

    Args:
        name, scope: of the layer, if it is one.
        op: its operator.
        shape: of its first result; None if unknown.
        work: its MACs; None if it has none.
        reads: the weights that it reads, and those of a bias that is added behind it. What computes
            on constants alone has none: whoever reads its result reads them.
        bytes: of the activations that it reads and writes; None if unknown.
    """

    name: str
    op: str
    shape: Shape | None
    work: Work | None
    reads: tuple[K, ...]
    bytes: int | None
    scope: str = ""

    @property
    def is_layer(self) -> bool:
        """Whether it multiplies and accumulates, or reads weights."""
        return self.work is not None or bool(self.reads)


def with_bias(work: Work, result: Shape) -> Work:
    """The work of a layer to whose result a bias is added.

    >>> with_bias(Work(840), (2, 5, 7))
    Work(macs=840, pointwise_macs=0, bias_adds=70)
    """
    return replace(work, bias_adds=prod(result))


def layers_of(
    operations: Iterable[Operation[K]], weights: Mapping[K, Weight]
) -> tuple[tuple[LayerCount, ...], int]:
    """The layers among what ran, in order, and the bytes of all weights that they read.

    Args:
        operations: without the additions of biases that are in the work of a layer.
        weights: what is known of each weight that is read.

    >>> tied = [Operation(name, "Conv", (1, 4, 5), Work(60), ("W",), 140) for name in "ab"]
    >>> layers, weight_bytes = layers_of(tied, {"W": Weight(12, 48, buffer=False)})
    >>> [layer.parameters for layer in layers], [layer.weight_bytes for layer in layers]
    ([12, 0], [48, 48])
    >>> weight_bytes
    48
    """
    layers = []
    seen: set[K] = set()
    for operation in operations:
        # A weight that is read by several is the first one's: parameters are counted once.
        if operation.is_layer:
            layers.append(_layer(operation, weights, seen))
            seen.update(operation.reads)
    return tuple(layers), sum(weights[key].bytes for key in seen)


def _layer(operation: Operation[K], weights: Mapping[K, Weight], seen: Collection[K]) -> LayerCount:
    # What is read twice, as in a tied product, is stored once.
    read = dict.fromkeys(operation.reads)
    new = [weights[key] for key in read if key not in seen]
    work = operation.work or Work(0)
    return LayerCount(
        name=operation.name,
        op=operation.op,
        shape=operation.shape,
        parameters=sum(weight.elements for weight in new if not weight.buffer),
        buffers=sum(weight.elements for weight in new if weight.buffer),
        macs=work.macs,
        pointwise_macs=work.pointwise_macs,
        bias_adds=work.bias_adds,
        activation_bytes=operation.bytes,
        weight_bytes=sum(weights[key].bytes for key in read),
        kind=work.kind,
        scope=operation.scope,
    )
