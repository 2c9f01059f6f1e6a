"""Sizes that are computed when the model runs, and need not be.

Exporters write `x.reshape(x.shape[0], 24, 4, 16)` as Shape, Gather, Unsqueeze and Concat before the
Reshape. Symbolic shapes say what comes out: [-1, 24, 4, 16] does as well, and of two places that
compute the same sizes one is enough.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence

import onnx_ir as ir

from onebyone.graph.axes import integers
from onebyone.graph.constants import constant
from onebyone.graph.edit import Edit

__all__ = ["Entries", "entries_of", "fix_targets", "merge_sizes", "of_shapes", "reshape_target"]

Entries = tuple[int | str, ...]
"""Of a vector or scalar of integers: each entry as a number, or as the name of a free size."""

_LONGEST = 64


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
        row = _ROWS.get(node.op_type) if node.domain == "" else None
        found = None if row is None or len(node.outputs) != 1 else row(node, known)
        if found is not None and len(found) <= _LONGEST:
            known[node.outputs[0]] = found
    return known


def _entries(value: ir.Value | None, known: dict[ir.Value, Entries]) -> Entries | None:
    if value is None or value in known:
        return None if value is None else known[value]
    array = constant(value)
    if array is None or array.dtype.kind not in "iu" or array.ndim > 1 or array.size > _LONGEST:
        return None
    return tuple(int(n) for n in array.reshape(-1))


def _shape(node: ir.Node, known: dict[ir.Value, Entries]) -> Entries | None:
    shape = None if node.inputs[0] is None else node.inputs[0].shape
    if shape is None:
        return None
    end = node.attributes.get_int("end", shape.rank())
    dims = list(shape)[slice(node.attributes.get_int("start", 0), end)]
    names = [n if isinstance(n, int) else n.value for n in dims]
    return None if None in names else tuple(n for n in names if n is not None)


def _same(node: ir.Node, known: dict[ir.Value, Entries]) -> Entries | None:
    shape = node.outputs[0].shape
    return _entries(node.inputs[0], known) if shape is not None and shape.rank() < 2 else None


def _cast(node: ir.Node, known: dict[ir.Value, Entries]) -> Entries | None:
    whole = node.attributes.get_int("to", 0) in (ir.DataType.INT32, ir.DataType.INT64)
    return _same(node, known) if whole else None


def _gather(node: ir.Node, known: dict[ir.Value, Entries]) -> Entries | None:
    entries, indices = _entries(node.inputs[0], known), constant(node.inputs[1])
    if entries is None or indices is None or indices.ndim > 1:
        return None
    if not all(-len(entries) <= k < len(entries) for k in indices.reshape(-1)):
        return None
    return tuple(entries[int(k)] for k in indices.reshape(-1))


def _slice(node: ir.Node, known: dict[ir.Value, Entries]) -> Entries | None:
    entries = _entries(node.inputs[0], known)
    starts, ends = integers(node, 1, "starts"), integers(node, 2, "ends")
    steps = integers(node, 4, "steps") if len(node.inputs) > 4 and node.inputs[4] else [1]
    if entries is None or starts is None or ends is None or steps != [1]:
        return None
    return entries[starts[0] : ends[0]] if len(starts) == len(ends) == 1 else None


def _concat(node: ir.Node, known: dict[ir.Value, Entries]) -> Entries | None:
    parts = [_entries(value, known) for value in node.inputs]
    if any(part is None for part in parts):
        return None
    return tuple(entry for part in parts if part is not None for entry in part)


_ROWS: dict[str, Callable[[ir.Node, dict[ir.Value, Entries]], Entries | None]] = {
    "Cast": _cast,
    "Concat": _concat,
    "Gather": _gather,
    "Identity": _same,
    "Reshape": _same,
    "Shape": _shape,
    "Slice": _slice,
    "Squeeze": _same,
    "Unsqueeze": _same,
}


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


def of_shapes(target: ir.Value | None) -> bool:
    """Whether sizes hang on shapes and constants alone, not on numbers that the caller gives.

    Of those the file may declare what comes out, which is the author's word and not computed.
    """
    waiting, seen = [target], set()
    while waiting:
        value = waiting.pop()
        if value is None or value in seen or constant(value) is not None:
            continue
        seen.add(value)
        node = value.producer()
        if node is None or node.domain != "":
            return False
        waiting += () if node.op_type in ("Shape", "Size") else node.inputs
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
