"""Two operators in a row that are one, or none.

A row has the second of the two; it looks at what comes before and puts one node in the place of
both. The first goes where nobody else reads it; where somebody does, nothing is gained and the pair
stays, but for those that undo each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container

import onnx_ir as ir

from onebyone.graph.axes import integers, permutation
from onebyone.graph.channels import is_pointwise_convolution
from onebyone.graph.constants import constant
from onebyone.graph.edit import Edit, respell
from onebyone.graph.ops import Role, operator_of, role
from onebyone.graph.ops.row import Effort
from onebyone.graph.ops.selection import cuts
from onebyone.graph.ops.view import moves_no_number
from onebyone.graph.simplify.sizes import reshape_target, settle
from onebyone.graph.values import input_at, is_read, made_by, maker, rank_of

__all__ = ["join_pairs"]

Row = Callable[[ir.Node, ir.Node, Edit], bool]

_REPEATED = 256
"""As many operands a Concat may get if they stay those of others, too: each may double them."""


def join_pairs(graph: ir.Graph) -> Counter[str]:
    """Make one node of two that follow each other; how many pairs, by the second's operator.

    Args:
        graph: with shapes inferred; changed in place, first nodes are left standing unread.

    >>> x = ir.val("x", ir.DataType.FLOAT, [2, 3, 4])
    >>> first = ir.node("Transpose", [x], {"perm": [1, 0, 2]})
    >>> second = ir.node("Transpose", [first.outputs[0]], {"perm": [2, 1, 0]})
    >>> graph = ir.Graph([x], second.outputs, nodes=[first, second])
    >>> join_pairs(graph), graph[1].attributes["perm"].value
    (Counter({'Transpose': 1}), (2, 0, 1))
    """
    edit, joined = Edit(graph), Counter[str]()
    for node in graph:
        if node.domain == "" and _join(node, edit):
            joined[node.op_type] += 1
    return joined


def _join(node: ir.Node, edit: Edit) -> bool:
    if node.op_type == "Concat":
        return _pieces(node, edit) or _joins(node)
    before = _before(node)
    return before is not None and node.op_type in ROWS and ROWS[node.op_type](node, before, edit)


def _before(node: ir.Node) -> ir.Node | None:
    """The node of this graph that makes the first operand."""
    before = maker(input_at(node, 0))
    if before is None or before.domain != "" or before.graph is not node.graph:
        return None
    return before


def _is_read_once(node: ir.Node) -> bool:
    value, *others = node.outputs
    alone = len(value.uses()) == 1 and not value.is_graph_output()
    return alone and not any(map(is_read, others))


def _transposes(node: ir.Node, before: ir.Node, edit: Edit) -> bool:
    """Two permutations are one; one that moves axes of size 1 only is a new shape."""
    if before.op_type != node.op_type:
        return _is_view(node) and _views(node, before, edit)
    x, first, second = before.inputs[0], permutation(before), permutation(node)
    if x is None or first is None or second is None:
        return False
    both = tuple(first[k] for k in second)
    if both == tuple(sorted(both)):
        return edit.bypass(node.outputs[0], x)
    if not _is_read_once(before):
        return False
    node.replace_input_with(0, x)
    node.attributes.add(ir.AttrInt64s("perm", both))
    return True


def _is_view(node: ir.Node) -> bool:
    """Whether a node gives the same numbers in the same order."""
    free = operator_of(node).effort is Effort.FREE
    return role(node) is Role.VIEW and (free or moves_no_number(node))


def _views(node: ir.Node, before: ir.Node, edit: Edit) -> bool:
    """Of two new shapes only the last counts."""
    x = before.inputs[0]
    if not _is_view(before) or x is None or not _is_read_once(before):
        return False
    settle(x, node.outputs[0])
    target = reshape_target(x, node.outputs[0])
    if target is None and node.op_type == "Reshape":
        # Sizes that shapes do not tell: the target stays, unless a 0 in it means "as before".
        given = constant(node.inputs[1])
        if given is not None and given.all():
            target = [int(n) for n in given]
    if target is None:
        return False
    respell(node, "Reshape", [x, edit.integers(target)], {})
    return True


def _casts(node: ir.Node, before: ir.Node, edit: Edit) -> bool:
    """A cast to a type that holds every number of the first changes none of them."""
    x, middle = before.inputs[0], before.outputs[0].dtype
    if before.op_type != "Cast" or x is None or x.dtype is None or middle is None:
        return False
    if not _holds(middle, x.dtype):
        return False
    node.replace_input_with(0, x)
    return True


# Each type of a chain holds all numbers of those before it: an int32 needs a double's 53 bits.
_HELD = (
    ("INT8", "INT16", "INT32", "INT64"),
    ("UINT8", "UINT16", "UINT32", "UINT64"),
    ("UINT8", "INT16", "INT32", "INT64"),
    ("FLOAT16", "FLOAT", "DOUBLE"),
    ("BFLOAT16", "FLOAT", "DOUBLE"),
    ("INT32", "DOUBLE"),
    ("INT16", "FLOAT", "DOUBLE"),
    ("UINT8", "FLOAT16", "FLOAT", "DOUBLE"),
    ("INT8", "FLOAT16", "FLOAT", "DOUBLE"),
)


def _holds(wide: ir.DataType, narrow: ir.DataType) -> bool:
    if narrow in (wide, ir.DataType.BOOL):
        return wide != ir.DataType.STRING
    chains = (chain for chain in _HELD if narrow.name in chain and wide.name in chain)
    return any(chain.index(narrow.name) < chain.index(wide.name) for chain in chains)


def _slices(node: ir.Node, before: ir.Node, edit: Edit) -> bool:
    """Cuts along different axes are one cut; where all that read the first are such cuts."""
    cut = before.outputs[0]
    if before.op_type != node.op_type or cut.is_graph_output():
        return False
    inner, outer, x = cuts(before), cuts(node), before.inputs[0]
    if inner is None or outer is None or x is None or len(node.inputs) < 3:
        return False
    if not all(_cuts_elsewhere(use.node, before, inner) for use in cut.uses()):
        return False
    both = {**inner, **outer}
    columns = [[bounds[k] for bounds in both.values()] for k in range(3)]
    lists = [columns[0], columns[1], list(both), columns[2]]
    respell(node, node.op_type, [x, *map(edit.integers, lists)], {})
    return True


def _cuts_elsewhere(reader: ir.Node, maker: ir.Node, axes: Container[int]) -> bool:
    """Whether a reader of what a Slice gives is a Slice of it along other axes."""
    cut = maker.outputs[0]
    if reader.op_type != maker.op_type or reader.domain != "" or reader.inputs[0] is not cut:
        return False
    its_axes = cuts(reader)
    return its_axes is not None and not any(axis in axes for axis in its_axes)


def _negations(node: ir.Node, before: ir.Node, edit: Edit) -> bool:
    """Done twice, it is undone."""
    x = before.inputs[0]
    return before.op_type == node.op_type and x is not None and edit.bypass(node.outputs[0], x)


def _pieces(node: ir.Node, edit: Edit) -> bool:
    """All pieces of a Split, in their order and along its axis, are what was split."""
    split = _before(node)
    if split is None or split.op_type != "Split" or tuple(node.inputs) != tuple(split.outputs):
        return False
    x, axis = split.inputs[0], _axis(split, split.inputs[0])
    return x is not None and axis == _axis(node) is not None and edit.bypass(node.outputs[0], x)


def _joins(node: ir.Node) -> bool:
    """A concatenation of concatenations along one axis, where all that read those are such."""
    axis, parts, repeats = _axis(node), list[ir.Value | None](), False
    for x in node.inputs:
        concat = made_by(x, "Concat")
        # A Concat outside a subgraph stays, whoever reads it in there.
        if concat is not None and concat.graph is node.graph and _only_joined(concat):
            parts += concat.inputs
            repeats |= not _is_read_once(concat)
        else:
            parts.append(x)
    if len(parts) == len(node.inputs) or axis is None or (repeats and len(parts) > _REPEATED):
        return False
    respell(node, "Concat", parts, {"axis": axis})
    return True


def _only_joined(node: ir.Node) -> bool:
    """Whether a Concat is read by nothing but a Concat along the same axis."""
    axis, result = _axis(node), node.outputs[0]
    if result.is_graph_output() or axis is None:
        return False
    readers = (use.node for use in result.uses())
    return all(r.op_type == "Concat" and r.domain == "" and _axis(r) == axis for r in readers)


def _axis(node: ir.Node, like: ir.Value | None = None) -> int | None:
    """A node's axis, counted from the front of its result, or of `like`; None: unknown rank."""
    rank = rank_of(like or node.outputs[0])
    return node.attributes.get_int("axis", 0) % rank if rank else None


def _pads(node: ir.Node, before: ir.Node, edit: Edit) -> bool:
    """Zeros around the map are a convolution's own padding.

    Not a 1×1's: it would multiply with them, where it can go before the Pad and leave them alone.
    """
    if before.op_type != "Pad" or not _is_read_once(before) or is_pointwise_convolution(node):
        return False
    x, pads = before.inputs[0], integers(before, 1, "pads")
    if x is None or pads is None or any(v is not None for v in before.inputs[3:]):
        return False
    # Begins of all axes, then ends; the first two of each are the batch's and the channels'.
    half = len(pads) // 2
    inner = [*pads[2:half], *pads[half + 2 :]]
    edges = [*pads[:2], *pads[half : half + 2]]
    if not _fills_with_zeros(before) or any(edges) or any(n < 0 for n in inner):
        return False
    if node.attributes.get_string("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return False
    own = node.attributes.get_ints("pads", [0] * len(inner))
    node.replace_input_with(0, x)
    node.attributes.pop("auto_pad", None)
    node.attributes.add(ir.AttrInt64s("pads", [a + b for a, b in zip(own, inner, strict=True)]))
    return True


def _fills_with_zeros(node: ir.Node) -> bool:
    fill = input_at(node, 2)
    if fill is not None:
        array = constant(fill)
        if array is None or array.any():
            return False
    constant_mode = node.attributes.get_string("mode", "constant") == "constant"
    return constant_mode and not node.attributes.get_float("value", 0.0)


def _transposed(node: ir.Node, before: ir.Node, edit: Edit) -> bool:
    """A Gemm takes its first operand either way round."""
    if before.op_type != "Transpose" or permutation(before) != (1, 0) or not _is_read_once(before):
        return False
    node.replace_input_with(0, before.inputs[0])
    node.attributes.add(ir.AttrInt64("transA", 1 - node.attributes.get_int("transA", 0)))
    return True


def _reduced(node: ir.Node, before: ir.Node, edit: Edit) -> bool:
    """A reduction says itself whether its axes stay: no Squeeze drops them, no Unsqueeze adds."""
    stays = node.op_type == "Unsqueeze"
    has = before.attributes.get_int("keepdims", 1) == 1
    if not before.op_type.startswith("Reduce") or has == stays:
        return _views(node, before, edit)
    axes, named = integers(before, 1, "axes"), integers(node, 1, "axes")
    rank = rank_of(before.inputs[0])
    if not axes or not named or rank is None or not _is_read_once(before):
        return False
    if {axis % rank for axis in axes} != {axis % rank for axis in named}:
        return False
    attributes = {**before.attributes, "keepdims": int(stays)}
    respell(node, before.op_type, before.inputs, attributes)
    return True


def _other_way(node: ir.Node, before: ir.Node, edit: Edit) -> bool:
    """Where(not c, a, b) is Where(c, b, a)."""
    if before.op_type != "Not" or not _is_read_once(before):
        return False
    a, b = node.inputs[1], node.inputs[2]
    respell(node, "Where", [before.inputs[0], b, a], {})
    return True


ROWS: dict[str, Row] = {
    "Cast": _casts,
    "Conv": _pads,
    "Flatten": _views,
    "Gemm": _transposed,
    "Neg": _negations,
    "Not": _negations,
    "Reshape": _views,
    "Slice": _slices,
    "Squeeze": _reduced,
    "Transpose": _transposes,
    "Unsqueeze": _reduced,
    "Where": _other_way,
}
