"""Siblings: maps of one value that can be stacked, with what is elementwise behind each.

    f(W₁x + b₁),  f(W₂x + b₂)           the same x, the same kernel, strides and pads, the same f

A sibling is a Conv without groups, a Gemm or a MatMul with constant weights; behind a MatMul, the
addition of its bias; behind either, one elementwise operator, as long as nobody else reads what
comes in between.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import onnx_ir as ir

from onebyone.algebra.weights import Array
from onebyone.graph.channels import weight_of
from onebyone.graph.constants import constant, is_float, per_channel
from onebyone.graph.ops import Role, role

__all__ = ["Sibling", "ending_at", "forms", "once"]


@dataclass(frozen=True, eq=False)
class Sibling:
    """A map of a value, as its nodes compute it.

    Args:
        node: the Conv, Gemm or MatMul.
        weight: its constant weight, as stored.
        bias: (C_out,) or None.
        shift: the Add of a MatMul's bias, or None.
        then: the elementwise operator behind, or None.
        key: equal for siblings that can be stacked.
    """

    node: ir.Node
    weight: Array
    bias: Array | None
    shift: ir.Node | None
    then: ir.Node | None
    key: tuple[object, ...]

    @property
    def operand(self) -> ir.Value:
        """x."""
        operand = self.node.inputs[0]
        assert operand is not None
        return operand

    @property
    def nodes(self) -> tuple[ir.Node, ...]:
        """All of its nodes, in the order of computation."""
        return tuple(n for n in (self.node, self.shift, self.then) if n is not None)

    @property
    def result(self) -> ir.Value:
        """f(Wx + b)."""
        return self.nodes[-1].outputs[0]

    @property
    def axis(self) -> int:
        """The axis of the channels in its result."""
        return _rank(self.result) - 1 if self.node.op_type == "MatMul" else 1

    @property
    def out_axis(self) -> int:
        """The axis of its weight that its output channels lie on."""
        layout = weight_of(self.node)
        assert layout is not None
        return layout.rows

    @property
    def channels(self) -> int:
        """C_out."""
        return int(self.weight.shape[self.out_axis])


def forms(node: ir.Node) -> Iterator[Sibling]:
    """A map as a sibling, then with more and more of what is behind it; none if it is none."""
    found = _mapped(node)
    if found is None:
        return
    yield found
    if found.node.op_type == "MatMul" and (shifted := _shifted(found)) is not None:
        yield (found := shifted)
    if (ended := _ended(found)) is not None:
        yield ended


def ending_at(value: ir.Value) -> Sibling | None:
    """The sibling whose result is `value`."""
    node = value.producer()
    for _ in range(3):  # an elementwise operator, an addition, the map
        if node is None:
            return None
        for found in forms(node):
            if found.result is value:
                return found
        moving = [v for v in node.inputs if v is not None and constant(v) is None]
        node = moving[0].producer() if len(moving) == 1 else None
    return None


def once(value: ir.Value) -> bool:
    """Whether one node reads a value, and nobody else."""
    return len(value.uses()) == 1 and not value.is_graph_output()


def _mapped(node: ir.Node) -> Sibling | None:
    layout = weight_of(node)
    if layout is None or node.op_type == "ConvTranspose":
        return None
    x, weight = node.inputs[0], constant(node.inputs[1])
    if x is None or weight is None or not is_float(node.outputs[0]):
        return None
    if node.attributes.get_int("group", 1) != 1 or not _rank(node.outputs[0]):
        return None
    if node.op_type == "MatMul" and weight.ndim != 2:
        return None
    held = node.inputs[2] if len(node.inputs) > 2 else None
    bias = None if held is None else _vector(held, 2, 1, weight.shape[layout.rows])
    if held is not None and bias is None:
        return None
    kernel = weight.shape[2:] if node.op_type == "Conv" else ()
    return Sibling(node, weight, bias, None, None, (node.op_type, id(x), kernel, _options(node)))


def _shifted(found: Sibling) -> Sibling | None:
    """With the addition of a constant vector behind it."""
    y = found.result
    add = _reader(found)
    if add is None or add.op_type != "Add" or add.domain != "":
        return None
    other = add.inputs[1] if add.inputs[0] is y else add.inputs[0]
    bias = None if other is None else _vector(other, _rank(y), found.axis, found.channels)
    return None if bias is None else replace(found, bias=bias, shift=add)


def _ended(found: Sibling) -> Sibling | None:
    """With the elementwise operator behind it; its other operands are single numbers."""
    node, y = _reader(found), found.result
    if node is None or role(node) is not Role.ELEMENTWISE:
        return None
    if _rank(node.outputs[0]) != _rank(y) or not is_float(node.outputs[0]):
        return None
    numbers = [None if v is None else constant(v) for v in node.inputs[1:]]
    if any(v is not None and (a is None or a.size != 1)
           for v, a in zip(node.inputs[1:], numbers, strict=True)):  # fmt: skip
        return None
    values = tuple(None if a is None else a.item() for a in numbers)
    return replace(found, then=node, key=(*found.key, node.op_type, values, _options(node)))


def _reader(found: Sibling) -> ir.Node | None:
    """The one node that reads a sibling's result, in the same graph."""
    uses = found.result.uses() if once(found.result) else ()
    node = next((use.node for use in uses), None)
    return node if node is not None and node.graph is found.node.graph else None


def _vector(value: ir.Value, rank: int, axis: int, channels: int) -> Array | None:
    held = constant(value)
    return None if held is None else per_channel(held, rank, axis, channels)


def _rank(value: ir.Value) -> int:
    return 0 if value.shape is None else value.shape.rank()


_NEUTRAL = {"auto_pad": "NOTSET", "group": 1, "alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0}
"""What says nothing, together with strides and dilations of 1 and pads of 0."""


def _options(node: ir.Node) -> tuple[tuple[str, str], ...]:
    """The attributes that change what a node computes, in the order of their names."""
    return tuple(
        (name, str(a.value))
        for name, a in sorted(node.attributes.items())
        if name != "kernel_shape" and not _is_neutral(node, name)
    )


def _is_neutral(node: ir.Node, name: str) -> bool:
    if name in ("strides", "dilations", "pads"):
        idle = 0 if name == "pads" else 1
        return all(n == idle for n in node.attributes.get_ints(name))
    return name in _NEUTRAL and node.attributes[name].value == _NEUTRAL[name]
