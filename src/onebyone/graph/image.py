"""The image that a model looks at: which input it is, its channels first, its sizes left open."""

from __future__ import annotations

import onnx_ir as ir

from onebyone.algebra.layout import Transpose
from onebyone.errors import UsageError
from onebyone.graph.constants import constant
from onebyone.graph.edit import Edit
from onebyone.graph.unused import remove_unused
from onebyone.graph.values import fixed_shape, rank_of
from onebyone.graph.views import view

__all__ = ["channels_first", "freed", "image_of"]


def image_of(graph: ir.Graph, name: str | None) -> ir.Value:
    """The input N×C×H×W of a graph, or the one of this name.

    Raises:
        UsageError: there is none with axes of positions, or several.
    """
    fed = [value for value in graph.inputs if value.name not in graph.initializers]
    if name is not None:
        fed = [value for value in fed if value.name == name]
    able = [value for value in fed if (rank_of(value) or 0) in (3, 4, 5)]
    # Tokens are whole numbers, and are no image.
    real = [value for value in able if value.dtype is not None and value.dtype.is_floating_point()]
    chosen = real or able
    if len(chosen) == 1:
        return chosen[0]
    listed = ", ".join(f"{value.name} of rank {rank_of(value)}" for value in chosen or fed)
    raise UsageError(
        f"got inputs {listed or 'none'}, wanted one of rank 3, 4 or 5, as N×C×H×W: "
        "name the input that is the image"
    )


def channels_first(graph: ir.Graph, image: ir.Value) -> None:
    """An image N×H×W×C that a model turns first of all is taken as it is then, N×C×H×W."""
    readers = [node for node, _ in image.uses()]
    turned = [view(node) for node in readers]
    rank = rank_of(image) or 0
    order = (0, rank - 1, *range(1, rank - 1))
    if not turned or image.is_graph_output() or image.shape is None:
        return
    if any(not isinstance(move, Transpose) or move.permutation != order for move in turned):
        return
    edit, dims = Edit(graph), list(image.shape)
    for node in readers:
        edit.replace(node.outputs[0], image)
    image.shape = ir.Shape([dims[axis] for axis in order])
    remove_unused(graph)


def freed(graph: ir.Graph, image: ir.Value) -> tuple[int, ...]:
    """The axes of the image from 2 on, given free sizes; what shapes followed is forgotten."""
    assert image.shape is not None
    dims = list(image.shape)
    spatial = tuple(range(2, len(dims)))
    edit = Edit(graph)
    for node in list(graph):
        if node.op_type == "Reshape" and node.domain == "":
            _unwritten(edit, node, len(spatial))
    for axis in (0, *spatial):
        dims[axis] = ir.SymbolicDim(f"onebyone_{axis}")
    image.shape = ir.Shape(dims)
    for node in graph:
        for value in node.outputs:
            if value.const_value is None:
                value.shape = None
    return spatial


def _unwritten(edit: Edit, node: ir.Node, spatial: int) -> None:
    """A reshape of the axes before those of positions, whose sizes it was told as numbers.

    Of a model that was exported for one size, these are read from its operand instead: the shuffle
    of channels (1, C, H, W) → (1, 2, C/2, H, W) is one of any size.
    """
    x, told = node.inputs[0], constant(node.inputs[1])
    before, after = fixed_shape(x), fixed_shape(node.outputs[0])
    if x is None or told is None or not before or not after or len(before) <= spatial:
        return
    if before[-spatial:] != after[-spatial:] or 0 in (*before, *after):
        return
    if before == after:
        edit.replace(node.outputs[0], x)
        return
    pairs = zip(after[:-spatial], (*before[:-spatial], *after), strict=False)
    # The batch is among them, which is free, too: 0 is the size that the operand has there.
    start = [0 if k == 0 and n == m else n for k, (n, m) in enumerate(pairs)]
    stem, rank = f"{node.outputs[0].name}.shape", len(before)
    integer = ir.DataType.INT64
    sizes = edit.node("Shape", [x], before=node, stem=stem, dtype=integer)
    places = edit.integers(range(rank - spatial, rank))
    ends = edit.node("Gather", [sizes, places], before=node, stem=stem, dtype=integer)
    parts = [edit.integers(start), ends]
    shape = edit.node("Concat", parts, {"axis": 0}, before=node, stem=stem, dtype=integer)
    node.replace_input_with(1, shape)
    node.attributes.pop("allowzero", None)
