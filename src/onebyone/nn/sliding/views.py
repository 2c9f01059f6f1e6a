"""Views: what flattens, squeezes, permutes, slices or reads a size.

A flattened feature map stays a map in the converted network, and so does a vector. Views of the
axes before (H, W) are kept as they are.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import torch
from torch import Tensor, fx

from onebyone.algebra.window import Window
from onebyone.nn.sliding.site import Maps, Other, Site, State, operation

__all__ = ["entry", "index", "permute", "size", "transpose", "view"]


def view(site: Site) -> State:
    """`view`, `reshape`, `flatten`, `squeeze`, `unsqueeze` and their layers."""
    old, new, x = site.shape, site.traced.shape(site.node), site.x
    if new[:1] != old[:1]:
        site.refuse(f"it reshapes {old} to {new}", "keep the batch")
    result = _seen_through(x, old, new)
    if result is not None:
        site.bypass()
        return result
    # Axes before (H, W) may be regrouped at will: no position changes its place.
    if x.pending or x.axes != (len(old) - 2, len(old) - 1) or new[-2:] != old[-2:]:
        site.refuse(f"it reshapes {old} to {new}", "flatten all but the batch, from (N, C, H, W)")
    return replace(x, axes=(len(new) - 2, len(new) - 1))


def _seen_through(x: Maps, old: tuple[int, ...], new: tuple[int, ...]) -> Maps | None:
    """The state after a view that the converted network does without: its map stays a map."""
    if new == old:
        return x
    return _of_one_position(x, old, new) or _flattened(x, old, new)


def _of_one_position(x: Maps, old: tuple[int, ...], new: tuple[int, ...]) -> Maps | None:
    """A vector, or a map of 1×1, with other axes of size one behind its channels."""
    vector = x.axes is None or (x.axes == (2, 3) and old[2:] == (1, 1))
    if not vector or x.pending or old[:2] != new[:2] or set(new[2:]) > {1}:
        return None
    if len(new) == 4:
        return replace(x, axes=(2, 3))
    return replace(x, axes=None)


def _flattened(x: Maps, old: tuple[int, ...], new: tuple[int, ...]) -> Maps | None:
    """(N, C, H, W) as (N, CHW) or (N, C, HW), or the latter as the former."""
    if x.pending and x.axes and new[1:] == (prod(x.pending),):
        return replace(x, axes=None)
    if x.pending or x.axes != (2, 3) or len(old) != 4:
        return None
    _, c, h, w = old
    if new[1:] == (c * h * w,):
        return replace(x, axes=None, pending=(c, h, w))
    if new[1:] == (c, h * w):
        return replace(x, axes=(2, 2), pending=(c, h, w))
    return None


def permute(site: Site) -> State:
    """`permute`: the spatial axes go where it puts them."""
    dims: Any = site.raw("dims")
    given: Any = site.node.args[1:] if isinstance(dims, int) else dims
    return _permuted(site, [dim % len(site.shape) for dim in given])


def transpose(site: Site) -> State:
    """`transpose`, `swapaxes`: two axes change places."""
    rank = len(site.shape)
    first, second = site.option("dim0") % rank, site.option("dim1") % rank
    order = list(range(rank))
    order[first], order[second] = second, first
    return _permuted(site, order)


def _permuted(site: Site, order: list[int]) -> State:
    x = site.x
    if x.axes is None or x.pending or order[0] != 0:
        site.refuse(f"it permutes {site.shape}, of which not all axes are in place")
    height, width = x.axes
    return replace(x, axes=(order.index(height), order.index(width)))


def index(site: Site) -> State:
    """`x[…]`: slices along space are crops; one of several results; one size of a shape."""
    source, keys = site.traced.results[site.operand], site.raw("index")
    if not isinstance(source, torch.Tensor):
        return site.states[site.operand]
    if site.sized("index"):
        site.refuse("its slice is computed from the size of the image", "give it as numbers")
    x, new = site.x, site.traced.shape(site.node)
    if x.pending:
        site.refuse("it takes a part of a flattened feature map")
    if of_one := _of_one_position(x, site.shape, new):
        site.bypass()
        return of_one
    if not isinstance(keys, tuple):
        keys = (keys,)
    return _sliced(site, _spelled_out(keys, site.shape))


def _spelled_out(keys: tuple[Any, ...], shape: tuple[int, ...]) -> list[Any]:
    """The keys with their ellipsis, or what it leaves unsaid, as full slices."""
    plain = [key for key in keys if key is not Ellipsis]
    missing = len(shape) - sum(key is not None for key in plain)
    where = next((i for i, key in enumerate(keys) if key is Ellipsis), len(plain))
    return [*plain[:where], *[slice(None)] * missing, *plain[where:]]


def _sliced(site: Site, keys: list[Any]) -> State:
    """What slices and added or dropped axes make of the operand."""
    x, spatial, axes, old, new = site.x, list[Window](), list[int](), 0, 0
    # `old` and `new` count axes: None adds one, a number drops one.
    for key in keys:
        if not isinstance(key, slice | int | None):
            site.refuse("it picks positions one by one")
        if key is not None and x.axes and old in x.axes:
            spatial.append(_crop(site, key))
            axes.append(new)
        old += key is not None
        new += not isinstance(key, int)
    if x.axes is None:
        unchanged = [key == slice(None) for key in (keys[0], *keys[2:])]
        if len(keys) != 2 or not all(unchanged) or isinstance(keys[1], int):
            site.refuse(f"it changes the axes of {site.shape}")
        return x
    # The crops were collected in the order of the axes, first the height's.
    if sorted(x.axes) != list(x.axes):
        site.refuse("it slices what has its width before its height")
    return replace(x.then(*spatial), axes=(axes[0], axes[1]))


def _crop(site: Site, key: Any) -> Window:
    """start:stop:step along a spatial axis; counted from both ends it is the same for all sizes."""
    if not isinstance(key, slice):
        site.refuse("it picks one position of the image")
    start, stop, step = key.start or 0, key.stop or 0, key.step or 1
    # From the front, and to the back: so much is cut off at each end, whatever the size.
    if start < 0 or stop > 0 or key.stop == 0:
        site.refuse(
            "its slice is another one in a larger image", "count its start from 0, its stop from -1"
        )
    return Window(1, step, -start, stop)


def size(site: Site) -> State:
    """What reads a size, a type or a device. Batch and channels are the same for every image."""
    if isinstance(site.traced.results[site.node], Tensor):
        site.refuse(f"no rule says how {site.node.args[1]} acts on an image of another size")
    if site.name == "getattr" and site.node.args[1] != "shape":
        return Other.CONSTANT
    which = site.raw("dim")
    if site.name != "size" or which is None:
        return Other.SIZE
    return _entry(site.x, which, len(site.shape))


def entry(site: Site) -> State:
    """One number, or some, of a shape that `size` left whole, or of a part of it."""
    keys, shape = [site.node.args[1]], site.operand
    while operation(shape, None) == "getitem":
        keys.append(shape.args[1])
        shape = shape.args[0]  # type: ignore[assignment]
    read = shape.args[0]
    if not isinstance(read, fx.Node) or not all(map(_written_out, keys)):
        return Other.SIZE
    x, rank = site.states[read], len(site.traced.shape(read))
    # A shape of which each entry is its own place, so that indexing tells which ones are taken.
    which: Any = range(rank)
    for key in reversed(keys):
        which = which[key]
    if not isinstance(x, Maps) or not isinstance(which, int):
        return Other.SIZE
    return _entry(x, which, rank)


def _written_out(key: object) -> bool:
    """Whether an index or slice is known, not computed."""
    parts = [key]
    if isinstance(key, slice):
        parts = [key.start, key.stop, key.step]
    return all(part is None or isinstance(part, int) for part in parts)


def _entry(x: Maps, which: int, rank: int) -> Other:
    """A size is constant where the converted network has the same axis, and it is not spatial."""
    if x.axes is None or x.pending:
        # Of what was flattened axis 1 is no channel axis in the converted network.
        fixed = which == 0 or (which == 1 and not x.pending)
    else:
        fixed = which % rank not in x.axes
    return Other.CONSTANT if fixed else Other.SIZE
