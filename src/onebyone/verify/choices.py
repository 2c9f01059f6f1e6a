"""Choices inside a model: the places that TopK picks hang on single bits where values tie.

A detector picks the best few hundred of thousands of boxes. Where two of them score the same but
for rounding, two equal models may put them in another order, and all that follows differs. So both
are compared once more with the choices taken out of them: `parted` makes the picked places an
input, which is fed what A picks, and what they are picked from an output, which is compared like
any other. Together they say: B picks from the same values, and does the same with what is picked.
"""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir as ir

from onebyone.graph.constants import constant
from onebyone.graph.edit import Edit

__all__ = ["choices", "given_places", "parted", "searched"]


def choices(a: ir.Model, b: ir.Model) -> list[str]:
    """The names of the places that one and the same TopK picks in both models.

    >>> import onnx.parser
    >>> text = "g (float[9] x, int64[1] k) => (float[M] y) {y, i = TopK(x, k)}"
    >>> head = '<ir_version: 8, opset_import: ["": 17]>'
    >>> model = ir.from_proto(onnx.parser.parse_model(head + text))
    >>> choices(model, model)
    ['i']
    """
    others = {places.name: places for places in _picked(b)}
    pairs = [(places, others.get(places.name)) for places in _picked(a)]
    return [str(one.name) for one, other in pairs if other is not None and _alike(one, other)]


def _picked(model: ir.Model) -> list[ir.Value]:
    nodes = (node for node in model.graph if node.op_type == "TopK" and node.domain == "")
    return [node.outputs[1] for node in nodes if node.outputs[1].name]


def _alike(one: ir.Value, other: ir.Value) -> bool:
    """Whether two TopK pick as many by the same rule."""
    return _rule(one) == _rule(other)


def _rule(places: ir.Value) -> tuple[object, list[int]]:
    """How many a TopK picks, as a number or by the name of what says so, and which ones."""
    node = places.producer()
    assert node is not None
    count, number = node.inputs[1], constant(node.inputs[1])
    how_many = count and count.name
    which = [node.attributes.get_int(key, default) for key, default in _RULE.items()]
    if number is None:
        return how_many, which
    # The numbers count and not their names: an optimiser may store a constant anew.
    return number.reshape(-1).tolist(), which


_RULE = {"axis": -1, "largest": 1, "sorted": 1}


def parted(model: ir.Model, names: Collection[str]) -> ir.Model:
    """A copy in which these picked places are inputs, and what they are picked from outputs."""
    copy = model.clone()
    edit = Edit(copy.graph)
    for places in [places for places in _picked(copy) if places.name in names]:
        _part(places, edit)
    return copy


def searched(apart: ir.Model, whole: ir.Model) -> dict[str, str]:
    """What the outputs that a parted model has more are called in the model that it was made of."""
    more = apart.graph.outputs[len(whole.graph.outputs) :]
    copied = ((value, value.producer()) for value in more)
    named = ((value.name, node.inputs[0]) for value, node in copied if node is not None)
    return {str(name): str(value.name) for name, value in named if value is not None}


def given_places(name: str) -> str:
    """The input of a parted model that stands for picked places of this name."""
    return f"places picked as {name}"


def _part(places: ir.Value, edit: Edit) -> None:
    node, name = places.producer(), str(places.name)
    assert node is not None
    searched, values = node.inputs[0], node.outputs[0]
    assert searched is not None
    given = ir.val(given_places(name), ir.DataType.INT64, places.shape)
    axis = {"axis": node.attributes.get_int("axis", -1)}
    picked = edit.node("GatherElements", [searched, given], axis, before=node, stem="picked",
                       dtype=values.dtype, shape=values.shape)  # fmt: skip
    shown = edit.node("Identity", [searched], before=node, stem=f"what {name} is picked from",
                      dtype=searched.dtype)  # fmt: skip
    edit.graph.inputs.append(given)
    edit.graph.outputs.append(shown)
    edit.replace(values, picked)
    edit.replace(places, given)
    edit.graph.remove(node, safe=True)
