"""Axes that a view merges: positions of one of them, where linear layers see rows.

    (L, N, C) --reshape--> (L·N, C) --linear--> (L·N, F) --reshape--> (L, N, F)

GPT-2 and `torch.nn.MultiheadAttention` are exported so. Which rows belong to some tokens hangs on
N, so nobody can take them from a tensor of rows. But nobody has to, where a reshape makes the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onebyone.algebra.layout import Dim, channel_axis_after, product
from onebyone.algebra.selection import Slice
from onebyone.graph.picks import Picks, Size, sizes_left
from onebyone.graph.symbolic import simplified
from onebyone.graph.views import dims_of

__all__ = ["Rows", "axis_of_rows", "rows"]


@dataclass(frozen=True)
class Rows(Picks):
    """All rows of some positions of one of the axes that were merged into rows.

    Args:
        merged: the sizes of these axes.
        axis, inner: which of them, and the positions along it.
        length: its size.
    """

    merged: tuple[Dim, ...]
    axis: int
    inner: Picks
    length: Size


def rows(node: ir.Node, axis: int, picks: Picks) -> Rows | None:
    """What a Reshape of rows into several axes needs for positions along one of these.

    None where it is no such Reshape: the last axis stays, all others are the rows.
    """
    x, out = node.inputs[0], node.outputs[0]
    before, after = dims_of(x), dims_of(out)
    if before is None or after is None or len(before) != 2 or out.shape is None:
        return None
    merged = after[:-1]
    if len(merged) < 2 or axis >= len(merged) or isinstance(picks, Rows):
        return None
    if product(merged) != before[0] or after[-1] != before[1]:
        return None
    sizes = sizes_left(out.shape, {axis: picks})
    return Rows(Slice(), None, _product(sizes[:-1]), merged, axis, picks, out.shape[axis])


def _product(sizes: Sequence[Size]) -> Size:
    total: Size = 1
    for size in sizes:
        if isinstance(size, int) and isinstance(total, int):
            total = size * total
        else:
            total = ir.SymbolicDim(f"({_text(total)})*({_text(size)})")
    return simplified(total)


def _text(size: Size) -> str:
    return str(size) if isinstance(size, int) else size.value or "?"


def axis_of_rows(node: ir.Node, found: Rows) -> int | None:
    """The axis of its operand that a Reshape merges into rows, where it stands there whole."""
    before, after = dims_of(node.inputs[0]), dims_of(node.outputs[0])
    if before is None or after is None or len(after) != 2:
        return None
    if product(found.merged) != after[0] or product(before) != product(after):
        return None
    return channel_axis_after((*found.merged, after[1]), before, found.axis)
