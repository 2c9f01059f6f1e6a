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
from onebyone.graph.operators import Role, role

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
    return any(
        use.idx == 0 and (use.node.op_type in _DIVIDE or _divides(use.node, found))
        for member in family
        for use in member.uses()
    )


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


def _divides(node: ir.Node, family: set[ir.Value]) -> bool:
    """Whether a node divides by what comes of the family, or multiplies with one over that."""
    if node.op_type not in ("Div", "Mul") or node.domain or len(node.inputs) < 2:
        return False
    waiting, inverse = [node.inputs[1]], node.op_type == "Div"
    for _ in range(_MOST):
        value = waiting.pop(0) if waiting else None
        maker = None if value is None else value.producer()
        if value in family and inverse:
            return True
        if maker is not None and value not in family:
            inverse = inverse or maker.op_type in ("Reciprocal", "Div", "Pow")
            waiting += [v for v in maker.inputs if v is not None]
    return False
