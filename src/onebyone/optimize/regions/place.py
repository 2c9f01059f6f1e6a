"""Place: operations back into the graph as standard ONNX nodes.

New nodes stand right before the root they replace, so the order stays topological; every new name
is minted; weights are of the type of the tensors they meet, and stay in float64 beside it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from onebyone.algebra.laws import refused
from onebyone.algebra.weights import Array
from onebyone.graph.constants import constant
from onebyone.graph.edit import CUT, Edit
from onebyone.graph.exact import Unrepresentable
from onebyone.graph.ops.conversion import is_of_int8_codes
from onebyone.graph.ops.gathering import indices_before
from onebyone.graph.ops.marking import OneHot
from onebyone.graph.shape_reads import ShapeReads
from onebyone.graph.spatial import is_padded_past
from onebyone.optimize.regions.operations import (
    Concatenate,
    Convolved,
    LookedUp,
    Mapped,
    Moved,
    Operation,
    Source,
    Total,
)
from onebyone.optimize.regions.steps import KernelNode, Layout, Size, Step, Stored

__all__ = ["place"]

# From this opset on the axes of a Squeeze are an operand.
_AXES_BY_OPERAND = 13


def place(
    operations: Mapping[ir.Value, Operation],
    edit: Edit,
    inside: Collection[ir.Value] = (),
    reads: ShapeReads | None = None,
) -> list[ir.Node]:
    """Replace values by operations; returns the new nodes.

    The old ones are left to be collected. Shapes that were read off the values `inside`, which go,
    are read elsewhere.

    Raises:
        Unrepresentable: a weight is too large for the graph's type; nothing is changed.
    """
    with edit.attempt() as made:
        placed = [(root, _value(root, operation, edit)) for root, operation in operations.items()]
        for gone in sorted(inside, key=lambda value: value.name or ""):  # a set has no order
            for node in [use.node for use in gone.uses()]:
                if reads is not None and reads.serves(node):
                    edit.replace(node.outputs[0], reads.rebuild(node, edit))
        for root, value in placed:
            name, shape, kind = root.name, root.shape, root.type
            value = edit.current(value)
            edit.replace(root, value)
            if value.producer() in made:
                value.name, value.shape, value.type = name, shape, kind
    return made


def _value(root: ir.Value, operation: Operation, edit: Edit) -> ir.Value:
    return _Placer(root, _maker(root), edit).value(operation)


def _maker(root: ir.Value) -> ir.Node:
    node = root.producer()
    assert node is not None
    return node


@dataclass
class _Placer:
    """Makes operations in front of the node `old`, whose result `root` they compute."""

    root: ir.Value
    old: ir.Node
    edit: Edit
    done: dict[int, ir.Value] = field(default_factory=dict)

    @property
    def dtype(self) -> ir.DataType:
        assert self.root.dtype is not None
        return self.root.dtype

    def value(self, operation: Operation) -> ir.Value:
        """The graph value of an operation, made once."""
        if isinstance(operation, Source):
            return self.edit.current(operation.value)
        if id(operation) not in self.done:
            self.done[id(operation)] = self._make(operation)
        return self.done[id(operation)]

    def _make(self, operation: Operation) -> ir.Value:
        if isinstance(operation, Mapped):
            return self._mapped(operation)
        if isinstance(operation, LookedUp):
            return self._looked_up(operation)
        if isinstance(operation, Moved):
            return self._moved(operation)
        if isinstance(operation, Convolved):
            return self._convolution(operation)
        assert isinstance(operation, Total | Concatenate)
        if isinstance(operation, Total):
            return self._total(operation)
        operands = [self.value(part) for part in operation.operands]
        axis = {"axis": operation.axis}
        return self._node("Concat", operands, operation.layout, operation.channels, axis)

    def _total(self, operation: Total) -> ir.Value:
        """Two at a time, if not at once; convolutions last: engines add into their result."""
        if operation.at_once:
            operands = [self.value(part) for part in operation.operands]
            total = self._node("Sum", operands, operation.layout, operation.channels)
            total.shape = _broadcast(operands) or total.shape
            return total
        order = sorted(operation.operands, key=lambda part: isinstance(part, Mapped | Convolved))
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
        held = self._held(m)
        if m.before.channels_first:  # a convolution's weight has more axes
            held = None
        from_right = m.before.axis == m.before.rank - 1
        weight = held
        if weight is None:
            turned = from_right and m.before.rank > 2
            weight = self._constant(f.dense().T if turned else f.dense(), "weight")
        if m.before.rank == 2:
            # As (C_out, C_in), which is how a new weight is stored.
            turned = held is None or not f.stored.transposed
            attributes: dict[str, Any] = {"transB": 1} if turned else {}
            operands = [x, weight, *self._bias(m.bias)]
            return self._node("Gemm", operands, m.after, f.out_channels, attributes)
        operands = [x, weight] if from_right else [weight, x]
        # Before the node is made, so that a refusal leaves nothing behind.
        self._check_codes(x)
        product = self._node("MatMul", operands, m.after, f.out_channels)
        return self._shifted(product, m)

    def _held(self, m: Mapped) -> ir.Value | None:
        """The weight of the graph, where it serves as it is."""
        held: Stored | None = m.linear.stored
        if held is None or not held.serves(m.before) or held.value.dtype != self.dtype:
            return None
        return held.value

    def _has_convolutions(self, m: Mapped) -> bool:
        """Whether an engine that runs the graph has a convolution of its numbers' type.

        ONNX Runtime has none of float64. With channels before one more axis a product will do.

        Raises:
            Unrepresentable: nothing will do.
        """
        if self.dtype != ir.DataType.DOUBLE or any(n.op_type == "Conv" for n in self.edit.graph):
            return True
        # The price is that of a convolution, which takes the bias: a product and a sum are not it.
        if m.before.rank == 3 and m.window is None and m.bias is None:
            return False
        raise Unrepresentable(
            refused("compose", "no engine", numbers="float64", engine="ONNX Runtime")
        )

    def _pointwise(self, m: Mapped, x: ir.Value) -> ir.Value:
        f, axes = m.linear, m.before.rank - 2
        weight = self._held(m)
        if weight is None:
            weight = self._constant(f.weight.reshape(*f.weight.shape, *(1,) * axes), "weight")
        attributes: dict[str, Any] = {"kernel_shape": (1,) * axes}
        if f.groups > 1:
            attributes["group"] = f.groups
        if m.window is not None and (window := m.window.window) is not None:
            attributes["strides"] = window.strides or (1,) * axes
            attributes["pads"] = window.pads or (0,) * 2 * axes
        operands = [x, weight, *self._bias(m.bias)]
        return self._node("Conv", operands, m.after, f.out_channels, attributes)

    def _diagonal(self, m: Mapped, x: ir.Value) -> ir.Value:
        scale, channels = m.linear.weight[:, 0], m.linear.out_channels
        # A mere shift.
        if (scale == 1).all():
            return self._shifted(x, m)
        if (scale == -1).all():
            return self._negated(m, x)
        if m.bias is not None and m.before.axis == 1:
            return self._normalised(m, x, scale)
        operands = [x, self._constant(_along(scale, m.before), "scale")]
        return self._shifted(self._node("Mul", operands, m.before, channels), m)

    def _negated(self, m: Mapped, x: ir.Value) -> ir.Value:
        if m.bias is None:
            return self._node("Neg", [x], m.before, m.linear.out_channels)
        bias = self._constant(_along(m.bias, m.after), "bias")
        return self._node("Sub", [bias, x], m.after, m.linear.out_channels)

    def _normalised(self, m: Mapped, x: ir.Value, scale: Array) -> ir.Value:
        """Scale and shift in one operator: a batch normalisation with mean 0 and variance 1."""
        assert m.bias is not None
        vectors = {"scale": scale, "bias": m.bias, "mean": scale * 0, "variance": scale * 0 + 1}
        operands = [self._constant(v, name) for name, v in vectors.items()]
        epsilon, channels = {"epsilon": 0.0}, m.linear.out_channels
        return self._node("BatchNormalization", [x, *operands], m.before, channels, epsilon)

    def _shifted(self, x: ir.Value, m: Mapped) -> ir.Value:
        if m.bias is None:
            return x
        bias = self._constant(_along(m.bias, m.after), "bias")
        return self._node("Add", [x, bias], m.after, m.linear.out_channels)

    def _bias(self, bias: Array | None) -> list[ir.Value]:
        if bias is None:
            return []
        return [self._constant(bias, "bias")]

    # Look-ups ----------------------------------------------------------------------------------

    def _looked_up(self, u: LookedUp) -> ir.Value:
        """Rows of a table; a Gather has the channels last, and a Transpose puts them elsewhere."""
        layout, channels = u.layout, u.linear.out_channels
        last = layout.rank - 1
        dims = [n for k, n in enumerate(layout.dims) if k != layout.axis]
        picked = self.edit.node(
            "Gather",
            [self._constant(u.table, "table"), self._row_numbers(u.marks, channels)],
            before=self.old,
            stem=f"{self.root.name}.Gather",
            dtype=self.dtype,
            shape=[*dims, channels],
        )
        if layout.axis == last:
            return picked
        order = [*range(layout.axis), last, *range(layout.axis, last)]
        return self._node("Transpose", [picked], layout, channels, {"perm": order})

    def _row_numbers(self, marks: OneHot, width: int) -> ir.Value:
        """The rows of a table that indices stand for; what lies outside, as the next outside."""
        indices = self.edit.current(marks.indices)
        dims, kind = list(indices.shape or ()), indices.dtype
        assert kind is not None
        if marks.has_other_type:
            kind = ir.DataType.INT64
            indices = self._index_node("Cast", [indices], kind, dims, {"to": int(kind)})
        if not marks.is_inside:
            bounds = [self.edit.constant(np.array(n, kind.numpy()), "bound", kind)
                      for n in marks.bounds]  # fmt: skip
            indices = self._index_node("Clip", [indices, *bounds], kind, dims)
        if numbers := marks.numbers(width):
            indices = self._index_node(
                "Gather", [self.edit.integers(numbers), indices], ir.DataType.INT64, dims
            )
            kind = ir.DataType.INT64
        if marks.squeezed is None:
            return indices
        del dims[marks.squeezed]
        if self.edit.graph.opset_imports[""] < _AXES_BY_OPERAND:
            return self._index_node("Squeeze", [indices], kind, dims, {"axes": [marks.squeezed]})
        axes = self.edit.integers([marks.squeezed])
        return self._index_node("Squeeze", [indices, axes], kind, dims)

    def _index_node(
        self,
        op: str,
        operands: Sequence[ir.Value],
        kind: ir.DataType,
        dims: Sequence[Size],
        attributes: Mapping[str, Any] | None = None,
    ) -> ir.Value:
        stem = f"{self.root.name}.{op}"
        return self.edit.node(
            op, operands, attributes, before=self.old, stem=stem, dtype=kind, shape=dims
        )

    # Kernels and space maps --------------------------------------------------------------------

    def _convolution(self, c: Convolved) -> ir.Value:
        node = c.kernel.node
        weight, attributes = node.inputs[1], dict[str, Any](node.attributes)
        if not c.unchanged:
            weight = self._constant(c.weight, "weight")
        if c.kernel.pools:
            attributes |= _geometry(c.kernel)
        operands = [self.value(c.operand), weight, *self._bias(c.bias)]
        return self._node(node.op_type, operands, c.kernel.after, c.channels, attributes)

    def _check_codes(self, x: ir.Value) -> None:
        """Raises `Unrepresentable` where ONNX Runtime would stumble over an operator behind `x`."""
        if is_of_int8_codes(x, self.edit.graph.opset_imports.get("", 0)):
            raise Unrepresentable(
                refused("compose", "codes", numbers="int8", engine="ONNX Runtime")
            )

    def _moved(self, m: Moved) -> ir.Value:
        x, step = self.value(m.operand), m.step
        node = step.node
        assert node is not None
        if step.window is not None:
            return self._sliced(x, m, step.window.strides)
        # The graph has this very value: nothing new to be made.
        if x is node.inputs[step.slot] and node.outputs[0] is not self.root:
            return self.edit.current(node.outputs[0])
        self._check_codes(x)
        if is_padded_past(x, step.pools or ()):
            raise Unrepresentable(refused("commute", "padded past", engine="ONNX Runtime"))
        operands = self._shape_operands(step, m.channels)
        operands.insert(step.slot, x)
        return self._node(node.op_type, operands, step.after, m.channels, node.attributes)

    def _sliced(self, x: ir.Value, m: Moved, strides: Sequence[int]) -> ir.Value:
        self._check_codes(x)
        axes = list(range(2, 2 + len(strides)))
        bounds = [[0] * len(axes), [2**31 - 1] * len(axes), axes, list(strides)]
        operands = map(self.edit.integers, bounds)
        return self._node(CUT, [x, *operands], m.step.after, m.channels)

    def _shape_operands(self, step: Step, channels: int) -> list[ir.Value | None]:
        """The other operands of a space map, where the number of channels is written into them."""
        assert step.node is not None
        operands = [value for k, value in enumerate(step.node.inputs) if k != step.slot]
        if step.is_spread(channels):
            return [self._spread(step.node, step.before.axis, channels)]
        if step.sized is None or step.keeps_sizes(channels):
            return operands
        at, entry = step.sized
        operands[at - 1] = self._with_channels(operands[at - 1], step, entry, channels)
        return operands

    def _spread(self, node: ir.Node, axis: int, channels: int) -> ir.Value:
        """The indices of a GatherElements for so many channels, all of them picked alike."""
        indices, base = node.inputs[1], indices_before(node)
        assert indices is not None
        assert indices.shape is not None
        assert indices.dtype is not None
        assert base is not None
        known = constant(indices)
        if known is not None:
            spread = known.take([0], axis).repeat(channels, axis)
            return self.edit.constant(spread, "indices", indices.dtype)
        dims = list(indices.shape)
        dims[axis] = channels
        # 1 where the sizes stay, whatever they are.
        wide = [n if isinstance(n, int) else 1 for n in dims]
        stem = f"{self.root.name}.indices"
        return self.edit.node("Expand", [base, self.edit.integers(wide)], before=self.old,
                              stem=stem, dtype=indices.dtype, shape=dims)  # fmt: skip

    def _with_channels(
        self, shape: ir.Value | None, step: Step, entry: int, channels: int
    ) -> ir.Value:
        assert shape is not None
        known = constant(shape)
        if known is not None:
            return self.edit.integers(_rewritten(known, step, entry, channels))
        assert shape.shape is not None
        length = shape.shape[0]
        assert isinstance(length, int)
        # The end is named: what engines infer of a slice to "the far end" can be nothing at all.
        edit = self.edit
        start, here, after, stop = map(edit.integers, [[0], [entry], [entry + 1], [length]])
        parts = []
        if entry:
            parts.append(edit.sizes(CUT, [shape, start, here], entry, self.old))
        parts.append(edit.integers([channels]))
        if entry + 1 < length:
            rest = [shape, after, stop]
            parts.append(edit.sizes(CUT, rest, length - entry - 1, self.old))
        return edit.sizes("Concat", parts, length, self.old, axis=0)

    # Making nodes ------------------------------------------------------------------------------

    def _constant(self, array: Array, what: str) -> ir.Value:
        return self.edit.constant_like(self.root, array, what)

    def _node(
        self,
        op: str,
        operands: Sequence[ir.Value | None],
        layout: Layout,
        channels: int,
        attributes: Mapping[str, Any] | None = None,
    ) -> ir.Value:
        return self.edit.node(
            op,
            operands,
            attributes,
            before=self.old,
            stem=f"{self.root.name}.{op}",
            dtype=self.dtype,
            shape=layout.shape(channels),
        )


def _geometry(kernel: KernelNode) -> dict[str, Any]:
    """The attributes of a convolution that say where its windows lie."""
    placed = kernel.placed()
    assert placed is not None
    befores, afters = zip(*placed.pads, strict=True)
    return {
        "auto_pad": "NOTSET",
        "kernel_shape": placed.weight.shape[2:],
        "strides": placed.stride,
        "dilations": placed.dilation,
        "pads": (*befores, *afters),
    }


def _is_negation(operation: Operation) -> bool:
    return isinstance(operation, Mapped) and operation.is_negation


def _broadcast(values: Sequence[ir.Value]) -> ir.Shape | None:
    """The shape of a sum of values, each of which may have 1 where others have more."""
    # A sum is as large as its operands together, not as the layout that it was planned in.
    shapes = [tuple(value.shape) for value in values if value.shape is not None]
    if len(shapes) < len(values):
        return None
    rank = max(map(len, shapes))
    every = zip(*((1,) * (rank - len(shape)) + shape for shape in shapes), strict=True)
    return ir.Shape([next((d for d in dims if d != 1), 1) for dims in every])


def _along(vector: Array, layout: Layout) -> Array:
    """(C,) shaped to broadcast along the channel axis; one number where all are the same."""
    # One number weighs less, and engines take an Add of it in one pass.
    if (vector == vector[0]).all():
        return np.asarray(vector[0])
    return vector.reshape((-1,) + (1,) * (layout.rank - 1 - layout.axis))


def _rewritten(shape: Array, step: Step, entry: int, channels: int) -> list[int]:
    """A constant shape operand for another number of channels."""
    new = [int(n) for n in shape]
    source = step.before.axis
    # A 0 copies the operand's size; at the channels it would copy another number now.
    if step.op_type == "Reshape" and source < len(new) and new[source] == 0 and source != entry:
        size = step.after.dims[source]
        new[source] = size if isinstance(size, int) else -1
    if new[entry] != -1:
        new[entry] = channels
    return new
