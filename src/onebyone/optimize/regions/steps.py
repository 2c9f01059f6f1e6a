"""What a lifted region is made of: layouts, and the space maps between them.

A `Layout` is the shape of a tensor with its channel axis set apart, so that it stays the same when
a channel map changes the number of channels. A `Step` is a space map of the graph: an operator
with its attributes, free to be applied to a tensor with any number of channels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import cast

import numpy as np
import onnx_ir as ir

from onebyone.algebra.digits import exact_rows
from onebyone.algebra.kernel import Kernel
from onebyone.algebra.layout import CHANNEL, Dim, Reshape, Transpose, View, trace
from onebyone.algebra.pool import AveragePool
from onebyone.algebra.refusal import Refusal
from onebyone.algebra.selection import Expand, Tile
from onebyone.algebra.transposed import TransposedKernel
from onebyone.algebra.weights import Array
from onebyone.algebra.word import Word
from onebyone.graph.axes import Spatial
from onebyone.graph.constants import constant
from onebyone.graph.ops import operator_of
from onebyone.graph.ops.pooling import always_fit, laid_windows
from onebyone.graph.symbolic import monomials
from onebyone.graph.values import input_at, rank_of, size

__all__ = [
    "Averaging",
    "KernelNode",
    "Layout",
    "Meaning",
    "Size",
    "Step",
    "Stored",
    "Striding",
    "cancels",
    "steps",
]

Size = int | ir.SymbolicDim


@dataclass(frozen=True)
class Layout:
    """A tensor's shape but for its number of channels.

    Args:
        dims: the dimensions, symbolic where dynamic; the entry at `axis` means nothing.
        sizes: the sizes that costs are computed for; 1 at `axis`.
        axis: the channel axis.
    """

    dims: tuple[Size, ...]
    sizes: tuple[int, ...]
    axis: int

    @cached_property
    def rank(self) -> int:
        return len(self.dims)

    @cached_property
    def positions(self) -> int:
        """The number of positions (batch included) at the sizes that costs are computed for."""
        return prod(self.sizes)

    @cached_property
    def channels_first(self) -> bool:
        """Whether ONNX convolutions take this layout: (N, C, spatial…)."""
        return self.axis == 1 and 3 <= self.rank <= 5

    @property
    def carries_bias(self) -> bool:
        """Whether the operator that mixes channels in this layout has a bias of its own."""
        return self.channels_first or self.rank == 2

    def takes_product(self, groups: int) -> bool:
        """Whether one operator can mix channels in this layout: a convolution, Gemm or MatMul."""
        return self.channels_first or (groups == 1 and self.axis >= max(1, self.rank - 2))

    def shape(self, channels: int) -> ir.Shape:
        """The full shape of a tensor of this layout."""
        return ir.Shape([channels if k == self.axis else d for k, d in enumerate(self.dims)])

    @cached_property
    def monomials(self) -> tuple[Dim, ...] | None:
        """The dimensions for the algebra of views, the channel axis as one indivisible symbol."""
        # Whatever the number of channels is, it is one factor that no view may cut.
        others = monomials([*self.dims[: self.axis], *self.dims[self.axis + 1 :]])
        if others is None:
            return None
        return (*others[: self.axis], CHANNEL, *others[self.axis :])


@dataclass(frozen=True, eq=False)
class Stored:
    """The weight of a channel map as the graph keeps it.

    Args:
        value: what the operator reads.
        transposed: whether it is (C_in, C_out); None if the operator also scales it.
        shared: whether it stays though this operator reads another one.
    """

    value: ir.Value
    transposed: bool | None
    shared: bool

    def serves(self, layout: Layout) -> bool:
        """Whether the operator that mixes channels in a layout reads it as it is."""
        rank = rank_of(self.value)
        if layout.channels_first:
            return rank == layout.rank
        if rank != 2 or self.transposed is None:
            return False
        return layout.rank == 2 or self.transposed == (layout.axis == layout.rank - 1)


@dataclass(frozen=True)
class Striding:
    """The padding and stride of a 1×1 convolution, which are space maps before its channel map."""

    strides: tuple[int, ...]
    pads: tuple[int, ...]


@dataclass(frozen=True)
class Averaging:
    """An average by weights that are computed when the model runs, which are kept as they are.

    Args:
        weights: the value that holds them.
        numbers: how many they are.
        terms: how many positions are averaged.
        slot: the input of the node that is averaged.
    """

    weights: ir.Value
    numbers: int
    terms: int
    slot: int


Meaning = Spatial | View | Striding | Averaging | None
"""What a step does: map positions, regroup axes, stride and pad, average; None: be broadcast by an
Add."""


@dataclass(frozen=True, eq=False)
class Step:
    """A space map of the graph; equal steps do the same to positions, whatever the channels.

    Args:
        node: the node it comes from; None for the broadcasting that an Add does by itself.
        before, after: the layouts of its operand and of its result.
        meaning: what it does.
        preserves_constants: whether S 1 = 1.
    """

    node: ir.Node | None
    before: Layout
    after: Layout
    meaning: Meaning
    preserves_constants: bool = True

    @cached_property
    def _key(self) -> tuple[object, ...]:
        # What a Reshape does hangs on the sizes around the channels, and not on their number.
        meaning = Reshape if isinstance(self.meaning, Reshape) else self.meaning
        if self.repeats:  # as an Add does by itself, whatever the operator
            meaning = None
        return (meaning, _names(self.before), _names(self.after))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Step) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    @property
    def view(self) -> View | None:
        """What it does to the axes, if it is a layout view (channels as one symbol)."""
        if isinstance(self.meaning, Transpose):
            return self.meaning
        if self.stays:
            return Transpose(tuple(range(self.before.rank)))
        shape = self.after.monomials
        if not isinstance(self.meaning, Reshape) or shape is None:
            return None
        return Reshape(shape)

    @cached_property
    def stays(self) -> bool:
        """Whether it is an operator that does nothing: a Pad by zero, a Slice of everything."""
        return self.meaning == Spatial({})

    @cached_property
    def is_view(self) -> bool:
        return isinstance(self.meaning, Transpose | Reshape) or self.stays

    @property
    def averaging(self) -> Averaging | None:
        if isinstance(self.meaning, Averaging):
            return self.meaning
        return None

    @property
    def slot(self) -> int:
        """The input of its node that it maps."""
        return 0 if self.averaging is None else self.averaging.slot

    @property
    def rounds_constants(self) -> bool:
        """Whether its weights sum to one up to rounding only."""
        return self.averaging is not None

    @property
    def window(self) -> Striding | None:
        if isinstance(self.meaning, Striding):
            return self.meaning
        return None

    @property
    def selects(self) -> bool:
        """Whether every position of the result copies one of the operand."""
        return isinstance(self.meaning, Spatial) and self.meaning.is_selection

    @property
    def repeats(self) -> bool:
        """Whether it repeats single positions, as an Add beside something longer does by itself."""
        if not isinstance(self.meaning, Spatial) or self.before.rank != self.after.rank:
            return False
        maps = self.meaning.maps.items()
        return all(isinstance(m, Expand | Tile) and self.before.dims[k] == 1 for k, m in maps)

    def serves_beside(self, layout: Layout) -> bool:
        """Whether a sum with a tensor of this layout is the same with what is not repeated yet."""
        return self.repeats and _names(self.after) == _names(layout)

    @property
    def pools(self) -> tuple[AveragePool, ...] | None:
        """Its windows, one per spatial axis, if it is an average pool; None if it is none."""
        if not isinstance(self.meaning, Spatial) or not self.before.channels_first:
            return None
        maps = [self.meaning.maps.get(axis) for axis in range(2, self.before.rank)]
        pools = tuple(m for m in maps if isinstance(m, AveragePool))
        if len(pools) < len(maps):
            return None
        return pools

    @property
    def broadcasts(self) -> bool:
        """Whether it is the broadcasting of an operand by an Add, which costs nothing."""
        return self.meaning is None

    @property
    def _sizes(self) -> tuple[int, ir.Value] | None:
        """The input of the node, if it has one, that gives the sizes of its result."""
        # Other operators have their sizes in attributes, or take them from scales.
        if self.node is None or (at := operator_of(self.node).target) is None:
            return None
        if (sizes := input_at(self.node, at)) is None:
            return None
        return at, sizes

    @property
    def movable(self) -> bool:
        """Whether it is known where the number of channels is written, if it is written at all."""
        return self._sizes is None or size(self._sizes[1], 0) is not None

    @cached_property
    def sized(self) -> tuple[int, int] | None:
        """Where the number of channels is written: the input of the node, and the entry in it."""
        if self._sizes is None or self.node is None:
            return None
        at, sizes = self._sizes
        axis, rank = self.after.axis, self.after.rank
        if self.op_type == "Resize":
            axes = [a % rank for a in self.node.attributes.get_ints("axes", tuple(range(rank)))]
            if axis not in axes:
                return None
            return at, axes.index(axis)
        # Counted from the end: an Expand may name less axes than there are.
        length = size(sizes, 0)
        entry = axis - rank + (rank if length is None else length)
        if entry < 0:
            return None
        return at, entry

    def keeps_sizes(self, channels: int) -> bool:
        """Whether the node's sizes serve for `channels` channels as they are."""
        if self.sized is None or self.node is None:
            return True
        return size(self.node.outputs[0], self.after.axis) == channels

    def sized_at_run_time(self, channels: int) -> bool:
        """Whether sizes for `channels` channels have to be put together when the model runs."""
        if self.node is None or self.sized is None or self.keeps_sizes(channels):
            return False
        return constant(self.node.inputs[self.sized[0]]) is None

    def is_spread(self, channels: int) -> bool:
        """Whether indices, which are expanded to the channels, have to be expanded to others."""
        if self.node is None or self.op_type != "GatherElements":
            return False
        return size(self.node.outputs[0], self.after.axis) != channels

    @property
    def op_type(self) -> str:
        if self.node is None:
            return "Broadcast"
        return self.node.op_type


@dataclass(frozen=True, eq=False)
class KernelNode:
    """A K×K convolution of the graph.

    Args:
        node: the Conv or ConvTranspose.
        groups: its groups.
        in_channels, out_channels: its channels.
        taps: the number of kernel positions, ∏ K.
        before, after: the layouts of its operand and of its result.
        padded: whether a constant at the borders is not seen as one (zero padding, transposition).
        biased: whether it has a bias.
        shared: whether its weight stays though this node reads another one.
        weights: its kernel, if that is not the node's own; strides and pads are the node's.
        pools: of an average pool behind it that it does as well.
    """

    node: ir.Node
    groups: int
    in_channels: int
    out_channels: int
    taps: int
    before: Layout
    after: Layout
    padded: bool
    biased: bool
    shared: bool = False
    weights: Kernel | None = None
    pools: tuple[AveragePool, ...] = ()

    @property
    def is_own(self) -> bool:
        """Whether its kernel is the node's."""
        return self.weights is None and not self.pools

    def kernel(self) -> Kernel | TransposedKernel:
        """The weights as a kernel of the algebra, for composing."""
        if self.is_own:
            return self._stored
        placed = self.placed()
        assert placed is not None
        return placed

    @cached_property
    def _stored(self) -> Kernel | TransposedKernel:
        """What the node stores: strides and pads left out."""
        weight = constant(self.node.inputs[1])
        bias = constant(self.node.inputs[2]) if self.biased else None
        assert weight is not None
        axes = weight.ndim - 2
        ones, none = (1,) * axes, ((0, 0),) * axes
        if self.transposed:
            return TransposedKernel(weight, bias, ones, ones, none, (0,) * axes, self.groups)
        return Kernel(weight, bias, ones, ones, none, self.groups)

    def placed(self) -> Kernel | None:
        """The kernel with its strides and pads; None where they hang on a size that is free.

        So it is of a transposed one.
        """
        plain = self.weights
        if plain is None:
            plain = self._with_pads()
        if plain is None or not self.pools:
            return plain
        averaged = plain.averaged(self.pools)
        assert not isinstance(averaged, Refusal), averaged
        return averaged

    def _with_pads(self) -> Kernel | None:
        plain, sizes = self._stored, self.before.dims[2:]
        if not isinstance(plain, Kernel):
            return None
        windows = laid_windows(self.node, plain.weight.shape[2:], sizes)
        if windows is None:
            return None
        return replace(
            plain,
            stride=tuple(window.stride for window in windows),
            dilation=tuple(window.dilation for window in windows),
            pads=tuple((window.before, window.after) for window in windows),
        )

    def averaged(self, step: Step) -> KernelNode | None:
        """This and an average pool behind it as one kernel; None where they are two.

        A pool of single positions is a stride, which the law *demand* moves.
        """
        pools = step.pools
        if pools is None or step.before != self.after or all(p.kernel == 1 for p in pools):
            return None
        own = self.placed()
        if own is None or not all(pool.stays_inside for pool in pools):
            return None
        if not always_fit(pools, own.windows, self.before.dims[2:]):
            return None
        both = (k.then(pool.window(0)) for k, pool in zip(own.windows, pools, strict=True))
        taps = prod(window.kernel for window in both)
        return replace(self, taps=taps, after=step.after, pools=pools)

    def by_output(self) -> Array:
        """The weights as (C_out, C_in / groups, taps…), however the node stores them."""
        weight = self.kernel().weight
        if not self.transposed:
            return weight
        into = self.in_channels // self.groups
        blocks = weight.reshape(self.groups, into, *weight.shape[1:])
        return np.moveaxis(blocks, 1, 2).reshape(self.out_channels, into, *weight.shape[2:])

    @cached_property
    def exact_rows(self) -> Array:
        """(C_out,): which channels it may compute without rounding (`digits.exact_rows`)."""
        return exact_rows(self.by_output())

    @property
    def transposed(self) -> bool:
        return self.node.op_type == "ConvTranspose"

    @property
    def positions(self) -> int:
        """Where the kernel is applied: at outputs, or at inputs if transposed."""
        if self.transposed:  # each position of the operand is stamped into the result
            return self.before.positions
        return self.after.positions


def _names(layout: Layout) -> tuple[object, ...]:
    dims = ("C" if k == layout.axis else str(d) for k, d in enumerate(layout.dims))
    return (layout.axis, *dims)


def steps(word: Word) -> tuple[Step, ...]:
    """The spaces of a word lifted from a graph."""
    return cast(tuple[Step, ...], word.spaces)


def cancels(run: list[Step]) -> bool:
    """Whether a run of views gives back what it was given."""
    # Sizes as products of symbols: only then is it the same shape for all of them.
    shape = run[0].before.monomials
    views = [step.view for step in run]
    known = [v for v in views if v is not None]
    if shape is None or run[-1].after.monomials != shape or len(known) < len(run):
        return False
    followed = trace(shape, known)
    return followed is not None and followed.is_identity
