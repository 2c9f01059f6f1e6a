"""Crops through a resize: along the axes it leaves alone, and through a nearest one by blocks.

S R x = R (C x)         R: nearest, by a whole factor f; S takes whole blocks of f positions,
                        C the positions that those are copies of
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from onebyone.algebra.resize import Resize
from onebyone.graph.axes import Spatial, operand
from onebyone.graph.constants import constant
from onebyone.graph.spatial import spatial
from onebyone.optimize.positions.picks import Picks, picked

__all__ = ["resized", "sizes_of"]

MAX_CHECKED = 1 << 22
"""Positions before times positions after, up to which a crop is compared row by row."""


def resized(node: ir.Node, axis: int, picks: Picks) -> tuple[int, Picks] | None:
    """What a Resize needs of its operand; None where a smaller one would not compute the same."""
    x, out = node.inputs[0], node.outputs[0]
    found = spatial(node)
    if not isinstance(found, Spatial) or found.runtime or x is None or x.shape is None:
        return None
    if out.shape is None or not _written(node, picks):
        return None
    how, taken = found.maps.get(axis), None
    if how is None and x.shape[axis] == out.shape[axis]:
        taken = picks
    elif isinstance(how, Resize):
        taken = _blocks(how, x.shape[axis], picks)
    if taken is None:
        return None
    return axis, taken


def _written(node: ir.Node, picks: Picks) -> bool:
    """Whether other sizes can be written down, and mean nothing for the other axes."""
    a = node.attributes
    if a.get_string("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize":
        return False
    if a.get_string("keep_aspect_ratio_policy", "stretch") != "stretch":
        return False
    return operand(node, 3) is None or isinstance(picks.size, int)


def _blocks(how: Resize, before: int | ir.SymbolicDim, picks: Picks) -> Picks | None:
    taken, whole = picks.taken, picks.whole
    if not (isinstance(taken, range) and isinstance(before, int) and isinstance(whole, int)):
        return None
    factor = whole // before
    if whole != factor * before or whole * before > MAX_CHECKED or how.mode != "nearest":
        return None
    # Part of a block would need half of a position.
    if taken.step != 1 or taken.start % factor or taken.stop % factor:
        return None
    first, end = taken.start // factor, taken.stop // factor
    smaller = replace(how, size=how.size and len(taken))
    # By scales, rounding may give another number of positions.
    if smaller.out_size(end - first) != len(taken):
        return None
    # Formulas of nearest are many, and round in their own ways: so compare what they pick.
    rows = how.rows(before, whole)[taken.start : taken.stop]
    if not np.array_equal(rows[:, first:end], smaller.rows(end - first, len(taken))):
        return None
    return picked(range(first, end), before)


def sizes_of(node: ir.Node, taken: Mapping[int, Picks]) -> list[int] | None:
    """The sizes that a Resize names, with fewer along some axes; None where it names scales."""
    named, x = constant(operand(node, 3)), node.inputs[0]
    if node.op_type != "Resize" or named is None or x is None or x.shape is None:
        return None
    axes = node.attributes.get_ints("axes", range(x.shape.rank()))
    told = {axis: picks.size for axis, picks in taken.items() if isinstance(picks.size, int)}
    return [
        told.get(axis % x.shape.rank(), int(size))
        for axis, size in zip(axes, named.ravel(), strict=True)
    ]
