"""Is a value divided by its own size? Then a small difference in it is not small behind that.

    v ──▶ layout, pools, ReLU, maps without a bias ──▶ LayerNormalization, InstanceNormalization, …
                                                   └─▶ h / √(mean(h²) + ε), spelled out

What is left of a shift that cancels may be of any size there, so no scale of the author's tells how
many digits of it are needed.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from onebyone.graph.constants import constant
from onebyone.graph.ops import Role, role
from onebyone.graph.values import maker

__all__ = ["is_rescaled"]

_DIVIDE = frozenset(
    {"GroupNormalization", "InstanceNormalization", "LayerNormalization", "LpNormalization",
     "MeanVarianceNormalization", "RMSNormalization"}
)  # fmt: skip
# f(ax) = a·f(x) for a > 0.
_HOMOGENEOUS = frozenset({"Abs", "LeakyRelu", "MaxPool", "PRelu", "Relu"})
_MOVES = (Role.IDENTITY, Role.SELECTION, Role.SPACE_MAP, Role.VIEW)
_MAPS = (Role.CHANNEL_MAP, Role.CONVOLUTION)
# Values that are looked at: what is behind them is far away.
_MOST = 48


def is_rescaled(value: ir.Value) -> bool:
    """Whether a normalisation follows a value, with nothing added to it on the way.

    >>> import onnx.parser
    >>> head, x = '<ir_version: 8, opset_import: ["": 17]>', "g (float[2,3] x) => (float[2,3] y)"
    >>> def first(nodes: str) -> ir.Value:
    ...     model = onnx.parser.parse_model(head + x + "<float[3] s = {1, 2, 3}>{" + nodes + "}")
    ...     return next(iter(ir.from_proto(model).graph)).outputs[0]
    >>> is_rescaled(first("a = Abs(x) r = Relu(a) y = LayerNormalization(r, s)"))
    True
    >>> is_rescaled(first("a = Abs(x) b = Add(a, s) y = LayerNormalization(b, s)"))
    False
    """
    family = list(_family(value))
    found = set(family)
    return any(_rescales(use.node, use.idx, found) for member in family for use in member.uses())


def _family(value: ir.Value) -> Iterator[ir.Value]:
    """The values that grow as this one does, itself among them."""
    waiting, seen = [value], {value}
    while waiting and len(seen) < _MOST:
        member = waiting.pop(0)
        yield member
        for node in dict.fromkeys(use.node for use in member.uses()):
            if _grows(node, seen):
                waiting += [v for v in node.outputs if v not in seen]
                seen.update(node.outputs)


def _grows(node: ir.Node, seen: set[ir.Value]) -> bool:
    """Whether a node's results are as much larger as its operand is."""
    others = [v for v in node.inputs[1:] if v is not None]
    if node.op_type in ("Add", "Concat", "Sub", "Sum"):
        return {v for v in node.inputs if v is not None} <= seen
    if role(node) in _MAPS:
        return len(others) == 1 and constant(others[0]) is not None
    return node.inputs[0] in seen and (role(node) in _MOVES or node.op_type in _HOMOGENEOUS)


def _rescales(node: ir.Node, at: int, family: set[ir.Value]) -> bool:
    """Whether a node divides its operand `at` by the size of what is in the family."""
    if node.op_type in _DIVIDE:
        return at == 0
    if node.domain or len(node.inputs) != 2 or node.op_type not in ("Div", "Mul"):
        return False
    if node.op_type == "Div":
        return at == 0 and _is_size(node.inputs[1], family, inverse=True)
    return _is_size(node.inputs[1 - at], family, inverse=False)


def _is_size(value: ir.Value | None, family: set[ir.Value], *, inverse: bool) -> bool:
    """Whether a value is a size of the family, or one over it: 1 / √(mean(h²) + ε).

    Without a reduction it is none: x / (1 + exp(-x)) and the cubes of a GELU are functions of each
    element.
    """
    if value in family:
        return inverse
    waiting, seen, reduces, meets = [value], {value}, False, False
    while waiting and len(seen) < _MOST:
        current = waiting.pop(0)
        node = maker(current)
        if node is None or current in family:
            meets = meets or current in family
            continue
        inverse = inverse or _inverts(node)
        reduces = reduces or node.op_type.startswith("Reduce")
        waiting += [v for v in node.inputs if v not in seen]
        seen.update(node.inputs)
    return inverse and reduces and meets


def _inverts(node: ir.Node) -> bool:
    """Whether a node gives one over what it reads."""
    if node.op_type == "Div":
        return node.inputs[1] is not None and constant(node.inputs[1]) is None
    if node.op_type != "Pow":
        return node.op_type == "Reciprocal"
    exponent = constant(node.inputs[1])
    return exponent is not None and bool((exponent < 0).all())
