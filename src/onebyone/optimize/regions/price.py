"""The price of each operator that a plan may use, as the engine would run it."""

from __future__ import annotations

from dataclasses import dataclass

from onebyone.algebra.layout import Transpose
from onebyone.cost.price import Load, Manner, detour, manner, time
from onebyone.cost.profile import Cost, Profile
from onebyone.graph.axes import Spatial
from onebyone.graph.ops.marking import OneHot
from onebyone.optimize.regions.steps import Averaging, KernelNode, Layout, Step

__all__ = ["Pricer"]

_SIZE_NODES = 3
"""Slice, Slice and Concat write another number of channels into sizes known at run time."""


@dataclass(frozen=True)
class Pricer:
    """Costs of operators under a profile; each method prices one ONNX operator (or a few alike).

    Args:
        profile: the engine and machine.
        stored: picoseconds for each number of a weight that is stored for its operator alone; what
            others keep anyway is free. None takes every weight for its operator's own.
        arithmetic: picoseconds for each multiply-accumulate beside the roofline: with many of them
            what takes the least arithmetic is cheapest.
    """

    profile: Profile
    stored: int | None = None
    arithmetic: int = 0

    def plain(self, cost: Cost) -> Cost:
        """A cost of these prices without what they add for arithmetic."""
        own = cost.picoseconds - self.arithmetic * cost.macs
        return Cost(own, cost.macs, cost.parameters)

    def _product(self, picoseconds: int, macs: int) -> Cost:
        return Cost(picoseconds + self.arithmetic * macs, macs)

    def weight(self, numbers: int, is_kept: bool) -> Cost:
        """What it takes to store a weight, or to read one that others keep."""
        if is_kept and self.stored is not None:
            return Cost()
        return Cost((self.stored or 0) * numbers, 0, numbers)

    def elementwise(self, layout: Layout, channels: int, vectors: int = 1) -> Cost:
        """A per-channel Mul or Add, or a batch normalisation; it stores so many `vectors`."""
        return Cost(self._pass(layout, channels), 0, vectors * channels)

    def bias(self, channels: int) -> Cost:
        """What an operator adds on its own costs no time."""
        return Cost(0, 0, channels)

    def linear(
        self,
        before: Layout,
        after: Layout,
        channels: tuple[int, int],
        groups: int,
        is_kept: bool = False,
    ) -> Cost:
        """A 1×1 convolution or a matrix product; `before` differs from `after` where it strides."""
        c_in, c_out = channels
        weights = c_in * c_out // groups
        macs = after.positions * weights
        load = Load(macs, before.positions * c_in + weights, after.positions * c_out)
        picoseconds = time(Manner.PASS, load, self.profile)
        # A MatMul takes any rank as it is; only a convolution over other than images is turned.
        if before.channels_first:
            picoseconds += detour("Conv", before.rank, self.profile)
        return self._product(picoseconds, macs) + self.weight(weights, is_kept)

    def convolution(
        self, kernel: KernelNode, channels: tuple[int, int], is_kept: bool = False
    ) -> Cost:
        """A K×K convolution between `channels` (in, out)."""
        weights = channels[0] * channels[1] // kernel.groups * kernel.taps
        macs = kernel.positions * weights
        read = kernel.before.positions * channels[0] + weights
        load = Load(macs, read, kernel.after.positions * channels[1])
        op_type = kernel.node.op_type
        picoseconds = time(manner(op_type), load, self.profile)
        picoseconds += detour(op_type, kernel.before.rank, self.profile)
        return self._product(picoseconds, macs) + self.weight(weights, is_kept)

    def addition(
        self, layout: Layout, channels: int, operands: int, *, at_once: bool = False
    ) -> Cost:
        """The sum of `operands` tensors, two at a time or all at once."""
        numbers = layout.positions * channels
        if at_once:
            return Cost(time(Manner.PASS, Load(0, operands * numbers, numbers), self.profile))
        one = time(Manner.PASS, Load(0, 2 * numbers, numbers), self.profile)
        return Cost((operands - 1) * one)

    def concat(self, layout: Layout, channels: int) -> Cost:
        """A copy of everything."""
        return Cost(self._pass(layout, channels))

    def leaf(self, layout: Layout, channels: int, marks: OneHot | None) -> Cost:
        """What there is costs nothing, but for one-hot vectors that nobody else reads."""
        makers = marks.makers if marks is not None else ()
        return Cost(len(makers) * self._pass(layout, channels))

    def look_up(self, layout: Layout, channels: int, marks: OneHot) -> Cost:
        """Rows of a table, picked by indices that are cut to it first."""
        numbers, indices = layout.positions * channels, layout.positions
        one = time(Manner.PASS, Load(0, indices, indices), self.profile)
        picoseconds = marks.steps(channels) * one
        picoseconds += time(Manner.STRETCH, Load(0, numbers, numbers), self.profile)
        if layout.axis < layout.rank - 1:
            picoseconds += time(Manner.SCATTER, Load(0, numbers, numbers), self.profile)
        return Cost(picoseconds) + self.weight(marks.rows(channels) * channels, is_kept=False)

    def step(self, step: Step, channels: int) -> Cost:
        """A space map on `channels` channels."""
        if step.broadcasts:
            return Cost()
        if step.is_spread(channels):
            return self._step(step, channels) + Cost(self.profile.time())
        if step.sized_at_run_time(channels):
            return self._step(step, channels) + Cost(_SIZE_NODES * self.profile.time())
        return self._step(step, channels)

    def _step(self, step: Step, channels: int) -> Cost:
        if step.averaging is not None:
            return self._average(step, step.averaging, channels)
        load = Load(0, step.before.positions * channels, step.after.positions * channels)
        picoseconds = time(_manner(step), load, self.profile)
        return Cost(picoseconds)

    def _average(self, step: Step, average: Averaging, channels: int) -> Cost:
        """A product with weights that are computed, too: as many terms for each channel."""
        written = step.after.positions * channels
        macs, read = written * average.terms, step.before.positions * channels + average.numbers
        return self._product(time(Manner.PASS, Load(macs, read, written), self.profile), macs)

    def _pass(self, layout: Layout, channels: int) -> int:
        numbers = layout.positions * channels
        return time(Manner.PASS, Load(0, numbers, numbers), self.profile)


def _manner(step: Step) -> Manner:
    """How the operator of a space map goes about its numbers."""
    # The stride of a 1×1 is written as a Slice.
    if isinstance(step.meaning, Transpose) or step.window is not None:
        return Manner.SCATTER
    if step.is_view and not step.stays:
        return Manner.VIEW
    rows = isinstance(step.meaning, Spatial) and step.meaning.picks_rows(step.before.rank)
    return manner(step.op_type, of_rows=rows, interpolates=not step.selects)
