"""Views: what flattens, squeezes, permutes, slices or reads a size.

A flattened feature map stays a map in the converted network, and so does a vector. Views of the
axes before those of the image are kept as they are.
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
    if new == old:
        site.bypass()
        return x
    result = _seen_through(x, old, new)
    if result is not None:
        site.channels_first()
        site.bypass()
        return result
    # Axes before those of the image may be regrouped at will: no position changes its place.
    kept = tuple(range(len(old) - x.rank, len(old)))
    if x.pending or x.axes != kept or new[-x.rank :] != old[-x.rank :]:
        site.refuse(f"it reshapes {old} to {new}", "flatten all but the batch")
    return replace(x, axes=tuple(range(len(new) - x.rank, len(new))))


def _seen_through(x: Maps, old: tuple[int, ...], new: tuple[int, ...]) -> Maps | None:
    """The state after a view that the converted network does without: its map stays a map."""
    return _of_one_position(x, old, new) or _squeezed(x, old, new) or _flattened(x, old, new)


def _of_one_position(x: Maps, old: tuple[int, ...], new: tuple[int, ...]) -> Maps | None:
    """A vector, or a map of one position, with other axes of size one behind its channels."""
    vector = x.is_vector or (x.is_image and set(old[2:]) == {1})
    if not vector or old[:2] != new[:2] or set(new[2:]) > {1}:
        return None
    if len(new) == 2 + x.rank:
        return replace(x, axes=x.first)
    return replace(x, axes=(None,) * x.rank)


def _squeezed(x: Maps, old: tuple[int, ...], new: tuple[int, ...]) -> Maps | None:
    """(N, C, 1, W) as (N, C, W): without all axes of positions that have one position."""
    if not x.is_image or new != old[:2] + tuple(n for n in old[2:] if n > 1):
        return None
    left = iter(range(2, len(new)))
    axes = tuple(None if a is None or old[a] == 1 else next(left) for a in x.axes)
    return replace(x, axes=axes)


def _flattened(x: Maps, old: tuple[int, ...], new: tuple[int, ...]) -> Maps | None:
    """(N, C, H, W) as (N, CHW), (N, C, HW) or, channels last, (N, HW, C); these as (N, CHW)."""
    none = (None,) * x.rank
    if x.pending:
        if new[1:] != (prod(x.pending),):
            return None
        return replace(x, axes=none)
    if not x.kept or len(old) != 2 + len(x.kept):
        return None
    (channels,) = {*range(1, len(old))} - {*x.kept}
    sizes = old[channels], *(1 if axis is None else old[axis] for axis in x.axes)
    places = {channels: 0, **{a: 1 + k for k, a in enumerate(x.axes) if a is not None}}
    left = tuple(places[axis] for axis in range(1, len(old)))
    # Along an axis that is gone there is one position: it may stand anywhere.
    order = (*left, *(1 + k for k, axis in enumerate(x.axes) if axis is None))
    flat = replace(x, axes=none, pending=sizes, order=order)
    positions = prod(sizes[1:])
    if new[1:] == (sizes[0] * positions,):
        return flat
    if channels == 1 and new[1:] == (sizes[0], positions):
        return replace(flat, axes=(2,) * x.rank)
    if channels == len(old) - 1 and new[1:] == (positions, sizes[0]):
        return replace(flat, axes=(1,) * x.rank)
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
    # Of one more axis than there are channels and positions nobody keeps count.
    extra = x.is_lowered and len(site.shape) != 2 + len(set(x.kept))
    if not x.kept or extra or order[0] != 0:
        site.refuse(f"it permutes {site.shape}, of which not all axes are in place")
    axes = tuple(None if axis is None else order.index(axis) for axis in x.axes)
    if not x.is_lowered:
        return replace(x, axes=axes)
    site.bypass()  # the map stays as it is
    positions = tuple(k for k in x.order if k)
    if not x.pending:
        return replace(x, axes=axes, order=())
    if 1 in axes:
        return replace(x, axes=axes, order=(*positions, 0))
    return replace(x, axes=axes, order=(0, *positions))


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
    if x.is_vector:
        unchanged = [key == slice(None) for key in (keys[0], *keys[2:])]
        if len(keys) != 2 or not all(unchanged) or isinstance(keys[1], int):
            site.refuse(f"it changes the axes of {site.shape}")
        return x
    if x.is_lowered:
        site.refuse("it takes a part of what has lost an axis of positions", "slice it before")
    # `old` and `new` count axes: None adds one, a number drops one.
    for key in keys:
        if not isinstance(key, slice | int | None):
            site.refuse("it picks positions one by one")
        if key is not None and old in x.kept:
            spatial.append(_crop(site, key))
            axes.append(new)
        old += key is not None
        new += not isinstance(key, int)
    # The crops were collected in the order of the axes, first the height's.
    if sorted(x.kept) != list(x.kept):
        site.refuse("it slices what has its width before its height")
    return replace(x.then(*spatial), axes=tuple(axes))


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
    if x.is_lowered:
        # Of what was flattened axis 1 is no channel axis in the converted network.
        fixed = which == 0 or (which == 1 and not x.pending and 1 not in x.kept)
    else:
        fixed = which % rank not in x.kept
    if fixed:
        return Other.CONSTANT
    return Other.SIZE
