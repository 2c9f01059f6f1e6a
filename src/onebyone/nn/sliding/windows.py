"""Layers of windows: convolutions, pools and padding.

Each gives a `Window` for the height and one for the width. A pool whose window is the whole feature
map, and after which there is one position only, is the head's: it becomes a pool with that window
and stride 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

from torch.nn import functional

from onebyone.algebra.window import Window
from onebyone.nn.sliding.site import Maps, Other, Site, State

__all__ = ["adaptive_pool", "convolution", "pad", "pool", "slide"]

_POOLS: dict[str, Callable[..., Any]] = {"avg": functional.avg_pool2d, "max": functional.max_pool2d}


def convolution(site: Site) -> State:
    """`Conv2d`, `conv2d`: any stride, dilation, groups and padding."""
    x = site.images()
    kernel = _pair(site.option("kernel_size", None) or site.option("weight").shape[2:])
    padding = site.option("padding", 0)
    if isinstance(padding, str):
        height, width = _windows(site, kernel, site.option("stride", 1), 0)
    else:
        height, width = _windows(site, kernel, site.option("stride", 1), padding)
    if padding == "same":  # PyTorch has it at stride 1 only, where no size changes it
        height, width = (_padded(w, *w.same_pads(1)) for w in (height, width))
    _remark_padding(site, height, width)
    return x.then(height, width)


def _windows(site: Site, kernel: Any, stride: Any, padding: Any) -> list[Window]:
    """The windows along the height and the width of a layer with these options."""
    every = (_pair(value) for value in (kernel, stride, padding, site.option("dilation", 1)))
    return [Window(k, s, p, p, d) for k, s, p, d in zip(*every, strict=True)]


def _padded(window: Window, before: int, after: int) -> Window:
    return replace(window, before=before, after=after)


def _remark_padding(site: Site, *windows: Window) -> None:
    if any(max(window.before, window.after) > 0 for window in windows):
        site.remark("pads its input")


def pool(site: Site) -> State:
    """`MaxPool2d`, `AvgPool2d` and their functions."""
    x, extent = site.images(), site.extent()
    kernel, padding = _pair(site.option("kernel_size")), _pair(site.option("padding", 0))
    if site.option("return_indices", False):
        site.refuse("indices of a maximum are places in one image")
    if kernel == extent and padding == (0, 0):
        # By its size alone a window of the whole map may be chance: what follows it tells.
        if site.is_head():
            return slide(site, site.name.lower()[:3])
        if site.sized("kernel_size"):
            return whole(site)
    if site.sized("kernel_size"):
        site.refuse("its window is computed from the size of the image", "give it as a number")
    windows = _windows(site, kernel, site.option("stride", None) or kernel, padding)
    _remark_padding(site, *windows)
    if site.option("ceil_mode", False):
        windows = _rounded_up(site, windows, extent)
    return x.then(*windows)


def _rounded_up(site: Site, down: list[Window], extent: tuple[int, int]) -> list[Window]:
    """The windows of a pool with `ceil_mode`.

    Where rounding up adds no output at the original size it adds none in any crop, and rounding
    down says the same: the pool is changed to that.
    """
    up = [window.rounded_up() for window in down]
    adds = [u.out_size(n) != d.out_size(n) for u, d, n in zip(up, down, extent, strict=True)]
    if any(adds):
        site.remark(f"rounds its size up (ceil_mode), which at {extent[0]}×{extent[1]} is padding")
    if any(adds) or site.keep_ceil:
        return up
    site.set("ceil_mode", False)
    return down


def adaptive_pool(site: Site) -> State:
    """`AdaptiveAvgPool2d`, `AdaptiveMaxPool2d`: the fixed pool that it is at the original size."""
    x, extent = site.images(), site.extent()
    kind = next(kind for kind in _POOLS if kind in site.name.lower())
    sizes = site.option("output_size")
    wanted = (sizes, sizes) if isinstance(sizes, int) else tuple(sizes)
    out = tuple(n if size is None else size for n, size in zip(extent, wanted, strict=True))
    if out == (1, 1) and site.is_head():
        return slide(site, kind)
    if out == (1, 1):
        return whole(site)
    if out == extent:
        site.bypass()
        return x
    height, width = (_fixed(n, size) for n, size in zip(extent, out, strict=True))
    if height is None or width is None:
        site.refuse(
            f"its windows from {extent} to {out} are uneven", "choose a size that divides evenly"
        )
    site.call(_POOLS[kind], (height.kernel, width.kernel), (height.stride, width.stride))
    return x.then(height, width)


def _fixed(pixels: int, size: int) -> Window | None:
    """The pool that an adaptive one from n to m is: its windows go from ⌊in/m⌋ to ⌈(i+1)n/m⌉."""
    starts = [i * pixels // size for i in range(size)]
    ends = [-(-(i + 1) * pixels // size) for i in range(size)]
    windows = {end - start for start, end in zip(starts, ends, strict=True)}
    steps = {b - a for a, b in pairwise(starts)} or {1}
    if len(windows) > 1 or len(steps) > 1:
        return None
    return Window(windows.pop(), steps.pop())


def slide(site: Site, kind: str, extent: tuple[int, int] | None = None) -> Maps:
    """Have the node pool a window of the original feature map, at every position.

    kind is "avg", "max" or "sum".
    """
    n = extent or site.extent()
    if kind == "sum":
        site.call(functional.avg_pool2d, n, 1, divisor_override=1)
    else:
        site.call(_POOLS[kind], n, 1)
    x = site.x.reduced(n)
    # `adaptive_avg_pool2d` leaves two axes of size one, a mean over both none.
    return replace(x, axes=(2, 3)) if len(site.traced.shape(site.node)) == 4 else x


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
    # Pairs from the last axis forwards; those of other axes than space change nothing here.
    rank = len(site.shape)
    ends = {rank - 1 - i // 2: tuple(amounts[i : i + 2]) for i in range(0, len(amounts), 2)}
    height, width = (_padded(Window(), *ends.get(axis, (0, 0))) for axis in x.axes)
    _remark_padding(site, height, width)
    return x.then(height, width)


def _pair(value: Any) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    # One number in a list stands for both axes, too.
    return int(value[0]), int(value[-1])
