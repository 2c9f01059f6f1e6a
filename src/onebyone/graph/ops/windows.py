"""Windows of convolutions and pools: what they read for some of their results, and what they skip.

    S K x   = K' (C x)                   `algebra.window`: S picks results, C cuts out what is seen
    S_g K_s x = K_{g·s} x                S_g: every g-th position, from the first on
    K_s x   = K S_s x                    K_s: sees one position at a time, of stride s

The second line holds where sizes are rounded down: ⌊⌊m/s⌋/g⌋ = ⌊m/(g·s)⌋, so both sides have as
many positions. Rounded up, a last window beyond the end may be counted on one side only. By the
third a 1×1 of stride s is a selection of every s-th position, and the same 1×1 without a stride.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import onnx_ir as ir

from onebyone.algebra.selection import Slice
from onebyone.algebra.window import Window
from onebyone.graph.axes import rank
from onebyone.graph.edit import Spelling
from onebyone.graph.ops.needs import Needs
from onebyone.graph.ops.selector import Selector, every
from onebyone.graph.picks import Asked, Picks, Size, picked
from onebyone.graph.values import are_read, input_at

__all__ = ["narrowed", "of_kernel", "of_pool", "rounds_down", "windowed"]

Windows = dict[int, Window]
"""Axis -> the window there; empty where a node has none, or their sizes are not rounded down."""


def of_pool(node: ir.Node) -> Windows:
    """The windows of a pool.

    >>> x = ir.val("x", ir.DataType.FLOAT, (1, 2, 9))
    >>> of_pool(ir.node("MaxPool", [x], {"kernel_shape": [3], "pads": [1, 0], "dilations": [2]}))
    {2: Window(kernel=3, stride=1, before=1, after=0, dilation=2)}
    """
    return _laid(node, node.attributes.get_ints("kernel_shape", ()))


def of_kernel(node: ir.Node) -> Windows:
    """The windows of a convolution; none where the sizes of its weight are not known."""
    weight = input_at(node, 1)
    if weight is None or weight.shape is None:
        return {}
    known = [size for size in weight.shape[2:] if isinstance(size, int)]
    if len(known) + 2 < weight.shape.rank():
        return {}
    return _laid(node, known)


def _laid(node: ir.Node, kernel: Sequence[int]) -> Windows:
    n, attributes = len(kernel), node.attributes
    if n == 0 or rank(node) != n + 2 or not rounds_down(node):
        return {}
    strides = attributes.get_ints("strides", (1,) * n)
    dilations = attributes.get_ints("dilations", (1,) * n)
    pads = attributes.get_ints("pads", (0,) * 2 * n)
    each = zip(kernel, strides, pads[:n], pads[n:], dilations, strict=False)
    return {axis: Window(*numbers) for axis, numbers in enumerate(each, start=2)}


def rounds_down(node: ir.Node) -> bool:
    """Whether sizes are rounded down, so that a stride of a stride is their product.

    What pads by itself does not: how much it pads hangs on its stride.
    """
    automatic = node.attributes.get_string("auto_pad", "NOTSET") in ("SAME_UPPER", "SAME_LOWER")
    return not automatic and not node.attributes.get_int("ceil_mode", 0)


def windowed(windows: Callable[[ir.Node], Windows], *, copies: bool = False) -> dict[str, Any]:
    """The fields of a row that follow from its windows.

    Args:
        windows: of a node.
        copies: whether the result of a window of one position is that position.
    """

    def needs(node: ir.Node, axis: int, picks: Picks, _version: int) -> Needs | None:
        x = node.inputs[0]
        if x is None or x.shape is None:
            return None
        if axis == 0:
            return {0: (0, picks)}
        window = windows(node).get(axis)
        found = window and narrowed(window, picks, x.shape[axis])
        if not found:
            return None
        _, reads = found
        if reads is None:  # all of its operand
            return {}
        return {0: (axis, reads)}

    def takes(node: ir.Node, shape: ir.Shape) -> Selector | None:
        """Along the axes where a stride skips what no window sees."""
        found = windows(node)
        skipping = {k: w.stride for k, w in found.items() if w.is_single and w.stride > 1}
        if not skipping or are_read(node.outputs[1:]):
            return None
        orders = {axis: every(stride, shape[axis]) for axis, stride in skipping.items()}
        single = all(window.is_single for window in found.values())
        return Selector(node.outputs[0], orders, copies=copies and single)

    def spelled(node: ir.Node, results: Asked, _operands: object) -> Spelling:
        x, laid = node.inputs[0], windows(node)
        assert x is not None
        assert x.shape is not None
        asked = {axis: picks for axis, picks in results.items() if axis in laid}
        found = {axis: narrowed(laid[axis], picks, x.shape[axis]) for axis, picks in asked.items()}
        laid.update({axis: fewer[0] for axis, fewer in found.items() if fewer is not None})
        if not any(found.values()):
            return {}
        pads = [*(w.before for w in laid.values()), *(w.after for w in laid.values())]
        spelling: dict[int | str, Sequence[int]] = {
            "strides": [window.stride for window in laid.values()]
        }
        if any(pads) or "pads" in node.attributes:
            spelling["pads"] = pads
        return spelling

    return {
        "has_windows": True,
        "windows": windows,
        "needs": needs,
        "takes": takes,
        "spelled": spelled,
    }


def narrowed(window: Window, picks: Picks, size: Size) -> tuple[Window, Picks | None] | None:
    """By which window a node computes `picks` alone, and what that reads of `size` (None: all).

    None where no window does that.
    """
    if window.is_single:  # one position for one; which of them a stride takes, its selector knows
        return (window, picks) if window.stride == 1 else None
    found = _fewer(window, picks, size)
    # OpenVINO (2026.4) moves the stride of a single tap past its padding, and then fails.
    if found is not None and window.extent == 1 and found[0].stride > 1:
        return None
    return found


def _fewer(window: Window, picks: Picks, size: Size) -> tuple[Window, Picks | None] | None:
    if isinstance(picks.taken, Slice):
        return _strided(window, picks.taken)
    if not isinstance(picks.taken, range) or not isinstance(size, int):
        return None
    return _cut(window, picks.taken, size)


def _cut(window: Window, taken: range, size: int) -> tuple[Window, Picks | None] | None:
    """On an axis of known size: what the windows see is cut out, and padded where it was padded."""
    found = window.part(taken, size)
    if found is None:
        return None
    kept, seen = found
    # A single result has the stride that it was asked for with: what that skips is left there.
    kept = replace(kept, stride=window.stride * taken.step)
    if seen.start == 0 and size - seen.stop < kept.stride:
        seen = range(size)
    whole = replace(kept, after=window.after)
    if seen == range(size) and whole.out_size(size) == len(taken):
        kept = whole  # as it was: engines are quicker where both ends are padded alike
    return kept, picked(seen, size)


def _strided(window: Window, taken: Slice) -> tuple[Window, None] | None:
    """On an axis of any size: every g-th window from the first on sees what it saw."""
    if taken.start or taken.stop is not None or taken.step < 2:
        return None
    return replace(window, stride=window.stride * taken.step), None
