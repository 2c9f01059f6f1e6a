"""What a rewrite adds to a graph, under names that are new there."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
import onnx_ir as ir

from onebyone.algebra.weights import Array
from onebyone.graph.exact import initializer

__all__ = ["Names", "content", "integers"]


@dataclass
class Names:
    """Mints names that no value or node of the graph has; remembers the integers it stored."""

    taken: set[str]
    integers: dict[tuple[tuple[int, ...], ir.DataType], ir.Value] = field(default_factory=dict)
    arrays: dict[tuple[object, ...], ir.Value] = field(default_factory=dict)
    minted: dict[str, int] = field(default_factory=dict)  # the last number of each stem
    untold: list[str] = field(default_factory=list)

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

    def fresh(self) -> tuple[str, ...]:
        """The names that were minted since it was asked last, of nodes and of other things."""
        names, self.untold = tuple(self.untold), []
        return names

    def mint(self, stem: str) -> str:
        """`stem`, numbered if need be."""
        name, count = stem, self.minted.get(stem, 0)
        while name in self.taken:
            count += 1
            name = f"{stem}_{count}"
        self.taken.add(name)
        self.minted[stem] = count
        self.untold.append(name)
        return name

    def constant(self, array: Array, stem: str, dtype: ir.DataType) -> ir.Value:
        """A value of type `dtype` that holds an array, named after `stem`; one for equal arrays.

        So operators that share a weight still share it when each of them was given a new one. The
        caller puts the value into the graph.

        Raises:
            Unrepresentable: a number is finite, and too large for the type.
        """
        key = *content(array), dtype
        if key not in self.arrays:
            self.arrays[key] = initializer(self.mint(stem), array, dtype)
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
