"""Convolutions on Winograd's tiles, as the law `winograd` writes them: what a profile times.

In two forms, along rows and along both axes; `optimize/maps/tiles.py` has them with their shapes.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
from onnx import NodeProto, helper

from onebyone.algebra.weights import Array
from onebyone.algebra.winograd import Basis, in_basis
from onebyone.engines import single_operators as operators
from onebyone.engines.single_operators import Shape

__all__ = ["tiled"]


def tiled(shape: Shape, basis: Basis, is_square: bool, depth: int = 1) -> bytes:
    """`depth` 3×3s of as many channels that keep the size, on tiles of rows or of both axes.

    Args:
        shape: of the image, (N, C, H, W), H and W multiples of m.
        basis: along the rows, or along both axes.
        is_square: whether along both.
    """
    model = _Model(shape, basis)
    for k in range(depth):
        nodes = model.squares(k) if is_square else model.rows(k)
        model.nodes += nodes
    return operators.chain(model.nodes, [shape], model.constants, depth)


class _Model:
    def __init__(self, shape: Shape, basis: Basis) -> None:
        self.shape, self.basis = shape, basis
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, Array] = {}
        self.random = np.random.default_rng(0)

    @property
    def tiles(self) -> list[int]:
        """How many there are along each axis."""
        return [n // self.basis.outputs for n in self.shape[2:]]

    def rows(self, k: int) -> Iterator[NodeProto]:
        """The k-th convolution on tiles of rows."""
        basis, (batch, channels, _, wide) = self.basis, self.shape
        groups, tall = basis.products, self.tiles[0]
        places = np.add.outer(np.arange(groups), np.arange(tall) * basis.outputs)
        yield self._node("Pad", k, [f"h{k}", self._integers([0, 0, 1, 0, 0, 0, 1, 0])])
        yield self._node("Gather", k, [f"Pad{k}", self._constant(places)], axis=2)
        yield self._view("Parts", k, f"Gather{k}", [batch, channels, groups, tall * wide])
        yield self._node("MatMul", k, [self._constant(basis.B.astype(np.float32)), f"Parts{k}"])
        yield self._node("Transpose", k, [f"MatMul{k}"], perm=[0, 2, 1, 3])
        yield from self._products(k, f"Transpose{k}", False, [tall, wide])
        yield self._view("Wide", k, f"Out{k}", [batch, basis.outputs, channels, tall, wide])
        yield self._node("Transpose", k, [f"Wide{k}"], "Back", perm=[0, 2, 3, 1, 4])
        yield self._view("h", k, f"Back{k}", [batch, channels, *self.shape[2:]])

    def squares(self, k: int) -> Iterator[NodeProto]:
        """The k-th convolution on tiles of both axes."""
        basis, (batch, channels, *sizes) = self.basis, self.shape
        groups, m = basis.products**2, basis.outputs
        kernel = np.kron(basis.B, basis.B).reshape(groups, 1, *[basis.products] * 2)
        yield self._view("Maps", k, f"h{k}", [batch * channels, 1, *sizes])
        weight = self._constant(kernel.astype(np.float32))
        there = {"pads": [1, 1, 1, 1], "strides": [m, m]}
        yield self._node("Conv", k, [f"Maps{k}", weight], "Seen", **there)
        yield self._view("Parts", k, f"Seen{k}", [batch, channels, groups, prod(self.tiles)])
        yield self._node("Transpose", k, [f"Parts{k}"], perm=[0, 2, 1, 3])
        yield from self._products(k, f"Transpose{k}", True, self.tiles)
        yield self._view("Wide", k, f"Out{k}", [batch, m * m * channels, *self.tiles])
        yield self._node("DepthToSpace", k, [f"Wide{k}"], "h", blocksize=m)

    def _products(self, k: int, x: str, is_square: bool, places: list[int]) -> Iterator[NodeProto]:
        batch, channels = self.shape[:2]
        axes = 2 if is_square else 1
        groups = self.basis.products**axes
        weight = self.random.standard_normal((channels, channels, 3, 3)) / (9 * channels) ** 0.5
        U = in_basis(weight, [self.basis, self.basis if is_square else None])
        U = np.moveaxis(U, [2, 3][:axes], range(axes))
        U = U.reshape(groups * channels, channels, 1, 5 - 2 * axes).astype(np.float32)
        yield self._view("Groups", k, x, [batch, groups * channels, *places])
        pads = [0, 2 - axes, 0, 2 - axes]
        operands = [f"Groups{k}", self._constant(U)]
        yield self._node("Conv", k, operands, "Product", group=groups, pads=pads)
        yield self._view("Tall", k, f"Product{k}", [batch, groups, channels * prod(places)])
        A = np.kron(self.basis.A, self.basis.A) if is_square else self.basis.A
        yield self._node("MatMul", k, [self._constant(A.astype(np.float32)), f"Tall{k}"], "Out")

    def _view(self, name: str, k: int, x: str, sizes: list[int]) -> NodeProto:
        return self._node("Reshape", k, [x, self._integers(sizes)], name)

    def _node(
        self, op: str, k: int, operands: list[str], name: str = "", **attributes: Any
    ) -> NodeProto:
        # The result is what the next one reads.
        made = f"h{k + 1}" if name == "h" else f"{name or op}{k}"
        return helper.make_node(op, operands, [made], **attributes)

    def _integers(self, numbers: list[int]) -> str:
        return self._constant(np.array(numbers, np.int64))

    def _constant(self, array: Array) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = array
        return name
