"""Windows of convolutions and pools, along one axis: what they read for some of their results.

    S K x   = K' (C x)                   `algebra.window`: S picks results, C cuts out what is seen
    S_g K_s x = K_{g·s} x                S_g: every g-th position, from the first on

The second line holds where sizes are rounded down: ⌊⌊m/s⌋/g⌋ = ⌊m/(g·s)⌋, so both sides have as
many positions. Rounded up, a last window beyond the end may be counted on one side only.
"""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir

from onebyone.algebra.selection import Slice
from onebyone.algebra.window import Window
from onebyone.graph.axes import rank
from onebyone.optimize.positions.picks import Picks, picked

__all__ = ["WINDOWS", "narrowed", "rounds_down", "windows_of"]

WINDOWS = frozenset({"AveragePool", "Conv", "LpPool", "MaxPool"})


def windows_of(node: ir.Node) -> dict[int, Window]:
    """Axis -> the window there; empty where a node has none, or their sizes are not rounded down.

    >>> x = ir.val("x", ir.DataType.FLOAT, (1, 2, 9))
    >>> pool = ir.node("MaxPool", [x], {"kernel_shape": [3], "pads": [1, 0], "dilations": [2]})
    >>> windows_of(pool)
    {2: Window(kernel=3, stride=1, before=1, after=0, dilation=2)}
    """
    if node.domain != "" or node.op_type not in WINDOWS:
        return {}
    kernel, attributes = _kernel(node), node.attributes
    n = len(kernel)
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


def _kernel(node: ir.Node) -> tuple[int, ...]:
    """The sizes of a window; empty where they are not known."""
    if node.op_type != "Conv":
        return tuple(node.attributes.get_ints("kernel_shape", ()))
    weight = node.inputs[1]
    if weight is None or weight.shape is None:
        return ()
    known = tuple(size for size in weight.shape[2:] if isinstance(size, int))
    if len(known) + 2 < weight.shape.rank():
        return ()
    return known


def narrowed(node: ir.Node, axis: int, picks: Picks) -> tuple[Window, Picks | None] | None:
    """How a node computes `picks` along `axis` alone: by which window, reading what (None: all).

    None where no window does that.
    """
    x, window = node.inputs[0], windows_of(node).get(axis)
    if window is None or x is None or x.shape is None:
        return None
    if window.is_single:  # one position for one; which of them a stride takes, its selector knows
        return (window, picks) if window.stride == 1 else None
    if isinstance(picks.taken, Slice):
        return _strided(window, picks.taken)
    size = x.shape[axis]
    if isinstance(picks.taken, tuple) or not isinstance(size, int):
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
