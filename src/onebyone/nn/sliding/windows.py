"""Layers of windows: convolutions, pools and padding.

Each gives a `Window` for each axis of the image. A pool whose window is the whole feature map, and
after which there is one position only, is the head's: it becomes a pool with that window and
stride 1. A layer of fewer axes than the image has, which follows a mean over one of them, becomes
one of as many, that sees one position along the axis which is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from onebyone.algebra.window import Window
from onebyone.nn.convert.linear import Convolution
from onebyone.nn.convert.parameters import filled
from onebyone.nn.sliding.site import Maps, Other, Site, State

__all__ = ["adaptive_pool", "convolution", "pad", "pool", "pooled", "whole"]

_POOLS: dict[tuple[str, int], Callable[..., Any]] = {
    ("avg", 1): functional.avg_pool1d,
    ("avg", 2): functional.avg_pool2d,
    ("avg", 3): functional.avg_pool3d,
    ("max", 1): functional.max_pool1d,
    ("max", 2): functional.max_pool2d,
    ("max", 3): functional.max_pool3d,
}
_SUMS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_CONVOLUTIONS: dict[int, type[Convolution]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


def _layer(site: Site) -> Maps:
    """The state of an operand that has as many axes of positions as the layer slides along."""
    x = site.images()
    if site.name[-2:] != f"{len(x.kept)}d":
        site.refuse(f"got {site.shape}, which has another number of axes")
    return x


def convolution(site: Site) -> State:
    """`Conv2d`, `conv2d`: any stride, dilation, groups and padding; so with one axis, or three."""
    x = _layer(site)
    kernel = site.option("kernel_size", None) or site.option("weight").shape[2:]
    padding = site.option("padding", 0)
    if isinstance(padding, str):
        windows = _windows(site, kernel, site.option("stride", 1), 0)
    else:
        windows = _windows(site, kernel, site.option("stride", 1), padding)
    if padding == "same":  # PyTorch has it at stride 1 only, where no size changes it
        windows = [_padded(w, *w.same_pads(1)) for w in windows]
    _remark_padding(site, windows)
    if x.is_lowered:
        _widen(site, x)
    return x.then(*x.spread(windows, Window()))


def _widen(site: Site, x: Maps) -> None:
    """A convolution of the axes that are left becomes one of all."""
    layer = site.module
    if not isinstance(layer, nn.Conv1d | nn.Conv2d):
        site.refuse("it slides along fewer axes than the image has", "make it a layer")
    padding = layer.padding
    wide = _CONVOLUTIONS[x.rank](
        layer.in_channels, layer.out_channels, x.spread(layer.kernel_size, 1),
        stride=x.spread(layer.stride, 1), dilation=x.spread(layer.dilation, 1),
        padding=padding if isinstance(padding, str) else x.spread(padding, 0),
        groups=layer.groups, bias=layer.bias is not None, padding_mode=layer.padding_mode,
        device="meta",
    )  # fmt: skip
    site.become(filled(wide, layer.weight.reshape(wide.weight.shape), layer.bias, layer))


def _windows(site: Site, kernel: Any, stride: Any, padding: Any) -> list[Window]:
    """The windows of a layer with these options, along each axis that its operand has."""
    axes = len(site.images().kept)
    options = (kernel, stride, padding, site.option("dilation", 1))
    every = zip(*(_each(value, axes) for value in options), strict=True)
    return [Window(k, s, p, p, d) for k, s, p, d in every]


def _padded(window: Window, before: int, after: int) -> Window:
    return replace(window, before=before, after=after)


def _remark_padding(site: Site, windows: Sequence[Window]) -> None:
    if any(max(window.before, window.after) > 0 for window in windows):
        site.remark("pads its input")


def pool(site: Site) -> State:
    """`MaxPool2d`, `AvgPool2d` and their functions; so with one axis, or three."""
    x, extent = _layer(site), site.shape[2:]
    kernel, padding = site.option("kernel_size"), site.option("padding", 0)
    if site.option("return_indices", False):
        site.refuse("indices of a maximum are places in one image")
    if _each(kernel, len(extent)) == extent and not any(_each(padding, len(extent))):
        # By its size alone a window of the whole map may be chance: what follows it tells.
        if site.is_head():
            return slide(site, _kind(site))
        if site.sized("kernel_size"):
            return whole(site)
    if site.sized("kernel_size"):
        site.refuse("its window is computed from the size of the image", "give it as a number")
    windows = _windows(site, kernel, site.option("stride", None) or kernel, padding)
    _remark_padding(site, windows)
    if x.is_lowered:
        site.refuse("it slides along fewer axes than the image has", "pool before the mean")
    if site.option("ceil_mode", False):
        windows = _rounded_up(site, windows, extent)
    return x.then(*windows)


def _kind(site: Site) -> str:
    return next(kind for kind in ("avg", "max") if kind in site.name.lower())


def _rounded_up(site: Site, down: list[Window], extent: tuple[int, ...]) -> list[Window]:
    """The windows of a pool with `ceil_mode`.

    Where rounding up adds no output at the original size it adds none in any crop, and rounding
    down says the same: the pool is changed to that.
    """
    up = [window.rounded_up() for window in down]
    adds = [u.out_size(n) != d.out_size(n) for u, d, n in zip(up, down, extent, strict=True)]
    if any(adds):
        at = "×".join(map(str, extent))
        site.remark(f"rounds its size up (ceil_mode), which at {at} is padding")
    if any(adds) or site.keep_ceil:
        return up
    site.set("ceil_mode", False)
    return down


def adaptive_pool(site: Site) -> State:
    """`AdaptiveAvgPool2d`, `AdaptiveMaxPool2d`: the fixed pool that it is at the original size."""
    x, extent = _layer(site), site.shape[2:]
    wanted = _each(site.option("output_size"), len(extent))
    out = tuple(n if size is None else size for n, size in zip(extent, wanted, strict=True))
    if set(out) == {1} and site.is_head():
        return slide(site, _kind(site))
    if set(out) == {1}:
        return whole(site)
    if out == extent:
        site.bypass()
        return x
    windows = [w for n, size in zip(extent, out, strict=True) if (w := _fixed(n, size)) is not None]
    if len(windows) < len(extent):
        site.refuse(
            f"its windows from {extent} to {out} are uneven", "choose a size that divides evenly"
        )
    every = x.spread(windows, Window())
    kernel, stride = tuple(w.kernel for w in every), tuple(w.stride for w in every)
    site.call(_POOLS[_kind(site), x.rank], kernel, stride)
    return x.then(*every)


def _fixed(pixels: int, size: int) -> Window | None:
    """The pool that an adaptive one from n to m is: its windows go from ⌊in/m⌋ to ⌈(i+1)n/m⌉."""
    starts = [i * pixels // size for i in range(size)]
    ends = [-(-(i + 1) * pixels // size) for i in range(size)]
    windows = {end - start for start, end in zip(starts, ends, strict=True)}
    steps = {b - a for a, b in pairwise(starts)} or {1}
    if len(windows) > 1 or len(steps) > 1:
        return None
    return Window(windows.pop(), steps.pop())


def slide(site: Site, kind: str) -> Maps:
    """Have a pool of the head be one of the original feature map's size, at every position."""
    x, extent = site.x, site.extent()
    pooled(site, kind, extent)
    after = x.then(*map(Window, extent))
    if len(site.traced.shape(site.node)) == len(site.shape):
        return after  # the axes are there still, of size one
    return replace(after, axes=(None,) * x.rank)


def pooled(site: Site, kind: str, window: tuple[int, ...]) -> None:
    """Have the node pool such windows of (N, C, *positions), one apart.

    kind is "avg", "max" or "sum".
    """
    if kind == "sum":
        (channels,) = {*range(1, len(site.shape))} - {*site.x.kept}
        site.call(_sum_pool, site.shape[channels], window)
    else:
        site.call(_POOLS[kind, site.x.rank], window, 1)


def _sum_pool(x: Tensor, channels: int, window: tuple[int, ...]) -> Tensor:
    """The sum of each window."""
    # No mean with another divisor: exporters drop it, and no pool of one axis has it.
    return _SUMS[len(window)](x, x.new_ones(channels, 1, *window), groups=channels)


def whole(site: Site) -> State:
    """A pool inside the network that is one number for the whole image."""
    site.remark("pools over the whole image")
    return Other.WHOLE


def pad(site: Site) -> State:
    """`functional.pad` and the padding layers: pairs from the last axis on; negative ones crop."""
    x = site.x
    if x.is_lowered:
        site.refuse("it pads what has lost axes of positions")
    if site.sized("padding"):
        site.refuse("its padding is computed from the size of the image", "give it as numbers")
    rank, given = len(site.shape), site.option("padding")
    amounts = (given,) * 2 * x.rank if isinstance(given, int) else given
    # Pairs from the last axis forwards; those of other axes than space change nothing here.
    ends = {rank - 1 - i // 2: tuple(amounts[i : i + 2]) for i in range(0, len(amounts), 2)}
    windows = [_padded(Window(), *ends.get(axis, (0, 0))) for axis in x.kept]
    _remark_padding(site, windows)
    return x.then(*windows)


def _each(value: Any, axes: int) -> tuple[Any, ...]:
    """An option of a layer, along each axis."""
    if isinstance(value, int) or value is None:
        return (value,) * axes
    if len(value) == axes:
        return tuple(value)
    return (value[0],) * axes  # one number in a list stands for all axes, too
