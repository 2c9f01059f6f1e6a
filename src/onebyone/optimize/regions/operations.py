"""From a plan to the operators that carry it out, biases settled.

A plan leaves open where a pending bias goes. Here each plan becomes an `Operation` together with
the bias that is still pending on it and the `Carrier` that would take it up: the last convolution
(or other map) since which only constant-preserving maps were applied. Weights are composed here,
in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import onnx_ir as ir

from onebyone.algebra.channel import ChannelMap
from onebyone.algebra.kernel import Kernel
from onebyone.algebra.refusal import Refusal
from onebyone.algebra.transposed import TransposedKernel
from onebyone.algebra.weights import Array, summed
from onebyone.algebra.word import Pending, product
from onebyone.graph.ops.marking import OneHot
from onebyone.optimize.regions.additions import unrepeated
from onebyone.optimize.regions.plan import (
    Add,
    Apply,
    Cancel,
    Convolve,
    Flush,
    Input,
    Join,
    LookUp,
    Move,
    Plan,
    Stack,
)
from onebyone.optimize.regions.steps import KernelNode, Layout, Step, steps

__all__ = [
    "Concatenate",
    "Convolved",
    "LookedUp",
    "Mapped",
    "Moved",
    "Operation",
    "Source",
    "Total",
    "as_factor",
    "build",
]


@dataclass(eq=False)
class Source:
    """A value of the graph."""

    value: ir.Value


@dataclass(eq=False)
class Mapped:
    """A channel map applied in layout `before`; `window`: strided and padded first."""

    operand: Operation
    linear: ChannelMap
    before: Layout
    after: Layout
    window: Step | None = None
    bias: Pending = None

    @property
    def is_negation(self) -> bool:
        """Whether it changes the sign, and nothing else: in a sum, a Sub."""
        return self.linear.is_negation and self.window is None and self.bias is None


@dataclass(eq=False)
class LookedUp:
    """A channel map of one-hot vectors: rows of a table."""

    marks: OneHot
    linear: ChannelMap
    layout: Layout
    bias: Pending = None

    @property
    def table(self) -> Array:
        """(rows, C_out): what each index gives."""
        table = self.marks.table(self.linear.dense())
        return table if self.bias is None else table + self.bias


@dataclass(eq=False)
class Moved:
    """A space map applied to a tensor of `channels` channels."""

    operand: Operation
    step: Step
    channels: int


@dataclass(eq=False)
class Convolved:
    """A K×K convolution with another weight, or with the one that the node has (`unchanged`)."""

    operand: Operation
    kernel: KernelNode
    weight: Array
    channels: int
    unchanged: bool = False
    bias: Pending = None


@dataclass(eq=False)
class Total:
    """A sum: of two at a time, or of all of them at once."""

    operands: list[Operation]
    layout: Layout
    channels: int
    at_once: bool = False


@dataclass(eq=False)
class Concatenate:
    """A concat along the channels, or along another axis."""

    operands: list[Operation]
    layout: Layout
    channels: int
    axis: int


Operation = Source | Mapped | LookedUp | Moved | Convolved | Total | Concatenate
Carrier = Callable[[Array], None]


@dataclass
class Built:
    """An operation, the bias pending on it, and what would take that up."""

    operation: Operation
    pending: Pending = None
    carrier: Carrier | None = field(default=None)


def build(plan: Plan) -> Operation:
    """The operations of a plan that has nothing pending, or a carrier for what has."""
    built = _build(plan)
    _flush(built, plan)
    return built.operation


def _build(plan: Plan) -> Built:
    how = plan.how
    if isinstance(how, Input):
        return Built(Source(how.leaf.value[0]))
    if isinstance(how, Cancel):
        return _build(how.before)
    if isinstance(how, Flush):
        built = _build(how.before)
        _flush(built, how.before)
        return built
    if isinstance(how, Add | Stack):
        return _joined(how, plan)
    if isinstance(how, Join):
        return _one_behind_the_other(how, plan)
    if isinstance(how, Convolve):
        return _convolved(how, plan)
    if isinstance(how, Apply):
        return _applied(how, plan)
    if isinstance(how, LookUp):
        return _looked_up(how, plan)
    return _moved(how, plan)


def _flush(built: Built, plan: Plan) -> None:
    """Add the pending bias: into its carrier if it has one, else by an operator of its own."""
    if built.pending is None or not built.pending.any():
        built.pending = None
        return
    # Nothing since could have taken it: an Add, in the layout that it is in now.
    if built.carrier is None:
        unit = ChannelMap.diagonal(np.ones(plan.channels))
        shift = Mapped(built.operation, unit, plan.layout, plan.layout)
        built.operation, built.carrier = shift, _carry(shift)
    built.carrier(built.pending)
    built.pending = None


def _carry(operation: Mapped | LookedUp | Convolved) -> Carrier:
    def take(bias: Array) -> None:
        operation.bias = summed(operation.bias, bias)

    return take


def _moved(how: Move, plan: Plan) -> Built:
    built, step = _build(how.before), steps(how.word)[how.i]
    if not step.preserves_constants:
        _flush(built, how.before)
    if not step.preserves_constants or step.rounds_constants:
        # What was before the step cannot take a bias from behind it.
        built.pending = summed(built.pending, how.word.arriving(how.i, how.j))
        built.carrier = None
    if not step.broadcasts:
        built.operation = Moved(built.operation, step, plan.channels)
    return built


def _applied(how: Apply, plan: Plan) -> Built:
    built, word, i = _build(how.before), how.word, how.i
    if how.window is not None:
        i += 1
        if not how.window.preserves_constants:
            _flush(built, how.before)
            built.pending = word.advance(None, i, 0, how.j)
    built.pending = word.advance(built.pending, i, how.j, how.to)
    maps = word.maps[how.j : how.to]
    if how.window is None and all(f.is_shift for f in maps):
        return built
    linear = product([f.linear for f in maps])
    mapped = Mapped(built.operation, linear, how.before.layout, plan.layout, how.window)
    carrier = _carry(mapped)
    return Built(mapped, built.pending, carrier if plan.carrier else None)


def _looked_up(how: LookUp, plan: Plan) -> Built:
    linear = product([f.linear for f in how.word.maps[: how.to]])
    looked_up = LookedUp(how.leaf.marks, linear, plan.layout)
    pending = how.word.advance(None, 0, 0, how.to)
    return Built(looked_up, pending, _carry(looked_up))


def _joined(how: Add | Stack, plan: Plan) -> Built:
    parts = [_build(term) for term in how.terms]
    operations = [part.operation for part in parts]
    if isinstance(how, Add):
        for k in unrepeated(how.terms):
            moved = parts[k].operation
            assert isinstance(moved, Moved)
            operations[k] = moved.operand
        pending: Pending = None
        for part in parts:
            pending = summed(pending, part.pending)
        # A sum's bias may be that of any of its operands.
        carrier = next((p.carrier for p in parts if p.carrier is not None), None)
        return Built(Total(operations, plan.layout, plan.channels, how.at_once), pending, carrier)
    if how.flushed:
        for part, term in zip(parts, how.terms, strict=True):
            _flush(part, term)
        operations = [part.operation for part in parts]
    stacked = Concatenate(operations, plan.layout, plan.channels, plan.layout.axis)
    widths = [term.channels for term in how.terms]
    return Built(stacked, _stack([p.pending for p in parts], widths), _divide(parts, widths))


def _one_behind_the_other(how: Join, plan: Plan) -> Built:
    parts = [_build(term) for term in how.terms]
    for part, term in zip(parts, how.terms, strict=True):
        _flush(part, term)
    operations = [part.operation for part in parts]
    carriers = [part.carrier for part in parts if part.carrier is not None]

    def take(bias: Array) -> None:
        """What is added everywhere is added to each."""
        for carrier in carriers:
            carrier(bias)

    joined = Concatenate(operations, plan.layout, plan.channels, how.along)
    pending = None if how.flushed else how.word.advance(None, 0, 0, how.to)
    return Built(joined, pending, take if plan.carrier else None)


def _stack(pendings: Sequence[Pending], widths: Sequence[int]) -> Pending:
    if all(p is None for p in pendings):
        return None
    filled = [np.zeros(n) if p is None else p for p, n in zip(pendings, widths, strict=True)]
    return np.concatenate(filled)


def _divide(parts: Sequence[Built], widths: Sequence[int]) -> Carrier | None:
    """The carrier of a concat: each operand's own takes its share."""
    carriers = [part.carrier for part in parts if part.carrier is not None]
    if len(carriers) < len(parts):
        return None

    def take(bias: Array) -> None:
        for carrier, share in zip(carriers, np.split(bias, np.cumsum(widths)[:-1]), strict=True):
            carrier(share)

    return take


def _convolved(how: Convolve, plan: Plan) -> Built:
    built, node = _build(how.before), how.kernel
    if node.padded:
        _flush(built, how.before)
    pending = built.pending
    for f in how.inner:
        if pending is not None:
            pending = f.push(pending)
        pending = summed(pending, f.bias)
    # K(x + p) = Kx + Kp: what is pending comes out as the sum of each row's weights times it.
    kernel = _unpadded(node.kernel())
    if pending is not None:
        kernel = _composed(kernel.compose_right(np.ones(kernel.channels[0]), pending))
    if how.inner:
        kernel = _composed(kernel.compose_right(as_factor(product([f.linear for f in how.inner]))))
    bias, outer = kernel.bias, how.word.maps[: how.to]
    if outer:
        kernel = _composed(kernel.compose_left(as_factor(product([f.linear for f in outer]))))
    unchanged = node.is_own and all(f.is_shift for f in (*how.inner, *outer))
    convolution = Convolved(built.operation, node, kernel.weight, plan.channels, unchanged)
    # The maps behind move the bias along, as they moved the weight.
    bias = how.word.advance(bias, how.i, 0, how.to)
    return Built(convolution, bias, _carry(convolution))


def _unpadded(kernel: Kernel | TransposedKernel) -> Kernel | TransposedKernel:
    """The kernel without pads: that they stop no bias has been seen to when planning."""
    return replace(kernel, pads=((0, 0),) * len(kernel.stride))


def _composed(
    result: Kernel | TransposedKernel | Refusal,
) -> Kernel | TransposedKernel:
    assert not isinstance(result, Refusal), result
    return result


def as_factor(f: ChannelMap) -> Array:
    """What a kernel is multiplied by: (C_out, C_in), or (C,) of a diagonal map."""
    if f.is_diagonal:
        return f.weight[:, 0]
    return f.dense()
