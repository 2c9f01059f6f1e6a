"""What is computed from constants alone is computed once, here.

    known      every node whose operands are known: initialisers, sizes, results of known nodes
    asked for  what the others read of it: these values are stored in the nodes' place
    refused    what would make the file larger, with all that only it would have replaced

A Transpose of a table that is also read as it is, an Expand to a whole image, a Cast to a wider
type stay nodes: their result is larger than the initialisers that would go.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from onebyone.algebra.weights import Array
from onebyone.graph.edit import Edit
from onebyone.graph.exact import Exact
from onebyone.graph.fold import known_numbers
from onebyone.graph.form import constant_tensor
from onebyone.graph.ops import operator_of
from onebyone.graph.ops.sizes import Entries, same_shape
from onebyone.graph.simplify.known import Known, computed, stored
from onebyone.graph.simplify.sizes import entries_of
from onebyone.graph.values import fixed_shape, is_read, made_by, nodes_within, rank_of, subgraphs

__all__ = ["fold_constants"]

_ALWAYS = 512
"""Bytes of a constant that is stored whatever it replaces: a node takes as much."""
_NODE = 64
"""Bytes that a node takes in the file."""
_ELEMENTS = 1 << 20
"""A result of more elements than this may have four times those of its operands."""
_LARGE = 1 << 20
"""Bytes of a result that is worth a look at who reads it before it is computed."""
_WAVES = 32


def fold_constants(graph: ir.Graph, version: int) -> Counter[str]:
    """Put tensors in the place of the nodes that compute them from constants.

    Args:
        graph: with shapes inferred; changed in place, its subgraphs too.
        version: of the standard operators.

    Returns:
        How many nodes of each operator went.

    >>> w = ir.val("w", const_value=ir.tensor(np.float32([[1, 2]]), name="w"))
    >>> x, node = ir.val("x"), ir.node("Transpose", [w])
    >>> graph = ir.Graph([x], [], nodes=[node, ir.node("MatMul", [x, node.outputs[0]])],
    ...                  initializers=[w], opset_imports={"": 17})
    >>> fold_constants(graph, 17)
    Counter({'Transpose': 1})
    """
    walk = _Walk(graph, version, entries_of(graph), _candidates(graph))
    walk.graph(graph)
    walk.refuse()
    return walk.store(graph)


@dataclass
class _Walk:
    top: ir.Graph
    version: int
    entries: dict[ir.Value, Entries]
    candidates: set[ir.Node]
    known: dict[ir.Value, Known] = field(default_factory=dict)
    sizes: dict[ir.Value, Array] = field(default_factory=dict)
    nodes: dict[ir.Node, None] = field(default_factory=dict)  # those that are known, in order

    def graph(self, graph: ir.Graph) -> None:
        for node in graph:
            for inner in subgraphs(node):
                self.graph(inner)
            results = self._results(node)
            if results is not None:
                self.nodes[node] = None
                self.known.update(zip(node.outputs, results, strict=True))

    def _results(self, node: ir.Node) -> tuple[Known, ...] | None:
        if node.domain != "":
            return None
        size = self._size(node)
        if size is not None:
            return (Known(size),)
        if not all(value is None or self._is_known(value) for value in node.inputs):
            return None
        if self._only_grows(node):
            return None
        operands = [None if value is None else self._operand(value) for value in node.inputs]
        if not _affordable(node, operands):
            return None
        return computed(node, operands, self.version)

    def _size(self, node: ir.Node) -> Array | None:
        """The sizes that a node hands on; those that subgraphs declare may be wrong."""
        if node.graph is not self.top:
            return None
        size = known_numbers(node, self.sizes, self.version)
        if size is not None:
            self.sizes[node.outputs[0]] = size
            if size.dtype.kind in "iu":
                return size
            return None
        if len(node.outputs) != 1 or node.outputs[0] not in self.entries:
            return None
        value = node.outputs[0]
        entries, rank = self.entries[value], rank_of(value)
        free = any(isinstance(entry, str) for entry in entries)
        if free or rank is None or rank > 1 or value.dtype is None:
            return None
        # A scalar has one entry.
        return np.array(entries, value.dtype.numpy()).reshape((-1,) * rank)

    def _is_known(self, value: ir.Value) -> bool:
        return value in self.known or _tensor(value) is not None

    def _only_grows(self, node: ir.Node) -> bool:
        """A large result, larger than what it is made of, that no known node would reduce again.

        It would stay in the end: weights in half precision would all be widened for nothing.
        """
        value, shape = node.outputs[0], fixed_shape(node.outputs[0])
        if value.dtype is None or shape is None:
            return False
        made = math.prod(shape) * value.dtype.bitwidth // 8
        given = sum(self._bytes(x) for x in node.inputs if x is not None)
        asked = not any(use.node in self.candidates for use in value.uses())
        return asked and made > max(_LARGE, given)

    def _bytes(self, value: ir.Value) -> int:
        if value in self.known:
            return self.known[value].array.nbytes
        return _bytes_of(value)

    def _operand(self, value: ir.Value) -> Known:
        if value in self.known:
            return self.known[value]
        tensor = _tensor(value)
        assert tensor is not None
        if isinstance(tensor, Exact):
            return Known(tensor.numpy(), tensor.exact, determined=False)
        return Known(np.asarray(tensor.numpy()))

    # What is stored ----------------------------------------------------------------------------

    def refuse(self) -> None:
        """Let nodes stay whose results would make the file larger."""
        left: list[ir.Node] = [*self.nodes]
        read = dict.fromkeys(v for node in left for v in node.inputs if v is not None)
        counted = {v: size for v in read if (size := _bytes_of(v)) > _ALWAYS}
        for wave in range(_WAVES):
            if not left:
                return
            last, parts = wave == _WAVES - 1, self._parts(left, counted)
            grown = [(part, part.growing(last)) for part in parts]
            for node in (node for _, nodes in grown for node in nodes):
                self.nodes.pop(node, None)
                for value in node.outputs:
                    self.known.pop(value, None)
            # Parts share nothing, so that no other has to be looked at again.
            left = [node for part, nodes in grown if nodes for node in part.nodes]
            left = [node for node in left if node in self.nodes]

    def _parts(self, nodes: Sequence[ir.Node], counted: Mapping[ir.Value, int]) -> Iterator[_Part]:
        """What is stored of these nodes, in parts that share no initialiser worth counting.

        Args:
            nodes: some of those that are known.
            counted: the initialisers that they read which are, and their bytes.
        """
        labels = _Labels()
        for node in nodes:
            for value in (*node.inputs, *node.outputs):
                if value is not None and (value in self.known or value in counted):
                    labels.join(node, value)
        parts: dict[object, _Part] = {}
        operands = (v for node in nodes for v in node.inputs if v is not None)
        seen = dict.fromkeys(v for v in operands if v in counted)
        for node in nodes:
            part = parts.setdefault(labels.of(node), _Part())
            part.nodes.append(node)
            asked = (value for value in node.outputs if self._is_asked(value))
            part.asked |= {value: self._stored(value).array.nbytes for value in asked}
        for value in seen:
            # An initialiser goes where only nodes that are replaced have read it.
            gone = all(use.node in self.nodes for use in value.uses())
            if value not in self.known and gone and not value.is_graph_output():
                parts[labels.of(value)].freed += counted[value]
        yield from parts.values()

    def _is_asked(self, value: ir.Value) -> bool:
        if value not in self.known:
            return False
        return value.is_graph_output() or any(use.node not in self.nodes for use in value.uses())

    def _stored(self, value: ir.Value) -> Known:
        """What is stored of it: once what repeats along an axis, where its readers widen it."""
        known = self.known[value]
        # The caller gets a result in its own shape.
        if known.array.nbytes <= _ALWAYS or value.is_graph_output():
            return known
        readers = [use.node for use in value.uses() if use.node not in self.nodes]
        if all(_widens(node, value) for node in readers):
            return _once(known)
        return known

    def store(self, graph: ir.Graph) -> Counter[str]:
        """Replace the nodes by what they compute."""
        asked = [value for node in self.nodes for value in node.outputs if self._is_asked(value)]
        edit = Edit(graph)
        for value in asked:
            edit.freeze(value, _made(value, self._stored(value), edit.holds(value)))
        for node in reversed(self.nodes):
            # Those of a subgraph are nodes, and go with their last reader.
            constants = dict.fromkeys(made_by(value, "Constant") for value in node.inputs)
            _remove(node)
            for constant in constants:
                if constant is not None and not any(map(is_read, constant.outputs)):
                    _remove(constant)
        return Counter(node.op_type for node in self.nodes)


@dataclass
class _Part:
    """Values that are asked for and their bytes, the bytes of initialisers that go, the nodes."""

    asked: dict[ir.Value, int] = field(default_factory=dict)
    freed: int = 0
    nodes: list[ir.Node] = field(default_factory=list)

    def growing(self, all_of_them: bool) -> list[ir.Node]:
        """The nodes that stay: those with the largest result, or all, where the part would grow."""
        stored = sum(size for size in self.asked.values() if size > _ALWAYS)
        if stored <= self.freed + _NODE * len(self.nodes):
            return []
        if all_of_them:
            return self.nodes
        most = max(self.asked.values())
        nodes = (value.producer() for value, size in self.asked.items() if size == most)
        return [node for node in nodes if node is not None]


def _widens(node: ir.Node, value: ir.Value) -> bool:
    """Whether a node broadcasts this operand against one that has all axes of the result."""
    if not operator_of(node).elementwise:
        return False
    others = [x for x in node.inputs if x is not value]
    return any(same_shape(x, node.outputs[0]) for x in others)


def _once(known: Known) -> Known:
    """Axes along which nothing changes cut to one position."""
    wide, own = known.wide, known.array
    for axis in range(wide.ndim):
        first = np.take(wide, [0], axis)
        if wide.shape[axis] > 1 and bool((wide == first).all()):
            wide, own = first, np.take(own, [0], axis)
    return Known(own, None if known.exact is None else wide, known.determined)


class _Labels:
    """Which things belong together (union-find)."""

    def __init__(self) -> None:
        self.parent: dict[object, object] = {}

    def of(self, one: object) -> object:
        above = self.parent.setdefault(one, one)
        while above is not one:
            # Hung below the next but one on the way, so that the next search is half as long.
            self.parent[one] = one = self.parent[above]
            above = self.parent[one]
        return one

    def join(self, a: object, b: object) -> None:
        self.parent[self.of(a)] = self.of(b)


def _bytes_of(value: ir.Value) -> int:
    tensor = _tensor(value)
    if tensor is None or tensor.dtype == ir.DataType.STRING:
        return 0
    return tensor.nbytes


def _tensor(value: ir.Value) -> ir.TensorProtocol | None:
    """Of an initialiser that nobody can override, or of a Constant node, as subgraphs have them."""
    if value.is_graph_input():
        return None
    if value.producer() is None:
        return value.const_value
    node = made_by(value, "Constant")
    if node is None:
        return None
    return constant_tensor(node)


def _affordable(node: ir.Node, operands: Iterable[Known | None]) -> bool:
    """Whether the result is of a size that may be made at all."""
    given = sum(known.array.size for known in operands if known is not None)
    made = 0
    for value in node.outputs:
        shape = fixed_shape(value)
        if shape is None:
            return given < 4096 and not operator_of(node).grows
        made += math.prod(shape)
    return made <= max(_ELEMENTS, 4 * given)


def _candidates(graph: ir.Graph) -> set[ir.Node]:
    """Nodes whose operands could all be known: what reads anything else is read by nobody here."""
    candidates: set[ir.Node] = set()
    for node in nodes_within(graph):
        if operator_of(node).rounding is None:
            continue
        operands = (value for value in node.inputs if value is not None)
        known = (x.producer() in candidates or _tensor(x) is not None for x in operands)
        if node.op_type == "Shape" or all(known):
            candidates.add(node)
    return candidates


def _remove(node: ir.Node) -> None:
    if node.graph is not None:
        node.graph.remove(node, safe=True)


def _made(value: ir.Value, known: Known, exact: bool) -> ir.TensorProtocol:
    """What is stored of a value; `exact`: with its float64, which only initialisers remember."""
    name = str(value.name)
    if exact and known.exact is not None:
        return Exact(known.exact, ir.DataType.from_numpy(known.array.dtype), name)
    return ir.tensor(np.array(stored(known), order="C"), name=name)
