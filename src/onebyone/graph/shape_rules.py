"""What onnx-shape-inference is not told or leaves out: bounds on its work, and some rules.

Its elements of shape tensors ("symbolic values") are lists of integers and expressions; those of a
comparison are 0 and 1.
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
from onnx_shape_inference import ShapeInferenceContext

from onebyone.algebra.selection import Slice
from onebyone.graph.dimensions import evaluated, names
from onebyone.graph.edit import CUT
from onebyone.graph.ops import operator_of
from onebyone.graph.spatial import windows
from onebyone.graph.symbolic import simplified
from onebyone.graph.values import Size, all_known, input_at, shape_of

__all__ = ["LONGEST", "Context", "complete", "keeps_sizes"]

# An expression longer than this is nobody's shape any more; it becomes an unknown.
LONGEST = 400
# A longer list of elements is data, not a shape.
_MOST_ELEMENTS = 1000
# Exporters write "to the end" as an end of at least this; the library knows two such numbers.
_FAR = 2**31 - 1
_KNOWN_FAR = (2**31 - 1, 2**63 - 1)


class Context(ShapeInferenceContext):  # type: ignore[misc]  # the library is untyped
    """Shape inference whose knowledge of tensors' elements is bounded, whatever the file says."""

    made_up = 0  # symbols for the node at hand

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        # Names of sizes in which engines differ: what a file says of them may not be so either.
        self.unsure: set[str] = set()

    def new_symbolic_dim(self) -> ir.SymbolicDim:
        self.made_up += 1
        if self.made_up > _MOST_ELEMENTS:
            raise OverflowError("more unknown dimensions than a tensor can have")
        dim: ir.SymbolicDim = super().new_symbolic_dim()
        return dim

    def set_symbolic_value(self, value: ir.Value, data: list[Size]) -> None:
        if len(data) > _MOST_ELEMENTS:
            return
        data = list(map(simplified, data))
        if all(map(_is_short, data)):
            super().set_symbolic_value(value, data)

    def get_symbolic_value(self, value: ir.Value) -> list[Size] | None:
        if value.const_value is not None and value.const_value.size > _MOST_ELEMENTS:
            return None
        elements: list[Size] | None = super().get_symbolic_value(value)
        return elements


def _is_short(element: Size) -> bool:
    """Whether an element fits into 64 bits, or its text is one that somebody may read."""
    if isinstance(element, int):
        return -(2**63) <= element < 2**63
    return len(element.value or "") <= LONGEST


def keeps_sizes(context: Context, node: ir.Node) -> bool:
    """Give the result of a convolution whose padding makes up for its window its input's sizes.

    Whether `node` is one. The library would add six numbers to each size, one after the other, and
    write the expression down each time; of the inference of a network that is the larger part.

    >>> x, w = ir.val("x", ir.DataType.FLOAT, ["n", 3, "h"]), ir.val("w", shape=[4, 3, 3])
    >>> node = ir.node("Conv", [x, w], {"pads": [2, 0]})
    >>> keeps_sizes(Context({"": 17}), node), str(node.outputs[0].shape)
    (True, '[n,4,h]')
    """
    operands = [v for v in node.inputs[:2] if v is not None and v.shape is not None]
    if node.op_type != "Conv" or node.domain not in ("", "ai.onnx") or len(operands) < 2:
        return False
    (data, x), (_, w) = ((v, list(v.shape or ())) for v in operands)
    ones, get = (1,) * (len(x) - 2), node.attributes.get_ints
    kernel, dilations = get("kernel_shape", w[2:]), get("dilations", ones)
    pads, strides = get("pads", (0,) * 2 * len(ones)), get("strides", ones)
    if node.attributes.get_string("auto_pad", "NOTSET") != "NOTSET":
        return False
    if tuple(strides) != ones or not ones:
        return False
    # A file may contradict itself.
    if not len(w) - 2 == len(kernel) == len(dilations) == len(ones) == len(pads) / 2:
        return False
    # A window spans dilation·(taps − 1) positions more than one: as many as the padding adds.
    for k, taps in enumerate(kernel):
        if not isinstance(taps, int) or dilations[k] * (taps - 1) != pads[k] + pads[k + len(ones)]:
            return False
    context.set_shape_and_dtype(node.outputs[0], ir.Shape([x[0], w[0], *x[2:]]), data.dtype)
    return True


def complete(context: Context, node: ir.Node) -> None:
    """Add to what was inferred for `node`.

    >>> node = ir.node("ConstantOfShape", [ir.val("s", ir.DataType.INT64, [2])])
    >>> context = Context({"": 17})
    >>> context.set_symbolic_value(node.inputs[0], [3, ir.SymbolicDim("n")])
    >>> complete(context, node)
    >>> str(node.outputs[0].shape)
    '[3,n]'
    """
    if node.domain not in ("", "ai.onnx"):
        return
    if operator_of(node).elementwise:
        _broadcast(context, node)
    rule = _RULES.get(node.op_type)
    if rule is not None:
        rule(context, node)


def _divide(context: Context, node: ir.Node) -> None:
    """The quotient of two shape elements, which the library leaves out.

    ONNX rounds to zero and this rounds down: the same for all sizes that are not negative.
    """
    a, b = (_elements(context, node, i) for i in (0, 1))
    if not a or not b or len(a) != 1 or len(b) != 1 or not isinstance(b[0], int) or b[0] < 1:
        return
    if not isinstance(a[0], int):
        quotient = ir.SymbolicDim(f"floor(({a[0].value})/{b[0]})")
        context.set_symbolic_value(node.outputs[0], [quotient])


def _fill(context: Context, node: ir.Node) -> None:
    """The shape of a ConstantOfShape from what is known of its elements, and those of a list."""
    sizes = _elements(context, node, 0)
    if sizes is not None and node.outputs[0].shape is None:
        context.set_shape(node.outputs[0], ir.Shape(sizes))
    if "value" not in node.attributes or not sizes or len(sizes) != 1:
        return
    value, size = node.attributes["value"].as_tensor(), sizes[0]
    if value.dtype.is_integer() and isinstance(size, int) and size <= _MOST_ELEMENTS:
        context.set_symbolic_value(node.outputs[0], [int(value.numpy().item())] * size)


def _equal(context: Context, node: ir.Node) -> None:
    """Which elements are equal, where that is the same for all sizes."""
    pairs = _paired(_elements(context, node, 0), _elements(context, node, 1))
    equal = [_are_equal(context, *pair) for pair in pairs]
    if equal and None not in equal:
        context.set_symbolic_value(node.outputs[0], [int(bool(same)) for same in equal])


def _are_equal(context: Context, a: Size, b: Size) -> bool | None:
    if isinstance(a, int) and isinstance(b, int):
        return a == b
    size, number = (b, a) if isinstance(a, int) else (a, b)
    name = _named(size)
    # The size of an input is never negative; a name that was made up may stand for anything.
    is_size = name.isidentifier() and not context.is_generated_symbol(name)
    if is_size and isinstance(number, int) and number < 0:
        return False
    return None


def _where(context: Context, node: ir.Node) -> None:
    """The elements that a known condition picks: TorchScript's -1 for "as it is" in an expand."""
    condition, a, b = (_elements(context, node, i) for i in range(3))
    if not condition or not a or not b or not len(condition) == len(a) == len(b):
        return
    if all(isinstance(which, int) for which in condition):
        pairs = zip(b, a, strict=True)  # what stands for 0, and for 1
        picked = [pair[bool(which)] for which, pair in zip(condition, pairs, strict=True)]
        context.set_symbolic_value(node.outputs[0], picked)


def _paired(a: list[Size] | None, b: list[Size] | None) -> list[tuple[Size, Size]]:
    """The elements of two lists side by side, one of length 1 repeated; none where unknown."""
    if not a or not b or (len(a) != len(b) and 1 not in (len(a), len(b))):
        return []
    most = max(len(a), len(b))
    return list(zip(a * (most // len(a)), b * (most // len(b)), strict=True))


def _crop(context: Context, node: ir.Node) -> None:
    """The shape of `x[a:b:c]` on an axis of free size, or where b is an expression.

    And on one of known size, where the library reads the least of all integers as the far end.
    Axes or steps that are computed it takes for the default ones.
    """
    starts, ends = _elements(context, node, 1), _elements(context, node, 2)
    data, result = shape_of(node.inputs[0]), shape_of(node.outputs[0])
    if starts is None or ends is None or data is None or result is None:
        return
    if any(_is_computed(context, node, index) for index in (3, 4)):
        free = [context.new_symbolic_dim() for _ in data]
        context.set_shape(node.outputs[0], ir.Shape(free))
        return
    axes = _elements(context, node, 3) or list(range(len(starts)))
    steps = _elements(context, node, 4) or [1] * len(starts)
    dims = list(result)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        if isinstance(axis, int) and isinstance(start, int) and isinstance(step, int):
            length = _cut(data[axis], start, end, step)
            if length is not None:
                dims[axis] = length
    node.outputs[0].shape = ir.Shape(dims)


def _cut(size: Size, start: int, end: Size, step: int) -> Size | None:
    """How many positions of `size` start:end:step takes; None: as inferred."""
    if isinstance(end, ir.SymbolicDim):
        if start < 0 or step != 1 or not _named(size):
            return None
        least = f"Min({_named(size)}, {end.value})"
        return ir.SymbolicDim(f"Max(0, {least} - {start})" if start else least)
    if isinstance(size, ir.SymbolicDim) and size.value is not None and step:
        return _between(size.value, start, end, step)
    if isinstance(size, int) and step:
        # Before the first position, where a step goes backwards.
        stop = None if end < -size and step < 0 else end
        return Slice(start, stop, step).out_size(size)
    return None


def _between(size: str, start: int, end: int, step: int) -> ir.SymbolicDim | None:
    """How many positions start:end:step has on an axis that may end before it; None: as inferred.

    The library takes the axis to be long enough, and does not count from its end.
    """
    far = end >= _FAR
    if step < 0:
        return _by(_backwards(size, start), -step) if end <= -_FAR else None
    if start >= 0 and (end in _KNOWN_FAR or -_FAR < end < 0):
        return None
    # Where the cut ends, counted from the front, ...
    stop = f"Min({size}, {end})"
    if far:
        stop = size
    elif end < 0:
        stop = f"Max(0, {size} - {-end})"
    # ... and how much of that lies behind its start.
    if start > 0:
        return _by(f"Max(0, {stop} - {start})", step)
    if start < 0 and far:
        return _by(f"Min({size}, {-start})", step)
    if start < 0:
        return _by(f"Max(0, {stop} - Max(0, {size} - {-start}))", step)
    return _by(stop, step)


def _backwards(size: str, start: int) -> str:
    """How many positions there are from `start` down to the first."""
    if start == -1:
        return size
    if start < 0:
        return f"Max(1, {size} - {-start - 1})"
    return f"Min({size}, {start + 1})"


def _by(count: str, step: int) -> ir.SymbolicDim:
    """⌈count / step⌉: every `step`-th position of so many."""
    if step == 1:
        return ir.SymbolicDim(count)
    return ir.SymbolicDim(f"floor(({count} + {step - 1})/{step})")


def _named(size: Size) -> str:
    """A number, or what a dimension says; empty where it says nothing."""
    return str(size) if isinstance(size, int) else size.value or ""


def _pool(context: Context, node: ir.Node) -> None:
    """Leave open what a window makes of an axis that it does not fit in: ONNX has no word for it.

    By its formula nothing is left; ONNX Runtime rounds to zero, to one position, or refuses.
    """
    sizes = (shape_of(node.inputs[0]) or ())[2:]
    every = zip(sizes, windows(node), strict=False)
    _leave_open(context, node, [isinstance(n, int) and not pool.fits(n) for n, pool in every])


def _transposed(context: Context, node: ir.Node) -> None:
    """Leave open what automatic padding makes of taps that do not reach one another.

    ONNX wants n·s positions, ONNX Runtime makes no more than the taps reach: (n - 1)·s + k.
    """
    if node.attributes.get_string("auto_pad", "NOTSET") not in ("SAME_UPPER", "SAME_LOWER"):
        return
    get = node.attributes.get_ints
    kernel = get("kernel_shape", (shape_of(node.inputs[1]) or ())[2:])
    ones = (1,) * len(kernel)
    steps, dilations = get("strides", ones), get("dilations", ones)
    every = zip(kernel, steps, dilations, get("output_padding", (0,) * len(kernel)), strict=False)
    short = [not isinstance(k, int) or (k - 1) * d + 1 + more < s for k, s, d, more in every]
    if "output_shape" not in node.attributes:
        _leave_open(context, node, short)


def _pieces(context: Context, node: ir.Node) -> None:
    """Leave open where a Split cuts by sizes that are computed: not into equal parts."""
    x = shape_of(node.inputs[0])
    if x is None or not _is_computed(context, node, 1):
        return
    axis = node.attributes.get_int("axis", 0) % len(x)
    for value in node.outputs:
        dims = list(x)
        dims[axis] = context.new_symbolic_dim()
        context.set_shape(value, ir.Shape(dims))


def _squeeze(context: Context, node: ir.Node) -> None:
    """Nothing where the axes are computed; the library takes out all of size 1."""
    if _is_computed(context, node, 1):
        node.outputs[0].shape = None


def _is_computed(context: Context, node: ir.Node, index: int) -> bool:
    """Whether an input is there, of which the elements are not known."""
    return input_at(node, index) is not None and _elements(context, node, index) is None


def _leave_open(context: Context, node: ir.Node, which: list[bool]) -> None:
    """Let those of the axes behind the channels have sizes that nothing is known of."""
    free = {axis: context.new_symbolic_dim() for axis, is_open in enumerate(which, 2) if is_open}
    context.unsure |= {size.value or "" for size in free.values()}
    for value in node.outputs:
        if value.shape is not None:
            value.shape = ir.Shape([free.get(axis, n) for axis, n in enumerate(value.shape)])


def _elements(context: Context, node: ir.Node, index: int) -> list[Size] | None:
    """What is known of the elements of an input of `node`."""
    value = input_at(node, index)
    if value is None:
        return None
    return context.get_symbolic_value(value)


def _broadcast(context: Context, node: ir.Node) -> None:
    """Two free names broadcast to whichever is not 1, so their result has no name yet.

    The library takes the first. For expressions that is right: they come from one image, and sizes
    that differ there are an error when the model runs. Unless one is 1: x[:, :1] + x.
    """
    shape = shape_of(node.outputs[0])
    operands = all_known(map(shape_of, node.inputs))
    if shape is None or operands is None:
        return
    dims = list(shape)
    for axis in range(-len(dims), 0):
        # Axes are counted from the end, where all operands have one.
        sizes = [s[axis] for s in operands if -axis <= len(s)]
        symbols = {d.value or "": d for d in sizes if isinstance(d, ir.SymbolicDim)}
        wide = [d for text, d in symbols.items() if not _is_one(text)]
        if wide and len(wide) < len(symbols) and not isinstance(dims[axis], int):
            dims[axis] = wide[0]
        # Exporters name sizes after values: "input.1_dim_2" is a name, too.
        free = {s for s in symbols if names(s) == {s} and not context.is_generated_symbol(s)}
        if not isinstance(dims[axis], int) and len(free) > 1:
            dims[axis] = context.new_symbolic_dim()
    node.outputs[0].shape = ir.Shape(dims)


def _expand(context: Context, node: ir.Node) -> None:
    """A free size of the operand is kept, or it is 1 and the target's: which, nobody knows yet."""
    shape, operand = shape_of(node.outputs[0]), shape_of(node.inputs[0])
    if shape is None or operand is None:
        return
    dims, target = list(shape), _elements(context, node, 1) or []
    for axis in range(-min(len(dims), len(operand)), 0):
        size = operand[axis]
        wanted = target[axis] if -axis <= len(target) else None
        told = str(wanted) in (str(size), "1") or isinstance(dims[axis], int)
        if isinstance(size, ir.SymbolicDim) and not told:
            dims[axis] = context.new_symbolic_dim()
    node.outputs[0].shape = ir.Shape(dims)


def _is_one(text: str) -> bool:
    """Whether an expression is 1 for images of any size but the smallest: `Min(floor(n/2), 1)`."""
    return all(evaluated(text, dict.fromkeys(names(text), n)) == 1 for n in (5040, 10080))


_RULES = {
    **dict.fromkeys(("AveragePool", "LpPool", "MaxPool"), _pool),
    "ConstantOfShape": _fill,
    "ConvTranspose": _transposed,
    "Div": _divide,
    "Equal": _equal,
    "Expand": _expand,
    CUT: _crop,
    "Split": _pieces,
    "Squeeze": _squeeze,
    "Where": _where,
}
