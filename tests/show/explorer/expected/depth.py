"""Panel 3: parameters."""

from __future__ import annotations

from onebyone.counting.layer import Layer

STATES = [
    {},
    {"inputs": 64, "outputs": 256},
    {"inputs": 12, "outputs": 20, "kernel": 5, "groups": 4, "bias": False},
    {"inputs": 1, "outputs": 512, "kernel": 3},
    {"inputs": 96, "outputs": 40, "groups": 64},
]


def expected(
    inputs: int = 256, outputs: int = 64, kernel: int = 1, groups: int = 1, bias: bool = True
) -> dict[str, float]:
    # The page makes channels multiples of the groups.
    inputs, outputs = (max(1, round(n / groups)) * groups for n in (inputs, outputs))

    def parameters(c_in: int, c_out: int, k: int, g: int = 1) -> int:
        return Layer(c_in, c_out, (k, k), (1, 1), g, bias).parameters

    square, three = parameters(inputs, inputs, 1), parameters(inputs, inputs, 3)
    return {
        "depth.layer": parameters(inputs, outputs, kernel, groups),
        "depth.back": parameters(outputs, inputs, kernel, groups),
        "depth.square": square,
        "depth.three": three,
        "depth.ratio": three / square,
    }
