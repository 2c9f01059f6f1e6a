"""Edit: the one place where a graph gets new nodes, new constants and new readers.

Whoever changes a graph owes it the same few things, so they are kept here:

    names        what is new is called like nothing else in the graph or in its subgraphs
    constants    equal numbers of one type are stored once
    order        a node stands in front of the one that it is made for: the order stays topological
    results      a result of the graph keeps its name, whatever computes it

What nobody reads any more is left standing; `graph.unused` takes it out.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import Any

import numpy as np
import onnx_ir as ir

from onebyone.algebra.weights import Array
from onebyone.graph.exact import tensor_of
from onebyone.graph.values import Size, graphs_within

__all__ = ["CUT", "Edit", "Spelling", "content", "respell"]

CUT = "Slice"
"""The operator by which whatever is cut out is cut out: from starts to ends, along axes, by steps.

It reads these as lists (`Edit.integers`), in this order; without the last it takes each.
"""

Spelling = Mapping[int | str, Sequence[int] | int | None]
"""Operand or attribute of a node -> the integers that it is told from now on; None: none."""

# From this opset on the sizes of a Split's results are an operand.
_SPLIT_BY_OPERAND = 13


@dataclass(eq=False)
class Edit:
    """Changes of one graph, in place.

    Args:
        graph: not a subgraph. All that is stored goes into it, for subgraphs can read it there.
        stored: the constants that were added, by what they hold.
        nodes: the nodes that were added since the last `attempt` began, in this order.
        minted: the names that were given since `fresh` was asked last.
        replaced: what stands for the values that were replaced.

    >>> x, y = ir.val("x"), ir.val("y")
    >>> old = ir.Node("", "Relu", [x], outputs=[y])
    >>> edit = Edit(ir.Graph([x], [y], nodes=[old], opset_imports={"": 17}))
    >>> two = edit.constant(np.float32([2]), "two", ir.DataType.FLOAT)
    >>> edit.replace(y, edit.node("Mul", [x, two], before=old, stem="y.Mul"))
    >>> [(node.op_type, node.outputs[0].name) for node in edit.graph]
    [('Mul', 'y'), ('Relu', 'y')]
    """

    graph: ir.Graph
    stored: dict[Hashable, ir.Value] = field(default_factory=dict)
    nodes: list[ir.Node] = field(default_factory=list)
    minted: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)  # the last number of each stem
    replaced: dict[ir.Value, ir.Value] = field(default_factory=dict)

    # Names -------------------------------------------------------------------------------------

    @cached_property
    def taken(self) -> set[str]:
        """All names of values and nodes. They are looked up when the first new one is asked for."""
        names: set[str | None] = set()
        for graph in graphs_within(self.graph):
            names.update(value.name for value in graph.inputs)
            names.update(graph.initializers)
            for node in graph:
                names.add(node.name)
                names.update(value.name for value in node.outputs)
        return {name for name in names if name}

    def mint(self, stem: str) -> str:
        """`stem`, numbered if something is called so."""
        name, count = stem, self.counts.get(stem, 0)
        while name in self.taken:
            count += 1
            name = f"{stem}_{count}"
        self.taken.add(name)
        self.counts[stem] = count
        self.minted.append(name)
        return name

    def fresh(self) -> tuple[str, ...]:
        """The names that were minted since it was asked last, of nodes and of values."""
        names, self.minted = tuple(self.minted), []
        return names

    # Constants ---------------------------------------------------------------------------------

    def constant(self, array: Array, stem: str, dtype: ir.DataType) -> ir.Value:
        """An initialiser of type `dtype` that holds an array, named after `stem`.

        It is the same for equal arrays, so operators that share a weight still share it when each
        of them was given a new one.

        Raises:
            Unrepresentable: a number is finite, and too large for the type.
        """
        array = np.asarray(array, order="C")  # once, for all that is done with it
        # The type is told apart: rounded to it, equal numbers may differ.
        key = *content(array), dtype
        if key not in self.stored:
            tensor = tensor_of(array, dtype, self.mint(stem))
            value = ir.Value(name=tensor.name, const_value=tensor, shape=ir.Shape(array.shape))
            value.dtype = tensor.dtype
            self.graph.register_initializer(value)
            self.stored[key] = value
        return self.stored[key]

    def constant_like(self, value: ir.Value | None, array: Array, what: str) -> ir.Value:
        """Other numbers in the place of a constant: of its type, and named after it."""
        assert value is not None
        assert value.dtype is not None
        return self.constant(array, f"{value.name}.{what}", value.dtype)

    def integers(self, numbers: Iterable[int], like: ir.Value | None = None) -> ir.Value:
        """An initialiser that holds a list of sizes or indices.

        They are int64, or of the type of `like`: all bounds of a Slice have to be of one type.
        """
        kind = ir.DataType.INT64 if like is None or like.dtype is None else like.dtype
        return self.constant(np.array([int(n) for n in numbers], kind.numpy()), "integers", kind)

    # Nodes -------------------------------------------------------------------------------------

    def node(
        self,
        op: str,
        operands: Sequence[ir.Value | None],
        attributes: Mapping[str, Any] | None = None,
        *,
        before: ir.Node | None = None,
        after: ir.Node | None = None,
        stem: str,
        dtype: ir.DataType | None = None,
        shape: Iterable[Size] | None = None,
    ) -> ir.Value:
        """The result of a new standard operator.

        Args:
            op, operands, attributes: of the node; attributes as numbers, or as another node's.
            before, after: the node that it stands in front of, or behind; one of the two.
            stem: what the node and its result are named after.
            dtype, shape: of the result, where they are known.
        """
        node = ir.node(op, operands, _converted(attributes), name=self.mint(stem))
        value = node.outputs[0]
        value.name = node.name
        _describe(value, dtype, shape)
        if after is not None:
            after.append(node)
        else:
            assert before is not None
            before.prepend(node)
        self.nodes.append(node)
        return value

    def sizes(
        self, op: str, operands: Sequence[ir.Value], length: int, before: ir.Node, **attributes: int
    ) -> ir.Value:
        """A new node in front of `before` that computes so many sizes, as int64."""
        stem = f"{before.outputs[0].name}.{op}"
        value = self.node(op, operands, attributes, before=before, stem=stem, shape=[length])
        value.dtype = ir.DataType.INT64
        return value

    def split(
        self, x: ir.Value, counts: Sequence[int], axis: int, before: ir.Node
    ) -> Sequence[ir.Value]:
        """`x` cut along an axis into parts of these sizes, which add up to its own."""
        assert x.shape is not None
        name, form = self.mint(f"{x.name}.Split"), self.split_form(x, counts, axis)
        node = ir.node("Split", *form, num_outputs=len(counts), name=name)
        for k, (part, count) in enumerate(zip(node.outputs, counts, strict=True)):
            part.name, dims = self.mint(f"{name}.{k}"), list(x.shape)
            dims[axis] = count
            _describe(part, x.dtype, dims)
        before.prepend(node)
        self.nodes.append(node)
        return node.outputs

    def split_form(
        self, x: ir.Value | None, counts: Sequence[int], axis: int
    ) -> tuple[list[ir.Value | None], dict[str, Any]]:
        """The operands and attributes of a Split into these sizes, in the opset of the graph."""
        if self.graph.opset_imports[""] < _SPLIT_BY_OPERAND:
            return [x], {"axis": axis, "split": counts}
        return [x, self.integers(counts)], {"axis": axis}

    def spell(self, node: ir.Node, spelling: Spelling) -> None:
        """Tell a node other numbers: in the place of its operands, or as its attributes."""
        for place, told in spelling.items():
            if isinstance(place, int):
                assert not isinstance(told, int | None)
                node.replace_input_with(place, self.integers(told, like=node.inputs[place]))
            elif told is None:
                node.attributes.pop(place, None)
            else:
                node.attributes[place] = ir.convenience.convert_attribute(place, told)

    @contextmanager
    def attempt(self) -> Iterator[list[ir.Node]]:
        """Gives the list of the nodes that are made inside; where that fails, they are taken out.

        Halfway through, a weight may turn out to overflow. Only what is added to the main graph is
        undone: let others read it (`replace`) once nothing can fail any more.
        """
        held, self.nodes = len(self.stored), []
        try:
            yield self.nodes
        except Exception:
            for node in reversed(self.nodes):
                self.graph.remove(node, safe=True)
            for key in [*self.stored][held:]:
                del self.graph.initializers[str(self.stored.pop(key).name)]
            raise

    # Readers -----------------------------------------------------------------------------------

    def replace(self, old: ir.Value, new: ir.Value) -> None:
        """Let all that reads `old`, a result of a node or a constant, read `new`, which equals it.

        Where `old` is a result of the graph, `new` takes on its name. If that cannot be, since it
        has a name to keep itself, a copy does. `old` is called so too until it is taken out, for
        reports name a node without a name after its result.
        """
        if old.is_graph_output():
            maker, stem = _maker(old), f"{old.name}.Identity"
            if not _may_be_renamed(new, maker):
                new = self.node("Identity", [new], before=maker, stem=stem, dtype=old.dtype)
            if new.shape is None:  # the file may declare more than is known of what it reads
                new.shape = old.shape
            new.name = old.name
        old.replace_all_uses_with(new, replace_graph_outputs=True)
        self.replaced[old] = new

    def current(self, value: ir.Value) -> ir.Value:
        """What stands for a value now, if it was replaced since somebody looked at the graph."""
        while value in self.replaced:
            value = self.replaced[value]
        return value

    def bypass(self, old: ir.Value, new: ir.Value) -> bool:
        """`replace`, if both are of one type and no copy is needed for it; whether that was so.

        A type that is unknown fits any.
        """
        kinds = {old.dtype, new.dtype} - {None}
        if len(kinds) > 1 or (old.is_graph_output() and not _may_be_renamed(new, _maker(old))):
            return False
        self.replace(old, new)
        return True

    def freeze(self, value: ir.Value, tensor: ir.TensorProtocol) -> None:
        """Let all that reads a result of a node read these numbers, under its name."""
        node = _maker(value)
        if self.holds(value):
            new = ir.Value(const_value=tensor)
        else:
            made = ir.node("Constant", [], {"value": ir.AttrTensor("value", tensor)})
            node.prepend(made)
            self.nodes.append(made)
            new = made.outputs[0]
        new.name = value.name
        _describe(new, tensor.dtype, tensor.shape.numpy())
        value.replace_all_uses_with(new, replace_graph_outputs=True)
        if new.producer() is None:
            self.graph.register_initializer(new)

    def holds(self, value: ir.Value) -> bool:
        """Whether an initialiser can stand for a value, and no Constant node is needed.

        Nodes compute the results of a graph, and a subgraph's constants stay in it.
        """
        return not value.is_graph_output() and _maker(value).graph is self.graph


def respell(
    node: ir.Node, op: str, operands: Sequence[ir.Value | None], attributes: Mapping[str, Any]
) -> None:
    """Let a node compute the same results by another operator, or from other operands.

    Its name, its results and what is noted of it stay.

    >>> node = ir.node("Squeeze", [ir.val("x"), ir.val("axes")], name="n")
    >>> respell(node, "Transpose", [ir.val("z")], {"perm": [1, 0]})
    >>> node.op_type, node.inputs[0].name, len(node.inputs), node.attributes["perm"].value
    ('Transpose', 'z', 1, (1, 0))
    """
    held = ir.node(op, [], _converted(attributes)).attributes
    node.op_type = op
    node.attributes.clear()
    node.attributes.update(held)
    node.resize_inputs(len(operands))
    for at, value in enumerate(operands):
        node.replace_input_with(at, value)


def content(array: Array) -> tuple[object, ...]:
    """Equal for arrays of one type, one shape and the same bytes.

    >>> content(np.zeros(3)) == content(np.zeros(3)), content(np.zeros(3)) == content(np.ones(3))
    (True, False)
    """
    data = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    return array.dtype.str, array.dtype.name, array.shape, sha256(data).digest()


def _converted(attributes: Mapping[str, Any] | None) -> dict[str, Any]:
    """Attributes of which lists of integers are converted, as `ir.node` converts them.

    It asks first whether each is a tensor or a type, by all methods that one would have.
    """
    return {
        name: ir.AttrInt64s(name, told) if _are_integers(told) else told
        for name, told in (attributes or {}).items()
    }


def _are_integers(told: object) -> bool:
    return isinstance(told, list | tuple) and bool(told) and all(isinstance(n, int) for n in told)


def _describe(value: ir.Value, dtype: ir.DataType | None, shape: Iterable[Size] | None) -> None:
    if dtype is not None:
        value.dtype = dtype
    if shape is not None:
        value.shape = ir.Shape(shape)


def _maker(value: ir.Value) -> ir.Node:
    node = value.producer()
    assert node is not None
    return node


def _may_be_renamed(value: ir.Value, like: ir.Node) -> bool:
    """Whether a value may take on the name of a result that `like` computes.

    Inputs, constants and other results keep theirs, and a subgraph returns values of its own.
    """
    node = value.producer()
    return node is not None and node.graph is like.graph and not value.is_graph_output()
