"""Copies: shared weights whose readers would need different channels of them.

(PW)x and (QW)y, where Wx and Wy were: P = Q, and W is still stored once; else twice. What reads W
whole, or reads its numbers in another way (an embedding's table), needs it as it is. Vectors and
depthwise kernels are too small to matter.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from onebyone.graph.constants import constant, is_float
from onebyone.graph.ops.flow import Flow
from onebyone.optimize.channels.reindex import Orders
from onebyone.optimize.sharing import origin, readers

__all__ = ["copies"]


def copies(flows: Mapping[ir.Node, Flow], orders: Orders) -> dict[ir.Value, int]:
    """Shared weights that would be stored several times -> the numbers stored beyond the first.

    Args:
        flows: of the nodes that get weights for other channels.
        orders: the channels that values have from then on (`reindex`).
    """
    # A product has its weight on either side.
    mixes = (node for node, found in flows.items() if found.mix is not None)
    read = (v for node in mixes for v in node.inputs[:2] if v is not None and _is_weight(v))
    weights = {origin(v): v for v in read}
    found = {w: {_reading(n, flows, orders) for n in readers(v)} for w, v in weights.items()}
    # One way of reading is the weight stored anew; each further one is a copy.
    return {
        w: (len(ways) - 1) * array.size
        for w, ways in found.items()
        if len(ways) > 1 and (array := constant(w)) is not None
    }


def _is_weight(value: ir.Value) -> bool:
    return is_float(value) and constant(value) is not None


def _reading(
    node: ir.Node, flows: Mapping[ir.Node, Flow], orders: Orders
) -> tuple[object, ...] | None:
    """In which way a node reads its weight: equal ways need equal weights; None as it is."""
    found = flows.get(node)
    if found is None:
        return None
    ends = [node.outputs[0]]
    if found.mix is not None:
        ends.append(found.mix.operand)
    known = [(k, orders[v].tobytes()) for k, v in enumerate(ends) if v in orders]
    if not any(order for _, order in known):
        return None
    return (node.op_type, node.inputs[0] in ends, *known)
