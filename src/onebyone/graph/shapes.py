"""Symbolic shapes: what each tensor's dimensions are in terms of the inputs', and as numbers.

`infer` gives each value a shape whose dimensions are integers or expressions such as
`floor(height/2 + 1/2)` (by onnx-shape-inference, node by node: one that fails leaves the others
alone). `Sizes` then binds the free dimensions of the inputs and evaluates.
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Mapping, Sequence
from copy import copy
from functools import cached_property
from math import gcd

import numpy as np
import onnx_ir as ir
from onnx_shape_inference import SYM_DATA_KEY, registry

from onebyone.algebra.weights import Array
from onebyone.counting.assumed import said
from onebyone.errors import UsageError
from onebyone.graph.checks import one_line, quiet
from onebyone.graph.dimensions import evaluated, names, plain, safe
from onebyone.graph.fold import known_numbers
from onebyone.graph.shape_rules import LONGEST, Context, complete, keeps_sizes
from onebyone.graph.symbolic import simplified
from onebyone.graph.usual import usual_sizes
from onebyone.graph.values import Size, has_subgraphs, rank_of

__all__ = ["Sizes", "infer", "name_inputs", "shapes_of"]


def infer(model: ir.Model) -> None:
    """Give every value of the main graph that can have one a shape and an element type, in place.

    What the file says about values between inputs and outputs is kept only where nothing can be
    inferred. Free input dimensions without a name, or with one that is no expression, get a new
    name (`write` restores what the source declared). Subgraphs are not entered: what they
    declare about their outputs is used.

    >>> import onnx_ir, onnx.parser
    >>> text = "g (float[N,2] x) => (float[M,2] y) {y = Concat <axis=0> (x, x)}"
    >>> head = '<ir_version: 8, opset_import: ["": 17]>'
    >>> model = onnx_ir.from_proto(onnx.parser.parse_model(head + text))
    >>> infer(model)
    >>> str(model.graph.outputs[0].shape)
    '[2*N,2]'
    """
    registry.collect()
    known = name_inputs(model.graph)
    context = Context(model.opset_imports, policy="override")
    context.reserve_symbol_names(known)
    _settle_initializers(model.graph)
    constant = {value for node in model.graph for value in node.outputs if value.const_value}
    numbers: dict[ir.Value, Array] = {}
    with quiet("onnx_shape_inference"):
        for node in model.graph:
            _infer_node(context, node, known)
            _evaluate(context, node, numbers)
    for value in (value for node in model.graph for value in node.outputs):
        value.metadata_props.pop(SYM_DATA_KEY, None)
        if value not in constant:  # inference leaves its partial results there
            value.const_value = None


def name_inputs(graph: ir.Graph) -> frozenset[str]:
    """Give each free input dimension a name that can be calculated with; return the names.

    It is what `Sizes` needs where nothing but the inputs' sizes is asked for.
    """
    taken = {name for value in graph.inputs for dim in value.shape or () for name in _names(dim)}
    renamed: dict[str, str] = {}
    for value in graph.inputs:
        if value.shape is None:
            continue
        dims: list[Size] = []
        for axis, dim in enumerate(value.shape):
            if not isinstance(dim, int) and not plain(dim.value or ""):
                old = dim.value or f"{value.name}_{axis}"
                # Equal names stay equal; dimensions without one are each of their own.
                if old not in renamed or not dim.value:
                    renamed[old] = _fresh(old, taken)
                dim = ir.SymbolicDim(renamed[old])
            dims.append(dim)
        value.shape = ir.Shape(dims)
    return frozenset(taken)


def _text(dim: Size) -> str:
    """What a dimension says that is no number; empty for a number, and where it says nothing."""
    if isinstance(dim, int):
        return ""
    return dim.value or ""


def _names(dim: Size) -> frozenset[str]:
    return names(_text(dim))


def _fresh(text: str, taken: set[str]) -> str:
    """A name like `text` that is not among `taken`, and is from now on."""
    base = safe(text)
    name, count = base, 1
    while name in taken:
        count += 1
        name = f"{base}_{count}"
    taken.add(name)
    return name


def _settle_initializers(graph: ir.Graph) -> None:
    for value in graph.initializers.values():
        if value.const_value is not None:
            value.shape = ir.Shape(value.const_value.shape.numpy())
            value.dtype = value.const_value.dtype


def _infer_node(context: Context, node: ir.Node, known: frozenset[str]) -> None:
    declared = [value.shape for value in node.outputs]
    types = [value.type for value in node.outputs]
    for value in node.outputs:
        value.shape = None
    context.made_up = 0
    function = registry.get(node.domain, node.op_type, context.get_opset_version(node.domain))
    if function is not None:
        try:
            if not keeps_sizes(context, node):
                function(context, node)
                complete(context, node)
        except Exception as error:  # an odd node costs its own shape and nothing else
            logging.getLogger(__name__).debug("no shape for %s: %s", node.name, error)
            context.made_up = 0
    for value, old in zip(node.outputs, declared, strict=True):
        if has_subgraphs(node):  # of which inference repeats what they declare
            value.shape = _usable(context, value.shape)
        value.shape = _merged(
            context, _simplest(value.shape), _simplest(_usable(context, old)), known
        )
    if _is_foreign_quantised(node):
        for value, kind in zip(node.outputs, types, strict=True):
            value.type = kind


def _simplest(shape: ir.Shape | None) -> ir.Shape | None:
    """With each dimension in its simplest form: the next node's is made of its text."""
    if shape is None or shape.is_static():
        return shape
    return ir.Shape([simplified(size) for size in shape])


def _is_foreign_quantised(node: ir.Node) -> bool:
    """Whether a node's results may be bytes or floats, and only its runtime knows: a QGemm's.

    Inference says float of some that are bytes; of what it says, such a file would be refused.
    """
    kinds = {value.dtype for value in node.inputs if value is not None}
    return node.domain != "" and any(
        kind is not None and kind.is_integer() and kind.bitwidth <= 8 for kind in kinds
    )


def _evaluate(context: Context, node: ir.Node, numbers: dict[ir.Value, Array]) -> None:
    """Tell inference the sizes that a node computes, where all of them are known.

    It follows vectors by itself, but not what goes through a matrix, as the pads of TorchScript do,
    nor the scales of a Resize, which it reads where they are constant.
    """
    array = known_numbers(node, numbers, context.get_opset_version(""))
    if array is None:
        return
    value = node.outputs[0]
    numbers[value] = array
    value.shape = ir.Shape(array.shape)
    if array.ndim < 2 and array.dtype.kind in "iu":
        context.set_symbolic_value(value, array.reshape(-1).tolist())
    elif array.ndim == 1:
        value.const_value = ir.tensor(array)  # till the end of `infer`


def _usable(context: Context, shape: ir.Shape | None) -> ir.Shape | None:
    """A shape that a file declares, without the dimensions that nothing can be made of."""
    if shape is None:
        return None
    dims = list(shape)
    for axis, dim in enumerate(dims):
        if not isinstance(dim, int) and not plain(_text(dim)):
            dims[axis] = context.new_symbolic_dim()
    return ir.Shape(dims)


def _merged(
    context: Context,
    inferred: ir.Shape | None,
    declared: ir.Shape | None,
    known: frozenset[str],
) -> ir.Shape | None:
    """`inferred`, with the declared dimension where inference had to make up a name."""
    if inferred is None:
        return declared
    if declared is None or len(declared) != len(inferred):
        declared = inferred
    dims: list[Size] = []
    for new, old in zip(inferred, declared, strict=True):
        made_up = any(context.is_generated_symbol(name) for name in _names(new))
        made_up = made_up and not _names(new) & context.unsure
        if made_up and (isinstance(old, int) or _names(old) <= known):
            dims.append(old)
        elif not _bounded(new):
            dims.append(context.new_symbolic_dim())
        else:
            dims.append(new)
    return ir.Shape(dims)


def _bounded(dim: Size) -> bool:
    """Can a file say this dimension, and anybody read it?"""
    if isinstance(dim, int):
        return 0 <= dim < 2**63
    return 0 < len(_text(dim)) <= LONGEST


_ENOUGH = 32
"""A size of positions at which a network's windows fit, and its halvings leave something."""


class Sizes:
    """The shapes of a model's values as numbers, for one choice of the free dimensions.

    `model` has been through `infer`. `shapes` gives whole shapes by input name, and `data` those of
    arrays that the caller has: they tell what `shapes` leaves open. A dimension that is free still
    is of a usual size (`graph.usual`), and listed in `assumed`; `told` says so in a line.
    Dimensions of one name have one size.

    Raises `UsageError` for a shape that does not fit the model.

    >>> import onnx_ir, onnx.parser
    >>> text = "g (float[N,3,H,W] x) => (y) {y = MaxPool <kernel_shape=[2,2], strides=[2,2]> (x)}"
    >>> head = '<ir_version: 8, opset_import: ["": 17]>'
    >>> model = onnx_ir.from_proto(onnx.parser.parse_model(head + text))
    >>> infer(model)
    >>> Sizes(model).shape(model.graph.outputs[0])
    (1, 3, 112, 112)
    """

    def __init__(
        self,
        model: ir.Model,
        shapes: Mapping[str, Sequence[int]] | None = None,
        data: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        inputs = {value.name or "": value for value in _fed(model.graph)}
        given = _checked(shapes or {}, inputs)
        self._bound: dict[str, int] = {}
        self._known: dict[str, int | None] = {}
        for name, shape in given.items():
            _bind(inputs[name], shape, self._bound)
        of_data = {name: tuple(shape) for name, shape in (data or {}).items() if name in inputs}
        for name, shape in of_data.items():
            _bind_free(inputs[name], shape, self._bound)
        others = [value for name, value in inputs.items() if name not in given]
        self.assumed = tuple(usual_sizes(others, lambda dim: _open(dim, self._bound)))
        self._bound |= {each.name: each.size for each in self.assumed}
        self.inputs: dict[str, tuple[int, ...]] = dict(given)
        for value in others:
            self.inputs[value.name or ""] = self._of_input(value, of_data.get(value.name or ""))

    @property
    def told(self) -> str:
        """What was assumed, in a line; empty where nothing was."""
        return said(self.assumed, self.inputs)

    @cached_property
    def smaller(self) -> Sizes:
        """The same with free dimensions near 32, no two of them equal if they were not.

        Powers of two that divide a size, up to 32, divide the new one: networks halve their maps.
        """
        bound: dict[str, int] = {}
        for name, size in sorted(self._bound.items(), key=lambda item: item[1]):
            step = gcd(size, _ENOUGH)
            least = max([_ENOUGH, *(1 + n for old, n in bound.items() if self._bound[old] < size)])
            bound[name] = min(size, -(-least // step) * step)
        other = copy(self)
        other._bound, other._known = bound, {}
        return other

    def _of_input(self, value: ir.Value, data: tuple[int, ...] | None) -> tuple[int, ...]:
        if value.shape is None and data is not None:
            return data
        shape = self.shape(value)
        if shape is None:
            raise UsageError(
                f"input {one_line(value.name)} of shape {one_line(value.shape)} has no whole size; "
                f"say --shape {shlex.quote(f'{one_line(value.name)}=1,3,224,224')}"
            )
        return shape

    def shape(self, value: ir.Value) -> tuple[int, ...] | None:
        """The shape of `value`; None where a dimension depends on data or could not be inferred."""
        if value.shape is None:
            if value.is_graph_input():
                return self.inputs.get(value.name or "")
            return None
        sizes = [self.size(dim) for dim in value.shape]
        if None in sizes:
            return None
        return tuple(size for size in sizes if size is not None)

    def negative(self, dim: Size) -> bool:
        """Whether a dimension comes out below zero, which no tensor has."""
        return (evaluated(_text(dim), self._bound) or 0) < 0

    def size(self, dim: Size) -> int | None:
        """The size of one dimension; None where it is unknown."""
        if isinstance(dim, int):
            return dim
        text = _text(dim)
        if text not in self._known:
            size = self._bound.get(text, evaluated(text, self._bound))
            # A window that is larger than its map leaves less than nothing: no tensor has that.
            self._known[text] = None if size is None or size < 0 else size
        return self._known[text]


def shapes_of(arrays: Mapping[str, Array] | None) -> dict[str, tuple[int, ...]]:
    """The shape of each array; nothing where there are none."""
    given = (arrays or {}).items()
    return {name: np.shape(array) for name, array in given if not isinstance(array, list)}


def _fed(graph: ir.Graph) -> list[ir.Value]:
    """The inputs that a caller must feed with a tensor: neither defaults nor sequences."""
    return [
        value
        for value in graph.inputs
        if value.const_value is None and isinstance(value.type, ir.TensorType | None)
    ]


def _checked(
    shapes: Mapping[str, Sequence[int]], inputs: Mapping[str, ir.Value]
) -> dict[str, tuple[int, ...]]:
    """`shapes` where each belongs to an input and has its rank and its fixed sizes."""
    given = {name: tuple(int(size) for size in shape) for name, shape in shapes.items()}
    for name, shape in given.items():
        if name not in inputs:
            known = one_line(", ".join(inputs)) or "none"
            raise UsageError(f"no input {one_line(name)} in the model; its inputs are: {known}")
        dims = inputs[name].shape
        fits = all(size >= 0 for size in shape) and (dims is None or len(dims) == len(shape))
        fixed = (
            (n, size) for n, size in zip(dims or (), shape, strict=False) if isinstance(n, int)
        )
        if not fits or any(dim != size for dim, size in fixed):
            raise UsageError(
                f"shape {list(shape)} does not fit input {one_line(name)} of shape {one_line(dims)}"
            )
    return given


def _bind(value: ir.Value, shape: Sequence[int], bound: dict[str, int]) -> None:
    """Add to `bound` what the names in the shape of `value` are where its sizes are `shape`."""
    for dim, size in zip(value.shape or (), shape, strict=False):
        if isinstance(dim, int):
            continue
        text = _text(dim)
        free = _free(text, bound)
        if len(free) == 1:
            bound[free[0]] = _solved(text, free[0], size, bound)
        if bound.get(text, evaluated(text, bound)) != size:
            raise UsageError(
                f"input {one_line(value.name)}: its dimension {one_line(text)} cannot be {size} "
                "together with the other sizes given; equal names have equal sizes"
            )


def _bind_free(value: ir.Value, shape: Sequence[int], bound: dict[str, int]) -> None:
    """Add to `bound` the names that have no size yet, where `value` is of these sizes."""
    if rank_of(value) != len(shape):
        return
    for dim, size in zip(value.shape or (), shape, strict=True):
        free = _open(dim, bound)
        if len(free) == 1:
            bound[free[0]] = _solved(_text(dim), free[0], size, bound)


def _free(text: str, bound: Mapping[str, int]) -> list[str]:
    """The names in a dimension that have no value yet; the whole text where it is no expression."""
    if not plain(text):
        return [text] * (text not in bound)
    return sorted(names(text) - bound.keys())


def _solved(text: str, name: str, size: int, bound: Mapping[str, int]) -> int:
    """What `name` is where `text`, linear in it, is `size`; some number where there is none."""
    # text(name) = a + (b - a)·name
    a, b = (evaluated(text, {**bound, name: x}) for x in (0, 1))
    if text == name or a is None or b is None or a == b:
        return size
    return max(0, (size - a) // (b - a))


def _open(dim: Size, bound: Mapping[str, int]) -> list[str]:
    if isinstance(dim, int):
        return []
    return _free(_text(dim), bound)
