"""What is computed twice is computed once, and equal weights are stored once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from hashlib import sha256

import onnx_ir as ir

from onebyone.graph.edit import Edit
from onebyone.graph.exact import Exact, numbers
from onebyone.graph.ops import operator_of
from onebyone.graph.values import has_subgraphs, is_read

__all__ = ["merge_constants", "merge_nodes"]

_LARGE = 1 << 20
_SOME = 16
"""Numbers by which most weights differ, so that their bytes need not be gone through.

Not the first ones: where channels were pruned, these are zeros.
"""


def merge_constants(graph: ir.Graph) -> int:
    """Let readers of equal initialisers read the first one; how many went.

    Those that a caller may override, or that are results of the graph, keep their own.

    >>> pair = [ir.val(n, const_value=ir.tensor([1.0, 2.0], name=n)) for n in "ab"]
    >>> nodes = [ir.node("Relu", [value]) for value in pair]
    >>> graph = ir.Graph([], [], nodes=nodes, initializers=pair)
    >>> merge_constants(graph), nodes[1].inputs[0].name
    (1, 'a')
    """
    edit, first = Edit(graph), dict[Hashable, ir.Value]()
    gone = 0
    for group in _alike(graph).values():
        if len(group) < 2:
            continue
        for value in group:
            kept = first.setdefault(_contents(value), value)
            if kept is not value:
                edit.replace(value, kept)
                del graph.initializers[str(value.name)]
                gone += 1
    return gone


def _alike(graph: ir.Graph) -> dict[Hashable, list[ir.Value]]:
    """The initialisers that are nobody else's, by type, shape and some of their numbers."""
    alike: dict[Hashable, list[ir.Value]] = {}
    for value in graph.initializers.values():
        tensor = value.const_value
        if tensor is None or tensor.dtype == ir.DataType.STRING:
            continue
        if not (value.is_graph_input() or value.is_graph_output()):
            shape, flat = tuple(tensor.shape.numpy()), numbers(tensor).reshape(-1)
            some = flat[:: len(flat) // _SOME + 1]
            alike.setdefault((tensor.dtype, shape, some.tobytes()), []).append(value)
    return alike


def _contents(value: ir.Value) -> Hashable:
    """Equal for initialisers that stand for equal numbers of one type, and for no others."""
    tensor = value.const_value
    assert tensor is not None
    # A computed weight is told by its float64: two that round to the same may still differ.
    data = numbers(tensor).tobytes() if isinstance(tensor, Exact) else tensor.tobytes()
    return tensor.dtype, tuple(tensor.shape.numpy()), sha256(data).digest()


def merge_nodes(graph: ir.Graph) -> Counter[str]:
    """Let readers of a node that does what one before it does read that one; how many went.

    Nodes of standard operators only: what a custom one does is its own affair.

    Args:
        graph: changed in place; the second nodes are left standing without readers.

    >>> x = ir.val("x", ir.DataType.FLOAT, [2])
    >>> nodes = [ir.node("Relu", [x]) for _ in range(2)]
    >>> graph = ir.Graph([x], [], nodes=[*nodes, ir.node("Add", [n.outputs[0] for n in nodes])])
    >>> merge_nodes(graph)
    Counter({'Relu': 1})
    """
    edit, first = Edit(graph), dict[Hashable, ir.Node]()
    gone: Counter[str] = Counter()
    for node in graph:
        key = _key(node)
        if key is None:
            continue
        kept = first.setdefault(key, node)
        if kept is not node and _merge(node, kept, edit):
            gone[node.op_type] += 1
    return gone


def _merge(node: ir.Node, kept: ir.Node, edit: Edit) -> bool:
    pairs = zip(node.outputs, kept.outputs, strict=True)
    merged = [edit.bypass(value, same) for value, same in pairs if is_read(value)]
    return bool(merged) and all(merged)


def _key(node: ir.Node) -> Hashable | None:
    """Equal for nodes that compute the same; None for those that may not be merged."""
    row = operator_of(node)
    if node.domain != "" or row.is_random or node.op_type == "Dropout" or has_subgraphs(node):
        return None
    attributes = [_attribute(node.attributes[name]) for name in sorted(node.attributes)]
    if None in attributes:
        return None
    operands = [id(value) for value in node.inputs]  # that of None too, for one that is left out
    if row.commutes:
        operands.sort()
    # A result without a name is not computed, so it cannot stand for one that is.
    present = tuple(bool(value.name) for value in node.outputs)
    return node.op_type, tuple(operands), tuple(attributes), present


def _attribute(attribute: ir.Attr) -> Hashable | None:
    if attribute.is_ref():
        return None
    value = attribute.value
    if attribute.type == ir.AttributeType.TENSOR:
        if value.dtype == ir.DataType.STRING or value.nbytes > _LARGE:
            return None
        value = (value.dtype, tuple(value.shape.numpy()), value.tobytes())
    elif isinstance(value, list | tuple):
        value = tuple(value)
    try:
        hash(value)
    except TypeError:
        return None
    return attribute.name, attribute.type, value
