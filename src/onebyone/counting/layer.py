"""One convolution and its numbers.

parameters = (K·K·C_in/g + 1)·C_out        MACs = K·K·C_in/g · C_out · positions of the output
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from onebyone.counting.formulas import Shape, convolution, convolution_weight

__all__ = ["Layer", "Stack", "sizes", "window"]


@dataclass(frozen=True)
class Layer:
    """One convolution C_in → C_out with its kernel and the positions of its output.

    >>> layer = Layer(256, 64, (1, 1), (56, 56))
    >>> layer.name, layer.formula, layer.parameters, layer.macs
    ('1×1 256 → 64', '(1·1·256 + 1)·64', 16448, 51380224)
    """

    in_channels: int
    out_channels: int
    kernel: Shape
    output: Shape
    groups: int = 1
    bias: bool = True

    @property
    def weight(self) -> Shape:
        return convolution_weight(self.in_channels, self.out_channels, self.kernel, self.groups)

    @property
    def parameters(self) -> int:
        return prod(self.weight) + self.bias * self.out_channels

    @property
    def macs(self) -> int:
        return convolution(self.weight, (1, self.out_channels, *self.output)).macs

    @property
    def max_rank(self) -> int:
        """How many outputs can be linearly independent, as functions: C_in·K·K and the constant."""
        # With a bias the constant function is one more that outputs can be combined of.
        return min(self.out_channels, self.in_channels * prod(self.kernel) + self.bias)

    @property
    def kind(self) -> str:
        """What is said of its groups, if it has several."""
        if self.groups == 1:
            return ""
        if self.groups == self.in_channels:
            return "depthwise"
        return f"in {self.groups} groups"

    @property
    def name(self) -> str:
        return f"{window(self.kernel)} {self.in_channels} → {self.out_channels} {self.kind}".strip()

    @property
    def formula(self) -> str:
        """The parameters, with numbers in place of (K·K·C_in/g + 1)·C_out."""
        taps = "·".join(self._taps)
        if self.bias:
            taps = f"({taps} + 1)"
        return f"{taps}·{self.out_channels}"

    @property
    def macs_formula(self) -> str:
        return "·".join([*self._taps, *map(str, (self.out_channels, *self.output))])

    @property
    def _taps(self) -> list[str]:
        """The factors of K·K·C_in/g."""
        # Not divided out: "/8" tells why there are fewer than C_in.
        groups = f"/{self.groups}" if self.groups > 1 else ""
        return [*map(str, self.kernel), f"{self.in_channels}{groups}"]

    def to_dict(self) -> dict[str, Any]:
        """As in docs/json.md."""
        return {
            "name": self.name,
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            "kernel": list(self.kernel),
            "groups": self.groups,
            "bias": self.bias,
            "output": list(self.output),
            "formula": self.formula,
            "parameters": self.parameters,
            "macs": self.macs,
            "max_rank": self.max_rank,
        }


@dataclass(frozen=True)
class Stack:
    """Layers one after the other, in the place of one; `name` says what they are called."""

    name: str
    layers: tuple[Layer, ...]

    @property
    def parameters(self) -> int:
        return sum(layer.parameters for layer in self.layers)

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)

    def to_dict(self) -> dict[str, Any]:
        """The sums, and each layer."""
        return {
            "name": self.name,
            "parameters": self.parameters,
            "macs": self.macs,
            "layers": [layer.to_dict() for layer in self.layers],
        }


def sizes(numbers: Shape) -> str:
    """As they are written: 56×56.

    >>> sizes((56, 31))
    '56×31'
    """
    return "×".join(map(str, numbers))


def window(kernel: Shape) -> str:
    """What a kernel is called: 3×3, or 3-tap along one axis.

    >>> window((3, 3)), window((3,))
    ('3×3', '3-tap')
    """
    if len(kernel) == 1:
        return f"{kernel[0]}-tap"
    return sizes(kernel)
