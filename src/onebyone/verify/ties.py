"""Integer outputs that are the place of a largest value: a tie may fall either way.

For an output that ArgMax or ArgMin computes, in both models, its input is looked at too. Where the
models name different places, the values there have to be equal but for rounding:

    |r[place of A] - r[place of B]| <= 2 · limit        r: the input of ArgMax in float64

each of the two values being known within its limit. Every other integer has to be equal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from onebyone.algebra.weights import Array
from onebyone.verify.bound import Noise, limits
from onebyone.verify.certificate import OutputCheck
from onebyone.verify.judge import judge

__all__ = ["Tie", "exposed", "settled", "ties"]


@dataclass(frozen=True)
class Tie:
    """An integer output and the values that it chose among.

    Args:
        output: the name of the integer output, in both models.
        in_a, in_b: the name of the tensor that was searched, in each model.
        axis: the axis that was searched; negative ones count from the end.
        keepdims: whether the output kept that axis.
    """

    output: str
    in_a: str
    in_b: str
    axis: int
    keepdims: bool


def ties(a: ir.Model, b: ir.Model) -> dict[str, Tie]:
    """The outputs that both models compute by one and the same ArgMax or ArgMin, by name."""
    others = {value.name: value for value in b.graph.outputs}
    shared = {}
    for value in a.graph.outputs:
        one, other = _search(value), _search(others[value.name])
        if one is None or other is None or _attributes(one) != _attributes(other):
            continue
        in_a, in_b = one.inputs[0], other.inputs[0]
        # What a caller gives is the same to the last bit in both: there no tie is a rounding.
        if in_a is not None and in_b is not None and not in_a.is_graph_input():
            axis, keepdims, *_ = _attributes(one)
            name = str(value.name)
            shared[name] = Tie(name, str(in_a.name), str(in_b.name), axis, bool(keepdims))
    return shared


def _search(value: ir.Value) -> ir.Node | None:
    """The ArgMax or ArgMin that a value comes from, through casts."""
    node = value.producer()
    while node is not None and node.op_type in ("Cast", "Identity") and node.inputs[0]:
        node = node.inputs[0].producer()
    if node is None or node.op_type not in ("ArgMax", "ArgMin"):
        return None
    return node


def _attributes(node: ir.Node) -> tuple[int, int, int, str]:
    """What both models have to search by: the axis, what is kept of it, which of equal ones."""
    number = node.attributes.get_int
    return number("axis", 0), number("keepdims", 1), number("select_last_index", 0), node.op_type


def exposed(model: ir.Model, names: Iterable[str]) -> ir.Model:
    """The model with these values among its outputs; the model itself where none is missing.

    >>> import onnx.parser
    >>> text = "g (float[2] x) => (float[2] y) {h = Abs(x) y = Neg(h)}"
    >>> head = '<ir_version: 8, opset_import: ["": 17]>'
    >>> model = ir.from_proto(onnx.parser.parse_model(head + text))
    >>> [value.name for value in exposed(model, ["h"]).graph.outputs]
    ['y', 'h']
    """
    missing = set(names) - {value.name for value in model.graph.outputs}
    if not missing:
        return model
    copy = model.clone()
    values = (value for node in copy.graph for value in node.outputs)
    copy.graph.outputs.extend([value for value in values if value.name in missing])
    return copy


def settled(
    check: OutputCheck,
    tie: Tie,
    a: Mapping[str, Array],
    b: Mapping[str, Array],
    reference: Mapping[str, Array],
    noise: Noise,
) -> OutputCheck:
    """`check` of an integer output that differs, passed if each difference is a tie.

    `a`, `b`, `reference` hold outputs by name, the exposed ones too; `noise` is that of the tensor
    that was searched.
    """
    values = reference[tie.in_a]
    searched = judge(f"what {tie.output} is searched in", a[tie.in_a], b[tie.in_b], values, noise)
    if not searched.passed or a[tie.output].shape != b[tie.output].shape:
        return check
    # Each of the two values is known within the limit, so a tie may look twice as far apart.
    gap = np.abs(_at(values, a[tie.output], tie) - _at(values, b[tie.output], tie))
    limit = float(limits(values, noise).max())
    if np.any(gap > 2 * limit):
        return check
    told = f"{int((gap > 0).sum())} places differ, all of them ties"
    used = float(gap.max(initial=0)) / (2 * limit) if limit else 0.0
    return replace(check, reason="", element=told, used=used, bound=2 * limit,
                   max_abs_error=float(gap.max(initial=0)))  # fmt: skip


def _at(values: Array, index: Array, tie: Tie) -> Array:
    """The values at the places that a model names."""
    axis = tie.axis % values.ndim
    if not tie.keepdims:
        index = np.expand_dims(index, axis)
    return np.take_along_axis(values, index.astype(np.int64), axis)
