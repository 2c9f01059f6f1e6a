"""An ONNX classifier as a network that slides, by the rules that `nn.sliding` has for modules.

A classifier of H×W images flattens or pools a feature map of C×h×w. Where the image is larger, that
map is larger too, so

    the first linear layer after a flatten      is a convolution with an h×w kernel
    a pool over all positions                   is a pool with an h×w window and stride 1
    each later linear layer                     is a 1×1
    what acts on features that stand last       does so between two transposes
    a pool over one axis of positions           is a pool with a window along that axis alone

and all before that stays as it is. Beside each value of the classifier from there on stands the map
that takes its place, N×F×H'×W'; at the original size H' = W' = 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, NoReturn

import numpy as np
import onnx_ir as ir

from onebyone.algebra.weights import Array
from onebyone.errors import UsageError
from onebyone.graph.axes import integers, permutation
from onebyone.graph.constants import constant
from onebyone.graph.edit import Edit
from onebyone.graph.ops import operator_of
from onebyone.graph.shapes import infer
from onebyone.graph.unused import remove_unused
from onebyone.graph.values import are_read, fixed_shape, input_at, is_read, shape_of

__all__ = ["slide"]


@dataclass(frozen=True)
class Head:
    """The map that takes the place of a value of the classifier.

    Args:
        map: N×F×H'×W', or what was flattened, C×h×w at the original size.
        axis: of the value, where its features stand; it has no other axis but that of the batch
            that is longer than one.
        flat: (C, h, w) where the value is a map that was flattened, and no layer has taken it yet.
        last: whether it was flattened with its channels last.
        left: of a value N×C×… that was pooled along some axes of positions, the axes of the map
            that it still has.
    """

    map: ir.Value
    axis: int = 1
    flat: tuple[int, ...] = ()
    last: bool = False
    left: tuple[int, ...] = ()


def slide(model: ir.Model, image: ir.Value, sizes: Sequence[int]) -> None:
    """Have a classifier give its answer at every place of a larger image, in place.

    Args:
        model: as `graph.read` gives it.
        image: its input N×C×H×W.
        sizes: (H, W) of the images that it was made for.

    Raises:
        UsageError: a node of its head is of no known kind; the message names it.
    """
    assert image.shape is not None
    # The answer on one image is what there is to slide.
    image.shape = ir.Shape([1, list(image.shape)[1], *sizes])
    for node in model.graph:
        for value in node.outputs:
            if value.const_value is None:
                value.shape = None
    infer(model)
    conversion = _Conversion(Edit(model.graph), model.opset_imports.get("", 1), len(sizes))
    for node in list(model.graph):
        conversion.visit(node)
    for value in list(model.graph.outputs):
        if value in conversion.heads:
            conversion.finish(value)
    remove_unused(model.graph)


class _Conversion:
    def __init__(self, edit: Edit, version: int, spatial: int) -> None:
        self.edit, self.version, self.spatial = edit, version, spatial
        self.heads: dict[ir.Value, Head] = {}
        # Maps whose channels a transpose has put last, and the maps themselves.
        self.turned: dict[ir.Value, ir.Value] = {}

    def visit(self, node: ir.Node) -> None:
        """What takes the place of the results of a node, once the head has begun."""
        if any(value in self.heads for value in node.inputs):
            if operator_of(node).unread or not any(map(is_read, node.outputs)):
                return  # sizes, which the head needs no more
            self.heads[node.outputs[0]] = self._after(node)
            return
        head = self._begins(node)
        if head is not None:
            self.heads[node.outputs[0]] = head

    def finish(self, output: ir.Value) -> None:
        """The answer of the network is the map."""
        head = self.heads[output]
        node = output.producer()
        assert node is not None
        if head.flat or head.left:
            self._refuse(node, "it gives positions, and no scores")
        self.edit.replace(output, head.map)

    # --- Where the head begins -------------------------------------------------------------------

    def _begins(self, node: ir.Node) -> Head | None:
        """The head, where this node flattens or pools the whole of a feature map."""
        x = node.inputs[0] if node.inputs else None
        shape = None if x is None else _sizes(x)
        if x is None or shape is None or len(shape) != self.spatial + 2:
            return None
        if node.op_type == "Transpose" and permutation(node) == self._to_last():
            self.turned[node.outputs[0]] = x
            return None
        map_ = self.turned.get(x, x)
        if node.op_type in _FLATTENS:
            return self._flattened(node, map_, x in self.turned)
        kind = _POOLS.get(node.op_type)
        if kind is None:
            return None
        if x not in self.turned and self._is_partly(node):
            return self._reduced(node, Head(x, left=tuple(self._places())))
        if not self._is_whole(node, x) or not self._is_head(node):
            return None
        window = (_sizes(map_) or ())[2:]
        return Head(self._pooled(node, map_, kind, window), self._axis(node))

    def _to_last(self) -> tuple[int, ...]:
        return (0, *range(2, self.spatial + 2), 1)

    def _flattened(self, node: ir.Node, map_: ir.Value, last: bool) -> Head | None:
        sizes, after = _sizes(map_), _sizes(node.outputs[0])
        if sizes is None or after is None or not self._is_head(node):
            return None
        if after[1:] != (prod(sizes[1:]),):
            return None
        return Head(map_, flat=tuple(sizes[1:]), last=last)

    def _is_whole(self, node: ir.Node, x: ir.Value) -> bool:
        """Whether a pool or a reduction takes all positions of its operand together."""
        places = [*range(1, self.spatial + 1)] if x in self.turned else self._places()
        if node.op_type.startswith("Global"):
            return x not in self.turned
        if node.op_type.startswith("Reduce"):
            rank = self.spatial + 2
            return sorted(k % rank for k in integers(node, 1, "axes") or []) == places
        sizes, kernel = _sizes(x), node.attributes.get_ints("kernel_shape", ())
        pads = any(node.attributes.get_ints("pads", ()))
        automatic = node.attributes.get_string("auto_pad", "NOTSET") not in ("NOTSET", "VALID")
        return (
            sizes is not None and tuple(sizes[2:]) == tuple(kernel) and not pads and not automatic
        )

    def _is_partly(self, node: ir.Node) -> bool:
        """Whether a reduction takes the positions along some axes together, and drops these."""
        if not node.op_type.startswith("Reduce") or bool(node.attributes.get_int("keepdims", 1)):
            return False
        axes = {k % (self.spatial + 2) for k in integers(node, 1, "axes") or []}
        return axes != set() and axes < {*self._places()}

    def _reduced(self, node: ir.Node, head: Head) -> Head:
        """A reduction over axes that are left, each as a window of its whole length."""
        shape, kind = _sizes(node.inputs[0]), _POOLS.get(node.op_type)  # type: ignore[arg-type]
        places = dict(enumerate(head.left, 2))
        axes = [k % (2 + len(places)) for k in integers(node, 1, "axes") or []]
        keeps = node.attributes.get_int("keepdims", 1)
        if not axes or shape is None or kind is None or keeps or not {*axes} <= {*places}:
            self._refuse(node, "it reduces more than positions, or keeps their axes")
        window = [1] * self.spatial
        for axis in axes:
            window[places[axis] - 2] = shape[axis]
        left = tuple(place for axis, place in places.items() if axis not in axes)
        return Head(self._pooled(node, head.map, kind, window), left=left)

    def _behind(self, node: ir.Node, head: Head) -> Head:
        """What acts on N×C×… that has lost axes of positions."""
        if node.op_type.startswith("Reduce"):
            return self._reduced(node, head)
        if node.op_type in ("Flatten", "Reshape"):
            before, after = _sizes(node.inputs[0]), _sizes(node.outputs[0])  # type: ignore[arg-type]
            if before is None or after != (1, prod(before)):
                self._refuse(node, "it regroups what has lost an axis of positions")
            return Head(head.map, flat=(before[1], *self._spread(head, before[2:], 1)))
        if node.op_type == "Conv":
            return self._wide(node, head)
        if node.op_type == "BatchNormalization" and not node.attributes.get_int("training_mode", 0):
            operands = [head.map, *node.inputs[1:]]
            return replace(head, map=self._node(node, node.op_type, operands, {**node.attributes}))
        if not operator_of(node).elementwise:
            self._refuse(node, "it acts on what has lost an axis of positions")
        return self._elementwise(node)

    def _spread(self, head: Head, given: Sequence[int], other: int) -> list[int]:
        """What is given for the axes that are left, for all: `other` for those that are gone."""
        each = dict(zip(head.left, given, strict=True))
        return [each.get(axis, other) for axis in self._places()]

    def _wide(self, node: ir.Node, head: Head) -> Head:
        """A convolution along the axes that are left, as one along all of them."""
        weight, count = constant(node.inputs[1]), len(head.left)
        if weight is None or node.attributes.get_string("auto_pad", "NOTSET") != "NOTSET":
            self._refuse(node, "its weight is computed, or its padding hangs on the size")
        attributes: dict[str, Any] = {"group": node.attributes.get_int("group", 1)}
        for name in ("strides", "dilations"):
            given = node.attributes.get_ints(name, [1] * count)
            attributes[name] = self._spread(head, given, 1)
        pads = node.attributes.get_ints("pads", [0] * 2 * count)
        halves = (self._spread(head, half, 0) for half in (pads[:count], pads[count:]))
        attributes["pads"] = [n for half in halves for n in half]
        kernel = weight.reshape(*weight.shape[:2], *self._spread(head, weight.shape[2:], 1))
        operands = [head.map, self._like(node, 1, kernel, 1.0), *node.inputs[2:]]
        return replace(head, map=self._node(node, "Conv", operands, attributes))

    def _places(self) -> list[int]:
        return [*range(2, self.spatial + 2)]

    def _is_head(self, node: ir.Node) -> bool:
        """Whether all that is computed from a node has features only, and no positions."""
        # Only then can it slide: what follows meets one position, and no larger map.
        waiting, reached = [node], {node}
        while waiting:
            for value in waiting.pop().outputs:
                sizes = _sizes(value)
                if sizes is not None and sum(n > 1 for n in sizes[1:]) > 1:
                    return False
                later = {user for user, _ in value.uses()} - reached
                reached |= later
                waiting += later
        return True

    def _pooled(self, node: ir.Node, map_: ir.Value, kind: str, window: Sequence[int]) -> ir.Value:
        """A pool of such windows, at every position."""
        channels = (_sizes(node.inputs[0]) or ())[1]  # type: ignore[arg-type]
        if kind != "Sum":
            count = {"count_include_pad": 1} if kind == "AveragePool" else {}
            return self._node(node, kind, [map_], {"kernel_shape": window, **count})
        assert map_.dtype is not None
        ones = np.ones((channels, 1, *window))
        weight = self.edit.constant(ones, f"{node.outputs[0].name}.ones", map_.dtype)
        return self._node(node, "Conv", [map_, weight], {"group": channels})

    # --- In the head -----------------------------------------------------------------------------

    def _after(self, node: ir.Node) -> Head:
        rule, operator = _RULES.get(node.op_type), operator_of(node)
        if are_read(node.outputs[1:]):
            self._refuse(node, "it has several results")
        partly = next((h for v in node.inputs if (h := self.heads.get(v)) and h.left), None)  # type: ignore[arg-type]
        if partly is not None:
            return self._behind(node, partly)
        if rule is not None:
            return rule(self, node)
        if operator.elementwise:
            return self._elementwise(node)
        if operator.mixes is None or operator.splits:
            self._refuse(node, "no rule says how it acts on a map")
        return self._along_features(node, set(operator.mixes(node, self.version)))

    def _first(self, node: ir.Node) -> Head:
        head = self.heads.get(node.inputs[0])  # type: ignore[arg-type]
        if head is None:
            self._refuse(node, "its first operand is not what the head computes")
        return head

    def linear(self, node: ir.Node) -> Head:
        """A Gemm, or a product with a constant matrix."""
        head, weight = self._first(node), constant(node.inputs[1])
        rank = len(shape_of(node.inputs[0]) or ())
        if weight is None or weight.ndim != 2 or head.axis != rank - 1:
            self._refuse(node, "its weight is no constant matrix on the axis of features")
        bias, get = constant(input_at(node, 2)), node.attributes.get_float
        if node.attributes.get_int("transA", 0) or (bias is None and input_at(node, 2) is not None):
            self._refuse(node, "its bias is computed, or its operand transposed")
        if not node.attributes.get_int("transB", 0):
            weight = weight.T
        kernel = _kernel(weight, head, self.spatial)
        operands = [head.map, self._like(node, 1, kernel, get("alpha", 1.0))]
        if bias is not None:
            if bias.size not in (1, len(weight)):
                self._refuse(node, "its bias is of another size")
            wide = np.broadcast_to(bias.reshape(-1), len(weight))
            operands.append(self._like(node, 2, wide, get("beta", 1.0)))
        return Head(self._node(node, "Conv", operands, {}), self._axis(node))

    def _like(self, node: ir.Node, at: int, numbers: Array, factor: float) -> ir.Value:
        if factor != 1:
            numbers = numbers.astype(np.float64) * factor
        return self.edit.constant_like(node.inputs[at], np.ascontiguousarray(numbers), "sliding")

    def viewed(self, node: ir.Node) -> Head:
        """What gives the features another shape."""
        head, axis = self._first(node), self._axis(node)
        before, after = (_sizes(value) for value in (node.inputs[0], node.outputs[0]) if value)
        if before is None or after is None or prod(before) != prod(after):
            self._refuse(node, "it moves features to other images of the batch")
        if head.flat and len(after) != 2:
            self._refuse(node, "it cuts apart what was flattened")
        return replace(head, axis=axis)

    def pointwise(self, node: ir.Node) -> Head:
        """A convolution or a pool of one position, on maps of one position."""
        head, weight = self._first(node), fixed_shape(input_at(node, 1))
        kernel = tuple(node.attributes.get_ints("kernel_shape", (weight or ())[2:]))
        if not node.op_type.startswith("Global"):
            strides = node.attributes.get_ints("strides", ())
            pads = node.attributes.get_ints("pads", ())
            if set(kernel) != {1} or set(strides) - {1} or any(pads) or head.flat:
                self._refuse(node, "it is no 1×1")
        elif head.axis == 1:
            return head
        return self._copied(node, [head.map, *node.inputs[1:]])

    def normalised(self, node: ir.Node) -> Head:
        """A norm with one scale for each feature."""
        head = self._first(node)
        training = node.attributes.get_int("training_mode", 0)
        if head.flat or head.axis != 1 or training:
            self._refuse(node, "it differs between positions")
        return self._copied(node, [head.map, *node.inputs[1:]])

    def concatenated(self, node: ir.Node) -> Head:
        rank, operands = len(shape_of(node.outputs[0]) or ()), []
        for value in node.inputs:
            head = self.heads.get(value)  # type: ignore[arg-type]
            if head is None or head.flat or head.axis != node.attributes.get_int("axis", 0) % rank:
                self._refuse(node, "it joins the head with something else")
            operands.append(head.map)
        return Head(self._node(node, "Concat", operands, {"axis": 1}), self._axis(node))

    def _elementwise(self, node: ir.Node) -> Head:
        found = [self.heads[value] for value in node.inputs if value in self.heads]
        if len({(head.flat, head.last, head.axis, head.left) for head in found}) > 1:
            self._refuse(node, "it meets values whose features stand in different places")
        operands = [self._operand(node, value, found[0]) for value in node.inputs]
        made = self._node(node, node.op_type, operands, {**node.attributes})
        return replace(found[0], map=made)

    def _operand(self, node: ir.Node, value: ir.Value | None, head: Head) -> ir.Value | None:
        """An operand of what is elementwise, for maps."""
        if value is None:
            return None
        rank = len(shape_of(node.outputs[0]) or ())
        if value in self.heads:
            if len(shape_of(value) or ()) != rank:
                self._refuse(node, "it meets values whose features stand in different places")
            return self.heads[value].map
        numbers = constant(value)
        if numbers is None:
            self._refuse(node, "it meets what the head does not compute")
        if numbers.size == 1:
            return self.edit.constant_like(value, numbers.reshape(()), "sliding")
        own = head.axis - rank + numbers.ndim
        if head.flat or own < 0 or numbers.shape[own] != numbers.size:
            self._refuse(node, "it is given numbers for each position")
        shape = (1, numbers.size, *[1] * self.spatial)
        return self.edit.constant_like(value, numbers.reshape(shape), "sliding")

    def _along_features(self, node: ir.Node, mixed: set[int]) -> Head:
        """What acts on the last axes: between two transposes the features of a map stand there."""
        head, sizes = self._first(node), _sizes(node.outputs[0])
        if not mixed:
            return replace(head, map=self._copied(node, [head.map, *node.inputs[1:]]).map)
        others = {k for k in mixed if sizes is None or sizes[k] != 1} - {head.axis}
        if head.flat or others or any(constant(v) is None for v in node.inputs[1:] if v):
            self._refuse(node, "it mixes more than the features")
        back = (0, self.spatial + 1, *range(1, self.spatial + 1))
        x = self._node(node, "Transpose", [head.map], {"perm": self._to_last()})
        attributes = {**node.attributes, "axis": self.spatial + 1}
        y = self._node(node, node.op_type, [x, *node.inputs[1:]], attributes)
        return replace(head, map=self._node(node, "Transpose", [y], {"perm": back}))

    # --- Making nodes ----------------------------------------------------------------------------

    def _copied(self, node: ir.Node, operands: Sequence[ir.Value | None]) -> Head:
        made = self._node(node, node.op_type, operands, {**node.attributes})
        return Head(made, self._axis(node))

    def _node(
        self,
        node: ir.Node,
        op: str,
        operands: Sequence[ir.Value | None],
        attributes: Mapping[str, Any],
    ) -> ir.Value:
        stem = f"{node.outputs[0].name}.sliding"
        dtype = node.outputs[0].dtype
        return self.edit.node(op, operands, attributes, before=node, stem=stem, dtype=dtype)

    def _axis(self, node: ir.Node) -> int:
        """Where the features stand in a result of the classifier; 1 where there is one only."""
        sizes = _sizes(node.outputs[0])
        long = [k for k, n in enumerate(sizes or ()) if k and n > 1]
        if sizes is None or len(long) > 1 or len(sizes) < 2:
            self._refuse(node, "its result has positions, or a shape that is not known")
        return long[0] if long else 1

    def _refuse(self, node: ir.Node, why: str) -> NoReturn:
        name = node.name or node.outputs[0].name
        raise UsageError(
            f"{node.op_type} {name} stands in the way of a network that slides: {why}; "
            "take the part of the model that gives the scores"
        )


def _sizes(value: ir.Value) -> tuple[int, ...] | None:
    """The sizes of a value at the original size of the image, the batch taken to be one."""
    shape = shape_of(value)
    if not shape:
        return None
    known = [n for n in shape[1:] if isinstance(n, int)]
    if len(known) + 1 < len(shape):
        return None
    return (1, *known)


def _kernel(weight: Array, head: Head, spatial: int) -> Array:
    """A weight (F_out, F_in) as a kernel: of one position, or of what was flattened."""
    if not head.flat:
        return weight.reshape(*weight.shape, *[1] * spatial)
    channels, *window = head.flat
    if not head.last:
        return weight.reshape(len(weight), channels, *window)
    return np.moveaxis(weight.reshape(len(weight), *window, channels), -1, 1)


_FLATTENS = ("Flatten", "Reshape", "Squeeze")
_POOLS = {
    "GlobalAveragePool": "AveragePool", "GlobalMaxPool": "MaxPool", "AveragePool": "AveragePool",
    "MaxPool": "MaxPool", "ReduceMean": "AveragePool", "ReduceMax": "MaxPool", "ReduceSum": "Sum",
}  # fmt: skip
_RULES: dict[str, Callable[[_Conversion, ir.Node], Head]] = {
    "Gemm": _Conversion.linear,
    "MatMul": _Conversion.linear,
    "Flatten": _Conversion.viewed,
    "Reshape": _Conversion.viewed,
    "Squeeze": _Conversion.viewed,
    "Unsqueeze": _Conversion.viewed,
    "Conv": _Conversion.pointwise,
    "GlobalAveragePool": _Conversion.pointwise,
    "GlobalMaxPool": _Conversion.pointwise,
    "BatchNormalization": _Conversion.normalised,
    "Concat": _Conversion.concatenated,
}
