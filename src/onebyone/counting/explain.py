"""A convolution explained by its numbers.

    parameters = (K·K·C_in/g + 1)·C_out        MACs = K·K·C_in/g · C_out · positions of the output

A 1×1 is the case K = 1: one matrix (C_out, C_in), used at every position. What else could be done
in its place is set beside it: a larger kernel, a depthwise-separable pair, and the bottleneck
C → M → M → C, whose saving is told twice, for the K×K alone and for the whole block with the two
1×1s that make it possible.

Sources: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", 2015,
arXiv:1512.03385 (bottleneck); Howard et al., "MobileNets", 2017, arXiv:1704.04861 (separable).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from onebyone.counting.formulas import Shape
from onebyone.counting.layer import Layer, Stack, sizes, window
from onebyone.errors import UsageError
from onebyone.shown import Shown

__all__ = ["Explanation", "explain"]

# What a 1×1 is compared with: the smallest kernel that sees neighbours on both sides.
USUAL_KERNEL = 3
# Where C_in = C_out does not tell, a bottleneck is this much narrower, as in ResNet-50.
USUAL_NARROWING = 4
# ResNet-50's first stage, where 256 channels meet their first bottleneck.
USUAL_SIZE = (56, 56)


@dataclass(frozen=True, repr=False)
class Explanation(Shown):
    """A layer, what could stand in its place, and what a bottleneck would save.

    Args:
        layer: what was asked about.
        size: of its input, one number for each spatial axis.
        stride: along each of them.
        instead: others that map as many channels to as many, at the same positions.
        direct: the K×K that the bottleneck takes the place of.
        bottleneck: reduce, K×K, expand.
    """

    layer: Layer
    size: Shape
    stride: int
    instead: tuple[Stack, ...]
    direct: Layer
    bottleneck: Stack

    @property
    def middle_saving(self) -> float:
        """Parameters of the direct K×K over those of the bottleneck's K×K alone."""
        return self.direct.parameters / self.bottleneck.layers[1].parameters

    @property
    def block_saving(self) -> float:
        """Parameters of the direct K×K over those of the whole bottleneck."""
        return self.direct.parameters / self.bottleneck.parameters

    def to_dict(self) -> dict[str, Any]:
        """As in docs/json.md."""
        return {
            "schema": 1,
            "input": list(self.size),
            "stride": self.stride,
            "layer": self.layer.to_dict(),
            "instead": [stack.to_dict() for stack in self.instead],
            "bottleneck": {
                **self.bottleneck.to_dict(),
                "direct": self.direct.to_dict(),
                "middle_saving": self.middle_saving,
                "block_saving": self.block_saving,
            },
        }

    @property
    def summary(self) -> str:
        """The layer's own numbers."""
        layer = self.layer
        return f"{layer.name}, {layer.parameters:,} parameters, {layer.macs:,} MACs"


def explain(
    in_channels: int,
    out_channels: int,
    kernel: int = 1,
    *,
    size: Shape = USUAL_SIZE,
    stride: int = 1,
    groups: int = 1,
    bias: bool = True,
    bottleneck: int | None = None,
) -> Explanation:
    """Explain a convolution C_in → C_out by its numbers, beside what could be in its place.

    Outputs have ⌈n / stride⌉ positions along an axis of n, as with "same" padding.

    Args:
        in_channels, out_channels: C_in and C_out.
        kernel: K, along each spatial axis.
        size: of the input, one to three spatial axes.
        stride: along each axis; a bottleneck takes it in its K×K.
        groups: of the layer, and of the larger kernel it is compared with.
        bias: whether each layer has one.
        bottleneck: its inner width M. None takes the narrower end of the layer for M and the wider
            for both ends of the block: 256 → 64 is the first layer of 256 → 64 → 64 → 256. Where
            both ends are equal, M is a quarter.

    Raises:
        UsageError: a number is less than one, groups do not divide, or there are too many axes.

    >>> layer = explain(256, 64)
    >>> layer.layer.parameters, layer.direct.parameters, layer.bottleneck.parameters
    (16448, 590080, 70016)
    >>> round(layer.middle_saving, 2), round(layer.block_saving, 2)
    (15.98, 8.43)
    """
    _check(in_channels, out_channels, kernel, size, stride, groups, bottleneck)
    output = tuple(-(-n // stride) for n in size)
    window = (kernel,) * len(size)
    layer = Layer(in_channels, out_channels, window, output, groups, bias)
    # A 1×1 is compared with a 3×3, a larger kernel with the 1×1 that it is not.
    wide = (USUAL_KERNEL if kernel == 1 else kernel,) * len(size)
    ends, middle = _ends(in_channels, out_channels, bottleneck)
    direct = Layer(ends[0], ends[1], wide, output, bias=bias)
    block = (
        # Before the stride: the first 1×1 runs at every position of the input.
        Layer(ends[0], middle, (1,) * len(size), size, bias=bias),
        Layer(middle, middle, wide, output, bias=bias),
        Layer(middle, ends[1], (1,) * len(size), output, bias=bias),
    )
    name = " → ".join(map(str, (ends[0], middle, middle, ends[1])))
    return Explanation(layer, size, stride, _others(layer, wide), direct, Stack(name, block))


def _others(layer: Layer, wide: Shape) -> tuple[Stack, ...]:
    """The 1×1 or K×K that the layer is not, and the depthwise-separable pair."""
    one = (1,) * len(wide)
    other = replace(layer, kernel=wide if layer.kernel == one else one)
    depthwise = Layer(
        layer.in_channels, layer.in_channels, wide, layer.output, layer.in_channels, layer.bias
    )
    pointwise = Layer(layer.in_channels, layer.out_channels, one, layer.output, bias=layer.bias)
    pair = Stack(f"{window(wide)} depthwise, then {window(one)}", (depthwise, pointwise))
    return Stack(other.name, (other,)), pair


def _ends(
    in_channels: int, out_channels: int, bottleneck: int | None
) -> tuple[tuple[int, int], int]:
    """(C_in, C_out) of the bottleneck block, and its inner width."""
    if bottleneck is not None:
        return (in_channels, out_channels), bottleneck
    narrow, wide = sorted((in_channels, out_channels))
    if narrow == wide:
        narrow = max(1, wide // USUAL_NARROWING)
    return (wide, wide), narrow


def _check(
    in_channels: int,
    out_channels: int,
    kernel: int,
    size: Shape,
    stride: int,
    groups: int,
    bottleneck: int | None,
) -> None:
    numbers = {
        "in_channels": in_channels,
        "out_channels": out_channels,
        "kernel": kernel,
        "stride": stride,
        "groups": groups,
        "bottleneck": 1 if bottleneck is None else bottleneck,
        "size": min(size, default=0),
    }
    for name, number in numbers.items():
        if number < 1:
            raise UsageError(f"got {name} {number}, wanted at least 1")
    if in_channels % groups or out_channels % groups:
        raise UsageError(
            f"got {in_channels} → {out_channels} channels in {groups} groups, "
            "wanted both to be multiples of groups"
        )
    if len(size) > 3:
        raise UsageError(f"got size {sizes(size)}, wanted one to three axes, like 56x56")
