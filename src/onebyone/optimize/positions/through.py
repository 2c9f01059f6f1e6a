"""Which positions of its operands a node needs: what the rows of operators say (`graph.ops`)."""

from __future__ import annotations

import onnx_ir as ir

from onebyone.graph.constants import constant
from onebyone.graph.ops import operator_of
from onebyone.graph.ops.merged import Rows
from onebyone.graph.ops.needs import Needs, aligned
from onebyone.graph.ops.row import Operator
from onebyone.graph.picks import Late, Picks
from onebyone.graph.values import are_read, maker, rank_of, size

__all__ = ["through"]

MAX_ON_ROWS = 8
"""Nodes between the view that merges axes into rows and the one that tells them apart."""


def through(node: ir.Node, axis: int, picks: Picks, version: int) -> Needs | None:
    """What a node needs for `picks` along `axis` of its result; None: it mixes these positions.

    Args:
        node: with shapes inferred.
        axis, picks: of its results.
        version: of the standard operators.

    >>> from onebyone.graph.picks import picked
    >>> a, b = (ir.val(s, ir.DataType.FLOAT, shape) for s, shape in (("a", (5, 4)), ("b", (4, 3))))
    >>> product = ir.node("MatMul", [a, b])
    >>> product.outputs[0].shape = ir.Shape((5, 3))
    >>> through(product, 0, picked([1], 5), 17)
    {0: (0, Picks(taken=range(1, 2), whole=5, size=1))}
    """
    row = operator_of(node)
    if not node.outputs or node.outputs[0].shape is None:
        return None
    # Results that nobody reads do not count; pieces of one operand are cut alike.
    if are_read(node.outputs[1:]) and not row.splits:
        return None
    needs = _needs(row, node, axis, picks, version)
    if needs and isinstance(picks.taken, Late) and not _passes(node, axis, picks, needs, version):
        return None
    (_, taken), *_ = needs.values() if needs else [(0, None)]
    if isinstance(taken, Rows) and taken is not picks and not _merges(node, taken, version):
        return None
    return needs


def _needs(row: Operator, node: ir.Node, axis: int, picks: Picks, version: int) -> Needs | None:
    if row.elementwise:
        return aligned(node, axis, picks, range(len(node.inputs))) or None
    if row.mixes is not None:
        if axis in row.mixes(node, version):
            return None
        return aligned(node, axis, picks, [0]) or None
    return row.needs and row.needs(node, axis, picks, version)


def _passes(node: ir.Node, axis: int, picks: Picks, needs: Needs, version: int) -> bool:
    """Whether picks by indices are picks by the same indices of all that a node needs.

    Those that each of a batch has for itself pass where the batch stands at the same axes, and what
    is computed for one of it hangs on no other.
    """
    assert isinstance(picks.taken, Late)
    if any(taken is not picks for _, taken in needs.values()):
        return False
    if not picks.taken.batch:
        return True
    if any(own != axis for own, _ in needs.values()):
        return False
    one = Picks(range(1), None, 1)
    for k in range(picks.taken.batch):
        beside = _needs(operator_of(node), node, k, one, version) or {}
        others = [index for index in needs if beside.get(index) != (k, one)]
        # A table of positions is the same for all of the batch: it is picked from for each.
        if picks.taken.batch > 1 or not all(_is_table(node, index) for index in others):
            return not others
    return True


def _is_table(node: ir.Node, index: int) -> bool:
    """Whether an operand is a constant of one batch, which stands where the batches do.

    Its numbers do not matter: the boxes of a detector's border may be the largest there are.
    """
    value = node.inputs[index]
    if value is None or rank_of(value) != rank_of(node.outputs[0]) or size(value, 0) != 1:
        return False
    stored = value.const_value is not None and not value.is_graph_input()
    return stored or constant(value) is not None


def _merges(node: ir.Node, found: Rows, version: int) -> bool:
    """Whether nothing but rows is made of the axes that are merged, and nobody else reads them."""
    index, axis = 0, 0
    for _ in range(MAX_ON_ROWS):
        value = node.inputs[index]
        above = maker(value)
        if value is None or above is None or value.is_graph_output() or len(value.uses()) != 1:
            return False
        node, needs = above, through(above, axis, found, version) or {}
        if len(needs) != 1:
            return False
        ((index, (axis, taken)),) = needs.items()
        if constant(node.inputs[index]) is not None:
            return False
        if taken is not found:  # positions of one of the axes: here they are merged
            return True
    return False
