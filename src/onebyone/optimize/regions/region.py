"""What a region of a graph is, and what has to be known of a graph to find them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import islice

import onnx_ir as ir

from onebyone.algebra.digits import LOST_BITS
from onebyone.algebra.expression import Term
from onebyone.algebra.refusal import Refusal
from onebyone.graph.channel_axes import channel_axes
from onebyone.graph.count_walk import name_of
from onebyone.graph.fused import fused_by_engines
from onebyone.graph.shape_reads import ShapeReads, consumers
from onebyone.graph.shapes import Sizes
from onebyone.optimize.regions.readings import Readings

__all__ = ["Context", "Region", "is_shared"]


@dataclass(frozen=True, eq=False)
class Region:
    """A linear value as a term over leaves `(ir.Value, Layout)`.

    Args:
        root: the value.
        term: what it is.
        inside: the values between the root and the leaves that only the root needs.
        beneath: those behind shared values that were looked through. They are there for others.
        looked_through: the shared values that the term can do without.
        weights: the initialisers among its weights that others read too.
        lost_bits: the digits that folding it can lose (`algebra.digits`), at most.
        averages: whether it holds an average by computed weights, which takes arithmetic too.
    """

    root: ir.Value
    term: Term
    inside: frozenset[ir.Value]
    beneath: frozenset[ir.Value] = frozenset()
    looked_through: frozenset[ir.Value] = frozenset()
    weights: frozenset[ir.Value] = frozenset()
    lost_bits: float = 0.0
    averages: bool = False

    @property
    def makers(self) -> frozenset[ir.Node]:
        """The nodes that compute it."""
        found = (value.producer() for value in self.inside | self.beneath | {self.root})
        return frozenset(node for node in found if node is not None)

    @property
    def nodes(self) -> tuple[str, ...]:
        """The names of the nodes that compute it, sorted."""
        return tuple(sorted(map(name_of, self.makers)))


def is_shared(value: ir.Value, reads: ShapeReads) -> bool:
    """Whether a value must exist whatever one of its consumers would like."""
    users = list(islice(consumers(value, reads), 2))  # a value may have thousands
    # Two readers, or the caller: to compute it for one does not spare the other.
    if value.is_graph_output() or len(users) != 1:
        return True
    producer = value.producer()
    return producer is None or users[0].graph is not producer.graph


@dataclass(frozen=True)
class Context:
    """What lifting needs to know of a graph.

    Args:
        sizes: what its dimensions are taken to be.
        laws: the laws in force: without "linear", linear layers and views end a region.
        axes: the channel axis of each value that has one.
        reads: where shapes can be read, so that reading one does not make a value shared.
        fused: nodes that engines fuse, so that they are left alone.
        readings: what is read off its nodes and values.
        lost_bits: the digits that folding a region may lose.
        cancelling: the nodes that were left apart because folding them would lose more, and why.
    """

    sizes: Sizes
    laws: Collection[str]
    axes: Mapping[ir.Value, int]
    reads: ShapeReads
    fused: frozenset[ir.Node]
    readings: Readings
    lost_bits: float = LOST_BITS
    cancelling: dict[ir.Node, Refusal] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        graph: ir.Graph,
        sizes: Sizes,
        laws: Collection[str],
        lost_bits: float = LOST_BITS,
        axes: Mapping[ir.Value, int] | None = None,
    ) -> Context:
        """The context of a graph as it stands."""
        fused = fused_by_engines(graph)
        axes = channel_axes(graph) if axes is None else axes
        return cls(sizes, laws, axes, ShapeReads.of(graph), fused, Readings(sizes), lost_bits)
