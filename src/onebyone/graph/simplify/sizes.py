"""Sizes that are computed when the model runs, and need not be.

Exporters write `x.reshape(x.shape[0], 24, 4, 16)` as Shape, Gather, Unsqueeze and Concat before the
Reshape. Symbolic shapes say what comes out: [-1, 24, 4, 16] does as well, and of two places that
compute the same sizes one is enough.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from math import prod

import onnx_ir as ir

from onebyone.graph.constants import constant
from onebyone.graph.edit import Edit
from onebyone.graph.ops import operator_of
from onebyone.graph.ops.sizes import LONGEST, Entries, named_sizes, of_shapes
from onebyone.graph.values import fixed_shape, rank_of, shape_of

__all__ = ["entries_of", "fix_targets", "merge_sizes", "reshape_target", "settle"]


def merge_sizes(graph: ir.Graph) -> Counter[str]:
    """Let readers of sizes read the first value that holds the same ones; how many went.

    Args:
        graph: with shapes inferred; changed in place, nodes without readers are left standing.
    """
    edit, first = Edit(graph), dict[Hashable, ir.Value]()
    gone: Counter[str] = Counter()
    for value, entries in entries_of(graph).items():
        node, rank = value.producer(), rank_of(value)
        if node is None or rank is None:
            continue
        kept = first.setdefault((value.dtype, rank, entries), value)
        if kept is not value and value.uses() and edit.bypass(value, kept):
            gone[node.op_type] += 1
    return gone


def entries_of(graph: ir.Graph) -> dict[ir.Value, Entries]:
    """What is known of the results of nodes that hand sizes on."""
    known: dict[ir.Value, Entries] = {}
    for node in graph:
        read = operator_of(node).entries
        if read is None or len(node.outputs) != 1:
            continue
        entries = read(node, known)
        if entries is not None and len(entries) <= LONGEST:
            known[node.outputs[0]] = entries
    return known


def fix_targets(graph: ir.Graph) -> int:
    """Give Reshape and Expand a constant target where shapes say all of it; how many got one.

    Args:
        graph: with shapes inferred; changed in place, what computed the targets is left standing.
    """
    edit = Edit(graph)
    return sum(_fix(node, edit) for node in graph if node.domain == "")


def _fix(node: ir.Node, edit: Edit) -> bool:
    planned = _PLANS.get(node.op_type)
    if planned is None or len(node.inputs) < 2 or constant(node.inputs[1]) is not None:
        return False
    target = planned(node)
    if target is None or not of_shapes(node.inputs[1]):
        return False
    node.replace_input_with(1, edit.integers(target))
    node.attributes.pop("allowzero", None)
    return True


def reshape_target(x: ir.Value | None, y: ir.Value) -> list[int] | None:
    """What to reshape x to for the shape of y: 0 for an axis that stays, -1 for one that is free.

    >>> x, y = ir.val("x", None, ["n", "h", 6]), ir.val("y", None, ["n", "h", 2, 3])
    >>> reshape_target(x, y), reshape_target(y, ir.val("z", None, [6, "h*n"]))
    ([0, 0, 2, 3], [6, -1])
    """
    before, after = named_sizes(shape_of(x)), named_sizes(shape_of(y))
    if after is None or 0 in after:
        return None
    # One free size can be left to the engine; of several, all but one have to stay as they are.
    if before is None or sum(isinstance(size, str) for size in after) < 2:
        before = ()
    target = [_kept(size, before[k : k + 1]) for k, size in enumerate(after)]
    if target.count(-1) > 1:
        return None
    return target


def settle(x: ir.Value | None, y: ir.Value) -> None:
    """Note the one free size of y, x reshaped, where the numbers of x leave it no choice.

    >>> x, y = ir.val("x", None, [2, 9]), ir.val("y", None, ["n", 6])
    >>> settle(x, y), str(y.shape)
    (None, '[3,6]')
    """
    before, after = fixed_shape(x), shape_of(y)
    free = [k for k, size in enumerate(after or ()) if not isinstance(size, int)]
    if before is None or after is None or len(free) != 1:
        return
    others = prod(size for size in after if isinstance(size, int))
    if others and prod(before) % others == 0:
        y.shape = ir.Shape(
            [prod(before) // others if k in free else n for k, n in enumerate(after)]
        )


def _kept(size: int | str, before: Entries) -> int:
    if isinstance(size, int):
        return size
    return 0 if before == (size,) else -1


def _expand_target(node: ir.Node) -> list[int] | None:
    """Numbers, and 1 for an axis that has its size already."""
    before, after = named_sizes(shape_of(node.inputs[0])), named_sizes(shape_of(node.outputs[0]))
    if before is None or after is None:
        return None
    padded = [1] * (len(after) - len(before)) + list(before)
    # A free size on either side that the other does not have may turn out to be 1, or not.
    if any(a != b and str in (type(a), type(b)) for a, b in zip(after, padded, strict=True)):
        return None
    return [a if isinstance(a, int) else 1 for a in after]


_PLANS: dict[str, Callable[[ir.Node], list[int] | None]] = {
    "Expand": _expand_target,
    "Reshape": lambda node: reshape_target(node.inputs[0], node.outputs[0]),
}
