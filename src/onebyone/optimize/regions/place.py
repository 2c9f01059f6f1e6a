"""Place: operations back into the graph as standard ONNX nodes.

New nodes stand right before the root they replace, so the order stays topological; every new name
is minted; weights are of the type of the tensors they meet, and stay in float64 beside it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from onebyone.algebra.weights import Array
from onebyone.graph.constants import constant
from onebyone.graph.exact import Unrepresentable
from onebyone.graph.ops.conversion import is_of_int8_codes
from onebyone.graph.shape_reads import ShapeReads
from onebyone.optimize.names import Names
from onebyone.optimize.regions.operations import (
    Concatenate,
    Convolution,
    Mapped,
    Moved,
    Operation,
    Source,
    Total,
)
from onebyone.optimize.regions.steps import Layout, Step, Stored

__all__ = ["place"]


def place(
    root: ir.Value,
    operation: Operation,
    names: Names,
    inside: Collection[ir.Value] = (),
    reads: ShapeReads | None = None,
) -> list[ir.Node]:
    """Replace `root` by `operation`; returns the new nodes. The old ones are left to be collected.

    Shapes that were read off the values `inside`, which go, are read elsewhere.

    Raises:
        Unrepresentable: a weight is too large for the graph's type; nothing is changed.
    """
    placer = _Placer(root, names)
    try:
        value = placer.value(operation)
    except Unrepresentable:
        names.forget(placer.initializers)
        raise
    if reads is not None:
        for gone in sorted(inside, key=lambda value: value.name or ""):  # a set has no order
            placer.redirect(gone, reads)
    placer.commit(value)
    return placer.nodes


@dataclass
class _Placer:
    root: ir.Value
    names: Names
    nodes: list[ir.Node] = field(default_factory=list)
    initializers: list[ir.Value] = field(default_factory=list)
    done: dict[int, ir.Value] = field(default_factory=dict)

    @property
    def dtype(self) -> ir.DataType:
        assert self.root.dtype is not None
        return self.root.dtype

    @property
    def graph(self) -> ir.Graph:
        producer = self.root.producer()
        assert producer is not None
        assert isinstance(producer.graph, ir.Graph)
        return producer.graph

    def value(self, operation: Operation) -> ir.Value:
        """The graph value of an operation, made once."""
        if isinstance(operation, Source):
            return operation.value
        if id(operation) not in self.done:
            self.done[id(operation)] = self._make(operation)
        return self.done[id(operation)]

    def _make(self, operation: Operation) -> ir.Value:
        if isinstance(operation, Mapped):
            return self._mapped(operation)
        if isinstance(operation, Moved):
            return self._moved(operation)
        if isinstance(operation, Convolution):
            return self._convolution(operation)
        assert isinstance(operation, Total | Concatenate)
        if isinstance(operation, Total):
            return self._total(operation)
        operands = [self.value(part) for part in operation.operands]
        axis = ir.AttrInt64("axis", operation.layout.axis)
        return self._node("Concat", operands, operation.layout, operation.channels, [axis])

    def _total(self, operation: Total) -> ir.Value:
        """Two at a time; convolutions last, where engines add into their result."""
        order = sorted(operation.operands, key=lambda part: isinstance(part, Mapped | Convolution))
        order.sort(key=_is_negation)
        total = self.value(order[0])
        for part in order[1:]:
            op_type, operand = "Add", part
            if isinstance(part, Mapped) and _is_negation(part):
                op_type, operand = "Sub", part.operand
            parts = [total, self.value(operand)]
            total = self._node(op_type, parts, operation.layout, operation.channels)
            total.shape = _broadcast(parts) or total.shape
        return total

    # Channel maps ------------------------------------------------------------------------------

    def _mapped(self, m: Mapped) -> ir.Value:
        x, f = self.value(m.operand), m.linear
        if f.is_diagonal and m.window is None:
            return self._diagonal(m, x)
        if m.before.channels_first and self._has_convolutions(m):
            return self._pointwise(m, x)
        held = None if m.before.channels_first else self._held(m)
        if m.before.rank == 2:
            weight = self._constant(f.dense(), "weight") if held is None else held
            turned = held is not None and f.stored.transposed
            operands, attributes = [x, weight, *self._bias(m.bias)], [] if turned else [_TURNED]
            return self._node("Gemm", operands, m.after, f.out_channels, attributes)
        if m.before.axis == m.before.rank - 1:
            operands = [x, self._constant(f.dense().T, "weight") if held is None else held]
        else:
            operands = [self._constant(f.dense(), "weight") if held is None else held, x]
        if is_of_int8_codes(x, self.graph.opset_imports.get("", 0)):
            raise Unrepresentable("a product of int8 codes, on which ONNX Runtime stumbles")
        product = self._node("MatMul", operands, m.after, f.out_channels)
        return self._shifted(product, m)

    def _held(self, m: Mapped) -> ir.Value | None:
        """The weight of the graph, where it serves as it is."""
        held: Stored | None = m.linear.stored
        serves = held is not None and held.serves(m.before) and held.value.dtype == self.dtype
        return held.value if held is not None and serves else None

    def _has_convolutions(self, m: Mapped) -> bool:
        """Whether an engine that runs the graph has a convolution of its numbers' type.

        ONNX Runtime has none of float64. With channels before one more axis a product will do.

        Raises:
            Unrepresentable: nothing will do.
        """
        if self.dtype != ir.DataType.DOUBLE or any(n.op_type == "Conv" for n in self.graph):
            return True
        # The price is that of a convolution, which takes the bias: a product and a sum are not it.
        if m.before.rank == 3 and m.window is None and m.bias is None:
            return False
        raise Unrepresentable("a 1×1 convolution of float64, which ONNX Runtime has not")

    def _pointwise(self, m: Mapped, x: ir.Value) -> ir.Value:
        f, axes = m.linear, m.before.rank - 2
        weight = self._held(m)
        if weight is None:
            weight = self._constant(f.weight.reshape(*f.weight.shape, *(1,) * axes), "weight")
        window = None if m.window is None else m.window.window
        attributes = [ir.AttrInt64s("kernel_shape", (1,) * axes)]
        if f.groups > 1:
            attributes.append(ir.AttrInt64("group", f.groups))
        if window is not None:
            attributes.append(ir.AttrInt64s("strides", window.strides or (1,) * axes))
            attributes.append(ir.AttrInt64s("pads", window.pads or (0,) * 2 * axes))
        operands = [x, weight, *self._bias(m.bias)]
        return self._node("Conv", operands, m.after, f.out_channels, attributes)

    def _diagonal(self, m: Mapped, x: ir.Value) -> ir.Value:
        scale, channels = m.linear.weight[:, 0], m.linear.out_channels
        if (scale == 1).all():
            return self._shifted(x, m)
        if m.bias is not None and m.before.axis == 1:
            return self._normalised(m, x, scale)
        if (scale == -1).all():
            return self._shifted(self._node("Neg", [x], m.before, channels), m)
        operands = [x, self._constant(_along(scale, m.before), "scale")]
        return self._shifted(self._node("Mul", operands, m.before, channels), m)

    def _normalised(self, m: Mapped, x: ir.Value, scale: Array) -> ir.Value:
        """Scale and shift in one operator: a batch normalisation with mean 0 and variance 1."""
        assert m.bias is not None
        vectors = {"scale": scale, "bias": m.bias, "mean": scale * 0, "variance": scale * 0 + 1}
        operands = [self._constant(v, name) for name, v in vectors.items()]
        epsilon = [ir.AttrFloat32("epsilon", 0.0)]
        channels = m.linear.out_channels
        return self._node("BatchNormalization", [x, *operands], m.before, channels, epsilon)

    def _shifted(self, x: ir.Value, m: Mapped) -> ir.Value:
        if m.bias is None:
            return x
        bias = self._constant(_along(m.bias, m.after), "bias")
        return self._node("Add", [x, bias], m.after, m.linear.out_channels)

    def _bias(self, bias: Array | None) -> list[ir.Value]:
        return [] if bias is None else [self._constant(bias, "bias")]

    # Kernels and space maps --------------------------------------------------------------------

    def _convolution(self, c: Convolution) -> ir.Value:
        own = c.kernel.node.inputs[1] if c.unchanged else None
        weight = self._constant(c.weight, "weight") if own is None else own
        operands = [self.value(c.operand), weight, *self._bias(c.bias)]
        attributes = _copied(c.kernel.node)
        return self._node(c.kernel.node.op_type, operands, c.kernel.after, c.channels, attributes)

    def _moved(self, m: Moved) -> ir.Value:
        x, step = self.value(m.operand), m.step
        node = step.node
        assert node is not None
        if step.window is not None:
            return self._sliced(x, m, step.window.strides)
        if x is node.inputs[0] and node.outputs[0] is not self.root:
            return node.outputs[0]
        operands = [x, *self._shape_operands(step, m.channels)]
        version = _copied(node)
        return self._node(node.op_type, operands, step.after, m.channels, version)

    def _sliced(self, x: ir.Value, m: Moved, strides: Sequence[int]) -> ir.Value:
        axes = list(range(2, 2 + len(strides)))
        bounds = [[0] * len(axes), [2**31 - 1] * len(axes), axes, list(strides)]
        operands = [self._integers(b) for b in bounds]
        return self._node("Slice", [x, *operands], m.step.after, m.channels)

    def _shape_operands(self, step: Step, channels: int) -> list[ir.Value | None]:
        """The other operands of a space map, where the number of channels is written into them."""
        assert step.node is not None
        operands = list(step.node.inputs[1:])
        if step.sized is None or step.keeps_sizes(channels):
            return operands
        at, entry = step.sized
        operands[at - 1] = self._with_channels(operands[at - 1], step, entry, channels)
        return operands

    def _with_channels(
        self, shape: ir.Value | None, step: Step, entry: int, channels: int
    ) -> ir.Value:
        assert shape is not None
        known = constant(shape)
        if known is not None:
            return self._integers(_rewritten(known, step, entry, channels))
        assert shape.shape is not None
        length = shape.shape[0]
        assert isinstance(length, int)
        # The end is named: what engines infer of a slice to "the far end" can be nothing at all.
        start, here, after, stop = map(self._integers, [[0], [entry], [entry + 1], [length]])
        parts = [self._sizes("Slice", [shape, start, here], entry)] if entry else []
        parts.append(self._integers([channels]))
        if entry + 1 < length:
            parts.append(self._sizes("Slice", [shape, after, stop], length - entry - 1))
        return self._sizes("Concat", parts, length, [ir.AttrInt64("axis", 0)])

    # Making nodes ------------------------------------------------------------------------------

    def _constant(self, array: Array, what: str) -> ir.Value:
        """A new initialiser of the root's type."""
        return self._stored(array, self.dtype, what)

    def _integers(self, numbers: Sequence[int]) -> ir.Value:
        """A vector of sizes or indices; equal ones are stored once."""
        key = tuple(numbers), ir.DataType.INT64
        if key not in self.names.integers:
            self.names.integers[key] = self._stored(
                np.array(numbers, np.int64), ir.DataType.INT64, "sizes"
            )
        return self.names.integers[key]

    def _stored(self, array: Array, dtype: ir.DataType, what: str) -> ir.Value:
        value = self.names.constant(array, f"{self.root.name}.{what}", dtype)
        self.initializers.append(value)
        return value

    def _node(
        self,
        op_type: str,
        operands: Sequence[ir.Value | None],
        layout: Layout,
        channels: int,
        attributes: Sequence[ir.Attr] = (),
    ) -> ir.Value:
        value = self._bare(op_type, operands, attributes)
        value.shape, value.dtype = layout.shape(channels), self.dtype
        return value

    def _sizes(
        self,
        op_type: str,
        operands: Sequence[ir.Value | None],
        length: int,
        attributes: Sequence[ir.Attr] = (),
    ) -> ir.Value:
        """A node that gives a vector of `length` sizes."""
        value = self._bare(op_type, operands, attributes)
        value.shape, value.dtype = ir.Shape([length]), ir.DataType.INT64
        return value

    def _bare(
        self, op_type: str, operands: Sequence[ir.Value | None], attributes: Sequence[ir.Attr] = ()
    ) -> ir.Value:
        name = self.names.mint(f"{self.root.name}.{op_type}")
        node = ir.Node("", op_type, operands, attributes, num_outputs=1, name=name)
        node.outputs[0].name = name
        self.nodes.append(node)
        return node.outputs[0]

    def redirect(self, gone: ir.Value, reads: ShapeReads) -> None:
        """Give the `Shape` nodes of a value that goes another source."""
        for user in [use.node for use in gone.uses() if reads.serves(use.node)]:
            kept, self.nodes, old = self.nodes, [], user.outputs[0]
            shape = reads.rebuild(user, self._sizes, self._integers)
            if old.is_graph_output():  # which keeps its name, and may be no constant
                shape = self._bare("Identity", [shape])
                shape.shape, shape.type, shape.name = old.shape, old.type, old.name
                old.name = self.names.mint(f"{old.name}.before")
            self.graph.insert_before(user, self.nodes)
            self.nodes = kept
            old.replace_all_uses_with(shape, replace_graph_outputs=True)

    def commit(self, value: ir.Value) -> None:
        """Put everything into the graph, in place of the root."""
        graph, old = self.graph, self.root.producer()
        assert old is not None
        for constant_value in self.initializers:
            graph.register_initializer(constant_value)
        made = bool(self.nodes) and value is self.nodes[-1].outputs[0]
        if not made and self.root.is_graph_output():
            value = self._bare("Identity", [value])
        graph.insert_before(old, self.nodes)
        name, shape, dtype = self.root.name, self.root.shape, self.dtype
        self.root.replace_all_uses_with(value, replace_graph_outputs=True)
        graph.remove(old, safe=True)
        if value.producer() in self.nodes:
            value.name, value.shape, value.dtype = name, shape, dtype


_TURNED = ir.AttrInt64("transB", 1)
"""Of a Gemm that stores W as (C_out, C_in)."""


def _is_negation(operation: Operation) -> bool:
    return isinstance(operation, Mapped) and operation.is_negation


def _broadcast(values: Sequence[ir.Value]) -> ir.Shape | None:
    """The shape of a sum of values, each of which may have 1 where others have more."""
    shapes = [tuple(value.shape) for value in values if value.shape is not None]
    if len(shapes) < len(values):
        return None
    rank = max(map(len, shapes))
    every = zip(*((1,) * (rank - len(shape)) + shape for shape in shapes), strict=True)
    return ir.Shape([next((d for d in dims if d != 1), 1) for dims in every])


def _copied(node: ir.Node) -> list[ir.Attr]:
    return [a for a in node.attributes.values() if isinstance(a, ir.Attr)]


def _along(vector: Array, layout: Layout) -> Array:
    """(C,) shaped to broadcast along the channel axis; one number where all are the same."""
    if (vector == vector[0]).all():
        return vector[:1]
    return vector.reshape((-1,) + (1,) * (layout.rank - 1 - layout.axis))


def _rewritten(shape: Array, step: Step, entry: int, channels: int) -> list[int]:
    """A constant shape operand for another number of channels."""
    new = [int(n) for n in shape]
    source = step.before.axis
    if step.op_type == "Reshape" and source < len(new) and new[source] == 0 and source != entry:
        size = step.after.dims[source]
        new[source] = size if isinstance(size, int) else -1
    if new[entry] != -1:
        new[entry] = channels
    return new
