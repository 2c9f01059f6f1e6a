"""Demand: positions that nobody asks for are not computed.

    S f(x, y) = f(Sx, Sy)          f elementwise, a concat or a 1×1; S: every g-th position
    S K_s x   = K_{g·s} x          K_s: a convolution or a pool of stride s, its sizes rounded down

Where all consumers of a value take every g-th position only (1×1s with a stride, subsampling), S
moves back through what computes the value, up to the strides of the convolutions behind it. On the
way, a value that others read whole is subsampled by an operator of its own. That is done where the
convolutions save more than these operators cost.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod

import onnx_ir as ir

from onebyone.algebra.refusal import Refusal
from onebyone.cost.profile import Cost, Profile
from onebyone.graph.channels import is_pointwise_convolution
from onebyone.graph.constants import constant, is_float
from onebyone.graph.count_walk import name_of
from onebyone.graph.edit import Edit
from onebyone.graph.ops import Role, role
from onebyone.graph.shapes import Sizes
from onebyone.optimize.rewritten import Rewrite, Task

__all__ = ["drop", "hoist_strides", "rounds_down", "stays"]

_POINTWISE = (Role.ELEMENTWISE, Role.SUM, Role.IDENTITY, Role.CONCAT)
_MORE = {"BatchNormalization", "Cast", "Div", "Max", "Mean", "Min", "Mul", "Neg", "Where"}
_STRIDED = {"AveragePool", "Conv", "LpPool", "MaxPool"}


@dataclass(eq=False)
class _Cone:
    """What is computed at fewer positions.

    Args:
        root: the value that is asked for with `stride`, by `consumers`.
        shape: of the root with the stride taken.
        inside: nodes that go on as they are, on smaller tensors.
        strided: nodes whose stride grows.
        border: values that have to be subsampled.
    """

    root: ir.Value
    stride: tuple[int, ...]
    shape: ir.Shape
    consumers: list[ir.Node]
    inside: list[ir.Node] = field(default_factory=list)
    strided: list[ir.Node] = field(default_factory=list)
    border: dict[ir.Value, None] = field(default_factory=dict)


def hoist_strides(task: Task) -> Iterator[Rewrite]:
    """Move strides back, in place, wherever that saves; last values first, until none moves."""
    graph = task.model.graph
    edit = Edit(graph)
    for node in reversed(list(graph)):
        for value in node.outputs:
            cone = _cone(value)
            if cone is None:
                continue
            before, after = _costs(cone, task.sizes, task.profile)
            if after < before and after.macs <= before.macs:
                _take(cone, graph, edit)
                nodes = tuple(sorted(name_of(n) for n in (*cone.inside, *cone.strided)))
                # The consumers have no stride any more.
                made = (*edit.fresh(), *map(name_of, cone.consumers), *nodes)
                saved = {"demand": before.macs - after.macs}
                yield Rewrite(value.name or "", nodes, saved, before, after, made=made)


def stays(node: ir.Node) -> Refusal | None:
    """Why the stride of a node did not move back; None if it has none, or nothing is behind it."""
    value = node.inputs[0] if node.inputs else None
    maker = None if value is None else value.producer()
    if value is None or maker is None or _asked(node, value) is None:
        return None
    if value.is_graph_output() or len({_asked(use.node, value) for use in value.uses()}) > 1:
        return Refusal("demand", f"the result of {maker.op_type} is read at other positions too")
    if maker.op_type in _STRIDED and not rounds_down(maker):
        return Refusal("demand", f"{maker.op_type} rounds its sizes up, or pads by itself")
    if _cone(value) is None:
        return Refusal("demand", f"no stride behind {maker.op_type} to move to")
    return Refusal("demand", "subsampling on the way costs more than is saved")


# What is asked for --------------------------------------------------------------------------------


def _cone(value: ir.Value) -> _Cone | None:
    """All that a stride asked of `value` can move through; None if there is none, or nothing."""
    consumers = [use.node for use in value.uses()]
    if value.is_graph_output() or not is_float(value) or value.shape is None:
        return None
    if any(map(value.shape.is_unknown_dim, range(2, value.shape.rank()))):
        return None  # nobody could tell which operands have all of its positions
    if any(node.graph is not value.graph for node in consumers):
        return None
    asked = {_asked(node, value) for node in consumers}
    if len(asked) != 1:
        return None
    stride, taken = next(iter(asked)), consumers[0].outputs[0].shape
    if stride is None or taken is None:
        return None
    shape = ir.Shape([*value.shape.dims[:2], *taken.dims[2:]])
    cone = _Cone(value, stride, shape, consumers)
    if not _grow(cone, value):
        return None
    while inner := [v for v in list(cone.border) if _serves_only(v, cone) and _grow(cone, v)]:
        for v in inner:
            del cone.border[v]
    return cone if cone.strided and all(map(is_float, cone.border)) else None


def _asked(node: ir.Node, value: ir.Value) -> tuple[int, ...] | None:
    """The stride with which a node takes `value`, if every position that it skips is unused."""
    if node.domain != "" or node.inputs[0] is not value:
        return None
    if not (is_pointwise_convolution(node) or _is_subsampling(node)) or not _unpadded(node):
        return None
    strides = tuple(node.attributes.get_ints("strides", ()))
    return strides if any(s > 1 for s in strides) else None


def _is_subsampling(node: ir.Node) -> bool:
    """Whether a node is a pool with windows of one position."""
    kernel = node.attributes.get_ints("kernel_shape", ())
    alone = not any(v.uses() or v.is_graph_output() for v in node.outputs[1:])
    return node.op_type in ("AveragePool", "MaxPool") and set(kernel) == {1} and alone


def _unpadded(node: ir.Node) -> bool:
    return not any(node.attributes.get_ints("pads", ())) and rounds_down(node)


def rounds_down(node: ir.Node) -> bool:
    """Whether sizes are rounded down, so that a stride of a stride is their product."""
    automatic = node.attributes.get_string("auto_pad", "NOTSET") in ("SAME_UPPER", "SAME_LOWER")
    return not automatic and not node.attributes.get_int("ceil_mode", 0)


def _grow(cone: _Cone, value: ir.Value) -> bool:
    """Take the producer of `value` into the cone; False where it needs every position."""
    node = value.producer()
    if node is None or node.domain != "":
        return False
    if len(node.outputs) > 1 and any(v.uses() or v.is_graph_output() for v in node.outputs[1:]):
        return False
    if node.op_type in _STRIDED:
        if not rounds_down(node) or len(cone.stride) != len(_strides(node, len(cone.stride))):
            return False
        cone.strided.append(node)
        return True
    if role(node) not in _POINTWISE and node.op_type not in _MORE:
        return False
    if node.attributes.get_int("training_mode", 0):
        return False
    if role(node) is Role.CONCAT and not _stacks_channels(node):
        return False
    operands = _operands(node, value)
    if operands is None:
        return False
    cone.inside.append(node)
    cone.border.update(dict.fromkeys(operands))
    return True


def _stacks_channels(node: ir.Node) -> bool:
    """Whether a concat leaves the positions alone."""
    shape = node.outputs[0].shape
    return shape is not None and node.attributes.get_int("axis", 1) % shape.rank() in (0, 1)


def _strides(node: ir.Node, axes: int) -> tuple[int, ...]:
    return tuple(node.attributes.get_ints("strides", (1,) * axes))


def _operands(node: ir.Node, value: ir.Value) -> list[ir.Value] | None:
    """The operands that have all positions of `value`; None if one has only some of them."""
    found: list[ir.Value] = []
    assert value.shape is not None
    space = value.shape.dims[2:]
    for operand in dict.fromkeys(v for v in node.inputs if v is not None):
        if operand.shape is None:
            return None
        own = operand.shape.dims[max(operand.shape.rank() - len(space), 0) :]
        if node.op_type == "BatchNormalization" and operand is not node.inputs[0]:
            continue
        if operand.shape.rank() == value.shape.rank() and own == space:
            if constant(operand) is not None:
                return None
            found.append(operand)
        elif any(size != 1 for size in own):
            return None
    return found


def _serves_only(value: ir.Value, cone: _Cone) -> bool:
    """Whether all that reads a value is inside the cone."""
    return not value.is_graph_output() and all(use.node in cone.inside for use in value.uses())


# What it costs ------------------------------------------------------------------------------------


def _costs(cone: _Cone, sizes: Sizes, profile: Profile) -> tuple[Cost, Cost]:
    """Of the convolutions and pools in their old strides; in the new, with the subsampling."""
    before = after = Cost()
    share = _share(cone, sizes)
    for node in cone.strided:
        macs, moved = _work(node, sizes)
        before += Cost(profile.time(macs, moved), macs)
        after += Cost(profile.time(macs * share, moved * share), round(macs * share))
    for value in cone.border:
        elements = share * prod(sizes.shape(value) or ())
        after += Cost(profile.time(elements=2 * profile.transpose * elements))
    return before, after


def _share(cone: _Cone, sizes: Sizes) -> float:
    """The share of the root's positions that is asked for."""
    whole, taken = (sizes.shape(v) for v in (cone.root, cone.consumers[0].outputs[0]))
    if whole is None or taken is None or 0 in whole:
        return 1.0
    return prod(taken[2:]) / prod(whole[2:])


def _work(node: ir.Node, sizes: Sizes) -> tuple[int, int]:
    result = sizes.shape(node.outputs[0]) or ()
    weight = constant(node.inputs[1]) if node.op_type == "Conv" else None
    taps = 0 if weight is None else prod(weight.shape[1:])
    return prod(result) * taps, prod(result)


# Carrying it out ----------------------------------------------------------------------------------


def _take(cone: _Cone, graph: ir.Graph, edit: Edit) -> None:
    for value in cone.border:
        _subsample(value, cone, graph, edit)
    for node in cone.strided:
        grown = zip(_strides(node, len(cone.stride)), cone.stride, strict=True)
        node.attributes["strides"] = ir.AttrInt64s("strides", [a * b for a, b in grown])
    for node in (*cone.inside, *cone.strided):
        for value in node.outputs:
            if value.shape is not None:
                value.shape = ir.Shape([*value.shape.dims[:2], *cone.shape.dims[2:]])
    for node in cone.consumers:
        if node.op_type == "Conv":
            node.attributes["strides"] = ir.AttrInt64s("strides", [1] * len(cone.stride))
        else:
            drop(node, cone.root, graph)


def drop(node: ir.Node, value: ir.Value, graph: ir.Graph, result: ir.Value | None = None) -> None:
    """Read `value` instead of the result of a node, under its name where that is an output's."""
    result = node.outputs[0] if result is None else result
    name, is_output = result.name, result.is_graph_output()
    if is_output and value.is_graph_output():  # which has a name of its own to keep
        _copy(result, value, graph)
        return
    result.replace_all_uses_with(value, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    if is_output:
        value.name = name


def _copy(old: ir.Value, value: ir.Value, graph: ir.Graph) -> None:
    """Let a node's result be a copy of `value`."""
    node = old.producer()
    assert node is not None
    copy = ir.Node("", "Identity", [value], num_outputs=1, name=node.name)
    new = copy.outputs[0]
    new.name, new.type, new.shape = old.name, old.type, old.shape
    graph.insert_before(node, copy)
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    graph.remove(node, safe=True)


def _subsample(value: ir.Value, cone: _Cone, graph: ir.Graph, edit: Edit) -> None:
    """Give the cone every g-th position of a value."""
    users = [use for use in value.uses() if use.node in cone.inside]
    name = edit.mint(f"{value.name}.subsampled")
    pools = value.dtype in (ir.DataType.FLOAT, ir.DataType.FLOAT16)
    node = (_pool if pools else _slice)(value, cone.stride, graph, edit)
    result, node.name = node.outputs[0], name
    assert value.shape is not None
    result.name, result.type = name, value.type
    result.shape = ir.Shape([*value.shape.dims[:2], *cone.shape.dims[2:]])
    first = min((use.node for use in users), key=list(graph).index)
    graph.insert_before(first, node)
    for use in users:
        use.node.replace_input_with(use.idx, result)


def _pool(value: ir.Value, stride: tuple[int, ...], graph: ir.Graph, edit: Edit) -> ir.Node:
    """Averages over windows of one, which engines compute in the layout they keep images in."""
    attributes = [
        ir.AttrInt64s("kernel_shape", [1] * len(stride)),
        ir.AttrInt64s("strides", stride),
    ]
    return ir.Node("", "AveragePool", [value], attributes, num_outputs=1)


def _slice(value: ir.Value, stride: tuple[int, ...], graph: ir.Graph, edit: Edit) -> ir.Node:
    """For types that ONNX Runtime has no pooling of."""
    axes = range(2, 2 + len(stride))
    bounds = [[0] * len(stride), [2**31 - 1] * len(stride), [*axes], [*stride]]
    operands = [edit.integers(numbers) for numbers in bounds]
    return ir.Node("", "Slice", [value, *operands], num_outputs=1)
