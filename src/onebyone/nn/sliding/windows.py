"""Layers of windows: convolutions, pools, padding and slices.

Each gives an axis (stride, window, padding) for the height and one for the width. A pool whose
window is the whole feature map, and after which there is one position only, is the head's: it
becomes a pool with that window and stride 1.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from torch.nn import functional

from onebyone.nn.sliding.geometry import Axis
from onebyone.nn.sliding.site import Maps, Other, Site, State

__all__ = ["adaptive_pool", "convolution", "pad", "pool", "slide"]

_POOLS: dict[str, Callable[..., Any]] = {"avg": functional.avg_pool2d, "max": functional.max_pool2d}


def convolution(site: Site) -> State:
    """`Conv2d`, `conv2d`: any stride, dilation, groups and padding."""
    x = site.images()
    kernel = _pair(site.option("kernel_size", None) or site.option("weight").shape[2:])
    stride, dilation = _pair(site.option("stride", 1)), _pair(site.option("dilation", 1))
    windows = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    padding = [
        _ends(site.option("padding", 0), axis, window) for axis, window in enumerate(windows)
    ]
    if any(max(ends) > 0 for ends in padding):
        site.remark("pads its input")
    height, width = (Axis(s, w, *ends) for s, w, ends in zip(stride, windows, padding, strict=True))
    return x.then(height, width)


def pool(site: Site) -> State:
    """`MaxPool2d`, `AvgPool2d` and their functions."""
    x, extent = site.images(), site.extent()
    kernel, padding = _pair(site.option("kernel_size")), _pair(site.option("padding", 0))
    if site.option("return_indices", False):
        site.refuse("indices of a maximum are places in one image")
    if kernel == extent and padding == (0, 0):
        if site.is_head():
            return slide(site, site.name.lower()[:3])
        if site.sized("kernel_size"):
            return whole(site)
    if site.sized("kernel_size"):
        site.refuse("its window is computed from the size of the image", "give it as a number")
    stride = _pair(site.option("stride", None) or kernel)
    dilation = _pair(site.option("dilation", 1))
    windows = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    axes = [Axis(s, w, p, p) for s, w, p in zip(stride, windows, padding, strict=True)]
    if max(padding) > 0:
        site.remark("pads its input")
    if site.option("ceil_mode", False):
        axes = _rounded_up(site, axes, extent)
    return x.then(*axes)


def _rounded_up(site: Site, axes: list[Axis], extent: tuple[int, int]) -> list[Axis]:
    """The axes of a pool with `ceil_mode`: hidden padding at the end.

    PyTorch adds up to stride − 1 pixels so that the sizes round up, but no window that starts in
    them. Where that adds nothing at the original size it adds nothing in any crop, and rounding
    down says the same: the pool is changed to that.
    """
    up = [
        Axis(a.stride, a.window, a.before, min(a.after + a.stride - 1, a.window - 1)) for a in axes
    ]
    adds = [u.size(n) != a.size(n) for u, a, n in zip(up, axes, extent, strict=True)]
    if any(adds):
        site.remark(f"rounds its size up (ceil_mode), which at {extent[0]}×{extent[1]} is padding")
    if any(adds) or site.keep_ceil:
        return up
    site.set("ceil_mode", False)
    return axes


def adaptive_pool(site: Site) -> State:
    """`AdaptiveAvgPool2d`, `AdaptiveMaxPool2d`: the fixed pool that it is at the original size."""
    x, extent, kind = site.images(), site.extent(), "max" if "max" in site.name.lower() else "avg"
    sizes = site.option("output_size")
    wanted = (sizes, sizes) if isinstance(sizes, int) else tuple(sizes)
    out = tuple(n if size is None else size for n, size in zip(extent, wanted, strict=True))
    if out == (1, 1):
        return slide(site, kind) if site.is_head() else whole(site)
    if out == extent:
        site.bypass()
        return x
    found = [_fixed(n, size) for n, size in zip(extent, out, strict=True)]
    axes = [axis for axis in found if axis is not None]
    if len(axes) < 2:
        site.refuse(
            f"its windows from {extent} to {out} are uneven", "choose a size that divides evenly"
        )
    windows, strides = tuple(a.window for a in axes), tuple(a.stride for a in axes)
    site.call(_POOLS[kind], windows, strides)
    return x.then(*axes)


def _fixed(pixels: int, size: int) -> Axis | None:
    """The pool that an adaptive one is: its windows go from ⌊in/m⌋ to ⌈(i+1)n/m⌉."""
    starts = [i * pixels // size for i in range(size)]
    ends = [-(-(i + 1) * pixels // size) for i in range(size)]
    windows = {end - start for start, end in zip(starts, ends, strict=True)}
    steps = {b - a for a, b in pairwise(starts)} or {1}
    return Axis(steps.pop(), windows.pop()) if len(windows) == len(steps) == 1 else None


def slide(site: Site, kind: str, extent: tuple[int, int] | None = None) -> Maps:
    """Have the node pool a window of the original feature map, at every position.

    kind is "avg", "max" or "sum".
    """
    n = extent or site.extent()
    if kind == "sum":
        site.call(functional.avg_pool2d, n, 1, divisor_override=1)
    else:
        site.call(_POOLS[kind], n, 1)
    x = site.x.then(Axis(1, n[0]), Axis(1, n[1]))
    rank = len(site.traced.shape(site.node))
    return Maps(x.height, x.width, (2, 3) if rank == 4 else None)


def whole(site: Site) -> State:
    """A pool inside the network that is one number for the whole image."""
    site.remark("pools over the whole image")
    return Other.WHOLE


def pad(site: Site) -> State:
    """`functional.pad` and the padding layers: pairs from the last axis on; negative ones crop."""
    x = site.x
    if x.axes is None or x.pending:
        site.refuse("it pads what has no spatial axes")
    if site.sized("padding"):
        site.refuse("its padding is computed from the size of the image", "give it as numbers")
    amounts = site.option("padding")
    rank = len(site.shape)
    ends = {rank - 1 - i // 2: tuple(amounts[i : i + 2]) for i in range(0, len(amounts), 2)}
    height, width = (Axis(1, 1, *ends.get(axis, (0, 0))) for axis in x.axes)
    if max(height.before, height.after, width.before, width.after) > 0:
        site.remark("pads its input")
    return x.then(height, width)


def _pair(value: Any) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    first, *rest = value
    return int(first), int(rest[0] if rest else first)


def _ends(padding: Any, axis: int, window: int) -> tuple[int, int]:
    """Padding before and after of a convolution along one axis; "same" puts the odd one after."""
    if padding == "same":
        return (window - 1) // 2, window - 1 - (window - 1) // 2
    if padding == "valid":
        return 0, 0
    return (_pair(padding)[axis],) * 2
