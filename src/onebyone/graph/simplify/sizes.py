"""Sizes that are computed when the model runs, and need not be.

Exporters write `x.reshape(x.shape[0], 24, 4, 16)` as Shape, Gather, Unsqueeze and Concat before the
Reshape. Symbolic shapes say what comes out: [-1, 24, 4, 16] does as well, and of two places that
compute the same sizes one is enough.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence

import onnx_ir as ir

from onebyone.graph.constants import constant
from onebyone.graph.edit import Edit
from onebyone.graph.ops import operator_of
from onebyone.graph.ops.sizes import LONGEST, Entries, of_shapes

__all__ = ["entries_of", "fix_targets", "merge_sizes", "reshape_target"]


def merge_sizes(graph: ir.Graph) -> Counter[str]:
    """Let readers of sizes read the first value that holds the same ones; how many went.

    Args:
        graph: with shapes inferred; changed in place, nodes without readers are left standing.
    """
    edit, first = Edit(graph), dict[Hashable, ir.Value]()
    gone: Counter[str] = Counter()
    for value, entries in entries_of(graph).items():
        node = value.producer()
        if node is None or value.shape is None:
            continue
        kept = first.setdefault((value.dtype, value.shape.rank(), entries), value)
        if kept is not value and value.uses() and edit.bypass(value, kept):
            gone[node.op_type] += 1
    return gone


def entries_of(graph: ir.Graph) -> dict[ir.Value, Entries]:
    """What is known of the results of nodes that hand sizes on."""
    known: dict[ir.Value, Entries] = {}
    for node in graph:
        read = operator_of(node).entries
        found = None if read is None or len(node.outputs) != 1 else read(node, known)
        if found is not None and len(found) <= LONGEST:
            known[node.outputs[0]] = found
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


def _dims(value: ir.Value | None) -> list[int | str] | None:
    if value is None or value.shape is None:
        return None
    names = [n if isinstance(n, int) else n.value for n in value.shape]
    return None if None in names else [n for n in names if n is not None]


def reshape_target(x: ir.Value | None, y: ir.Value) -> list[int] | None:
    """What to reshape x to for the shape of y: 0 for an axis that stays, -1 for one that is free.

    >>> x, y = ir.val("x", None, ["n", "h", 6]), ir.val("y", None, ["n", "h", 2, 3])
    >>> reshape_target(x, y), reshape_target(y, ir.val("z", None, [6, "h*n"]))
    ([0, 0, 2, 3], [6, -1])
    """
    before, after = _dims(x), _dims(y)
    if after is None or 0 in after:
        return None
    free = [k for k, size in enumerate(after) if isinstance(size, str)]
    if len(free) < 2:
        return [size if isinstance(size, int) else -1 for size in after]
    target = [_kept(size, k, before or []) for k, size in enumerate(after)]
    return target if target.count(-1) < 2 else None


def _kept(size: int | str, axis: int, before: Sequence[int | str]) -> int:
    if isinstance(size, int):
        return size
    return 0 if axis < len(before) and before[axis] == size else -1


def _expand_target(node: ir.Node) -> list[int] | None:
    """Numbers, and 1 for an axis that has its size already."""
    before, after = _dims(node.inputs[0]), _dims(node.outputs[0])
    if before is None or after is None:
        return None
    padded = [1] * (len(after) - len(before)) + list(before)
    if any(isinstance(b, str) and a != b for a, b in zip(after, padded, strict=True)):
        return None
    free = [isinstance(a, str) and a != b for a, b in zip(after, padded, strict=True)]
    return None if any(free) else [a if isinstance(a, int) else 1 for a in after]


_PLANS: dict[str, Callable[[ir.Node], list[int] | None]] = {
    "Expand": _expand_target,
    "Reshape": lambda node: reshape_target(node.inputs[0], node.outputs[0]),
}
