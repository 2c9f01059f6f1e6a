"""What a rewrite adds to a graph, under names that are new there."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
import onnx_ir as ir

from onebyone.algebra.weights import Array

__all__ = ["Names", "content", "integers"]


@dataclass
class Names:
    """Mints names that no value or node of the graph has; remembers the integers it stored."""

    taken: set[str]
    integers: dict[tuple[tuple[int, ...], ir.DataType], ir.Value] = field(default_factory=dict)
    arrays: dict[tuple[object, ...], ir.Value] = field(default_factory=dict)
    minted: dict[str, int] = field(default_factory=dict)  # the last number of each stem

    @classmethod
    def of(cls, graph: ir.Graph) -> Names:
        """The names in a graph and in its subgraphs."""
        taken = {v.name for v in graph.inputs if v.name}
        graphs = {graph}
        for node in graph.all_nodes():
            taken |= {v.name for v in node.outputs if v.name} | {node.name or ""}
            if isinstance(node.graph, ir.Graph):
                graphs.add(node.graph)
        return cls(taken.union(*(inner.initializers for inner in graphs)))

    def forget(self, values: Collection[ir.Value]) -> None:
        """Drop stored numbers that will not enter the graph."""
        gone = set(values)
        self.integers = {k: v for k, v in self.integers.items() if v not in gone}
        self.arrays = {k: v for k, v in self.arrays.items() if v not in gone}

    def mint(self, stem: str) -> str:
        """`stem`, numbered if need be."""
        name, count = stem, self.minted.get(stem, 0)
        while name in self.taken:
            count += 1
            name = f"{stem}_{count}"
        self.taken.add(name)
        self.minted[stem] = count
        return name

    def constant(self, array: Array, stem: str) -> ir.Value:
        """A value that holds an array, named after `stem`; one for equal arrays.

        So operators that share a weight still share it when each of them was given a new one. The
        caller puts the value into the graph.
        """
        key = content(array)
        if key not in self.arrays:
            name = self.mint(stem)
            tensor = ir.tensor(np.ascontiguousarray(array), name=name)
            value = ir.Value(name=name, const_value=tensor, shape=ir.Shape(array.shape))
            value.dtype = tensor.dtype
            self.arrays[key] = value
        return self.arrays[key]


def content(array: Array) -> tuple[object, ...]:
    """Equal for arrays of one type, one shape and the same bytes.

    >>> content(np.zeros(3)) == content(np.zeros(3)), content(np.zeros(3)) == content(np.ones(3))
    (True, False)
    """
    data = np.ascontiguousarray(array).tobytes()
    return array.dtype.str, array.dtype.name, array.shape, blake2b(data, digest_size=16).digest()


def integers(
    numbers: Iterable[int],
    graph: ir.Graph,
    names: Names,
    like: ir.Value | None = None,
) -> ir.Value:
    """An initialiser of a graph that holds these numbers; one for equal ones.

    They are int64, or of the type of `like`: all bounds of a Slice have to be of one type.
    """
    kind = ir.DataType.INT64 if like is None or like.dtype is None else like.dtype
    key = tuple(int(n) for n in numbers), kind
    if key not in names.integers:
        name = names.mint("integers")
        array = np.array(key[0], kind.numpy())
        value = ir.Value(name=name, const_value=ir.tensor(array, name=name))
        value.shape, value.dtype = ir.Shape(array.shape), kind
        graph.register_initializer(value)
        names.integers[key] = value
    return names.integers[key]
