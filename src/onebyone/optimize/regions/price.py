"""The price of each operator that a plan may use, as the engine would run it."""

from __future__ import annotations

from dataclasses import dataclass

from onebyone.algebra.layout import Transpose
from onebyone.cost.profile import Cost, Profile
from onebyone.optimize.regions.steps import KernelNode, Layout, Step

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
    """

    profile: Profile
    stored: int | None = None

    def weight(self, numbers: int, is_kept: bool) -> Cost:
        """What it takes to store a weight, or to read one that others keep."""
        if is_kept and self.stored is not None:
            return Cost()
        return Cost((self.stored or 0) * numbers, 0, numbers)

    def elementwise(self, layout: Layout, channels: int) -> Cost:
        """A per-channel Mul or Add, or a batch normalisation."""
        moved = 2 * layout.positions * channels
        return Cost(self.profile.time(elements=moved), 0, channels)

    def linear(
        self,
        before: Layout,
        after: Layout,
        channels: tuple[int, int],
        groups: int,
        shift: bool,
        is_kept: bool = False,
    ) -> Cost:
        """A 1×1 convolution or a matrix product; `before` differs from `after` where it strides."""
        c_in, c_out = channels
        weights = c_in * c_out // groups
        macs = after.positions * weights
        moved = before.positions * c_in + after.positions * c_out + weights
        # Engines have their best kernels for images: (N, C, L) is turned into one and back.
        detour = self.profile.time() if before.channels_first and before.rank != 4 else 0
        if before.in_island:  # the transposes around it do not cancel any more
            detour += round(
                self.profile.beside_product
                * sum(self._transpose(n * before.positions) for n in channels)
            )
        cost = Cost(self.profile.time(macs, moved) + detour, macs, c_out * shift)
        return cost + self.weight(weights, is_kept)

    def convolution(
        self, kernel: KernelNode, channels: tuple[int, int], is_kept: bool = False
    ) -> Cost:
        """A K×K convolution between `channels` (in, out)."""
        weights = channels[0] * channels[1] // kernel.groups * kernel.taps
        macs = kernel.positions * weights
        moved = kernel.before.positions * channels[0] + kernel.after.positions * channels[1]
        cost = Cost(self.profile.time(macs, moved + weights), macs)
        return cost + self.weight(weights, is_kept)

    def addition(self, layout: Layout, channels: int, operands: int) -> Cost:
        """The sum of `operands` tensors, two at a time."""
        one = self.profile.time(elements=3 * layout.positions * channels)
        return Cost((operands - 1) * one)

    def concat(self, layout: Layout, channels: int) -> Cost:
        """A copy of everything."""
        return Cost(self.profile.time(elements=2 * layout.positions * channels))

    def step(self, step: Step, channels: int) -> Cost:
        """A space map on `channels` channels."""
        if step.broadcasts:
            return Cost()
        if step.sized_at_run_time(channels):
            return self._step(step, channels) + Cost(_SIZE_NODES * self.profile.time())
        return self._step(step, channels)

    def _step(self, step: Step, channels: int) -> Cost:
        inputs, outputs = step.before.positions * channels, step.after.positions * channels
        scattered = 2 * outputs * self.profile.transpose
        if step.is_view and not step.stays:
            if not isinstance(step.meaning, Transpose):
                return Cost(self.profile.time())
            kept = self.profile.channels_last if step.cancelled else 1
            return Cost(round(kept * self._transpose(outputs)))
        if step.op_type in ("Slice", "Gather") or step.window is not None:
            return Cost(self.profile.time(elements=scattered))
        interpolates = step.op_type in ("Resize", "Upsample") and not step.selects
        work = outputs * self.profile.resize if interpolates else 0
        return Cost(self.profile.time(work, inputs + outputs))

    def _transpose(self, elements: int) -> int:
        return self.profile.time(elements=2 * elements * self.profile.transpose)
