"""A model fails when it is run: would other inputs help, or does it contradict itself?"""

from __future__ import annotations

import onnx_ir as ir

from onebyone.engines.inputs import fed
from onebyone.errors import UnreadableModel, UsageError
from onebyone.graph.checks import one_line
from onebyone.graph.ops.call import is_floating
from onebyone.graph.shapes import infer

__all__ = ["blame", "leaves_choice"]


def blame(model: ir.Model, error: UsageError) -> None:
    """Nothing where other inputs might help, which then is what the caller should be told.

    Raises:
        UnreadableModel: no inputs can help.
    """
    # Asked first: it says where, which the engine's own words do not.
    unfit = _unfit(model)
    if unfit is not None:
        raise UnreadableModel(f"the model contradicts itself: {unfit}") from error
    if not leaves_choice(model):
        raise UnreadableModel(
            f"the model fails, and declares every size itself: {error.__cause__ or error}"
        ) from error


def leaves_choice(model: ir.Model) -> bool:
    """Can other inputs help a model that fails on some: may a size, or an index, be another?

    Floats decide nothing, but where they are cast to indices, which is rare.
    """
    return any(
        value.shape is None
        or not value.shape.is_static()
        or value.dtype in (None, ir.DataType.UNDEFINED)
        or not is_floating(value.dtype.numpy())
        for value in fed(model.graph).values()
    )


def _unfit(model: ir.Model) -> str | None:
    """A convolution whose weight fits its input at no size, if there is one.

    Shape inference lets it pass, ONNX's own too, so that an engine finds it only when it runs.
    """
    # A copy, because the caller's model is not to have shapes that it did not declare.
    model = model.clone()
    infer(model)
    for node in model.graph:
        if node.op_type != "Conv" or node.domain not in ("", "ai.onnx"):
            continue
        x, weight = (_sizes(value) for value in node.inputs[:2])
        groups = node.attributes.get_int("group", 1)
        if len(x) < 2 or not isinstance(x[1], int) or len(weight) < 2:
            continue
        if isinstance(weight[1], int) and x[1] != weight[1] * groups:
            return (
                f"Conv node {one_line(node.name, 100)!r} has an input of {x[1]} channels and a "
                f"weight {one_line(weight, 100)} in groups of {groups}, wanted "
                f"{weight[1] * groups} channels"
            )
    return None


def _sizes(value: ir.Value | None) -> list[int | ir.SymbolicDim]:
    return [] if value is None or value.shape is None else list(value.shape)
