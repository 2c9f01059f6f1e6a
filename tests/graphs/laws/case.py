"""A small graph, and what should become of it.

The input x is (2, 5, 4, 8) unless a case says otherwise; P = 2·4·8 = 64 is its number of positions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto

from ..text import integers, model

__all__ = [
    "W54",
    "W58",
    "W84",
    "Case",
    "Constants",
    "P",
    "X",
    "batch_norm",
    "floats",
    "ints",
    "norm",
    "resize_mode",
]

P = 2 * 4 * 8
X = "float[2,5,4,8] x"
Constants = Mapping[str, np.ndarray | Sequence[int]]


@dataclass(frozen=True)
class Case:
    """A graph and what should become of it.

    Args:
        name: what it covers.
        laws: laws that must be named in the report (none for a case that must be refused).
        body: its nodes; `inputs` and `outputs` as in `text.model`.
        constants: shapes or arrays.
        before: MACs of the graph as written.
        after: MACs of the best equal graph.
        gone: operators of which none may be left.
        refused: the law whose refusal the report must give, or none.
        opset: version of the standard operators.
    """

    name: str
    laws: tuple[str, ...]
    body: str
    constants: Constants
    before: int
    after: int
    gone: tuple[str, ...] = ()
    inputs: str = X
    outputs: str = "y"
    refused: str = ""
    opset: int = 17

    def model(self) -> ModelProto:
        return model(self.body, self.inputs, self.outputs, self.constants, opset=self.opset)


def norm(name: str, channels: int) -> dict[str, np.ndarray]:
    """Scale, bias, mean, variance of a BatchNormalization with epsilon 1/4; roots are 1 and 2."""
    variance = np.where(np.arange(channels) % 2, 0.75, 3.75).astype(np.float32)
    parts = {f"{name}_{part}": integers(name + part, [channels]) for part in ("s", "b", "m")}
    return {**parts, f"{name}_v": variance}


def batch_norm(x: str, name: str) -> str:
    inputs = ", ".join([x, *(f"{name}_{part}" for part in "sbmv")])
    return f"BatchNormalization<epsilon: float = 0.25>({inputs})"


def floats(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


W58 = {"w": (8, 5, 1, 1), "b": (8,)}
W84 = {"v": (4, 8, 1, 1), "c": (4,)}
W54 = {"w": (4, 5, 1, 1), "b": (4,)}


def resize_mode(mode: str, coordinates: str, more: str = "") -> str:
    return f'mode="{mode}", coordinate_transformation_mode="{coordinates}"{more}'
