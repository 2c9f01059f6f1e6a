"""What acts on each position alone, or on all of them: elementwise maps, norms, branches, means.

A mean over some axes of positions is a pool whose window is the feature map along these.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, fx, nn

from onebyone.algebra.geometry import Axis, join
from onebyone.algebra.window import Window
from onebyone.nn.sliding.site import Maps, Other, Site, State, operation
from onebyone.nn.sliding.windows import pooled, whole

__all__ = [
    "along_channels",
    "batch_norm",
    "concatenate",
    "elementwise",
    "images",
    "prelu",
    "reduce_axes",
    "split",
    "whole_norm",
]

_KINDS = {"mean": "avg", "sum": "sum", "amax": "max", "max": "max"}


def elementwise(site: Site) -> State:
    """One or more operands, position by position; constants may differ between channels only."""
    maps = _maps(site)
    for node in site.node.all_input_nodes:
        if site.states[node] is Other.SIZE:
            site.refuse("it computes with the size of the image", "give that number as a constant")
        if site.states[node] is Other.CONSTANT:
            _check_constant(site, node, maps[0])
    return _joined(site, maps)


def _check_constant(site: Site, node: fx.Node, x: Maps) -> None:
    """A constant operand fits at every position, if need be with two axes more."""
    value = site.traced.results[node]
    if not isinstance(value, Tensor) or value.numel() == 1:
        return
    if x.pending:
        site.refuse("its operand differs between the positions of a flattened feature map")
    rank = max(len(site.traced.shape(n)) for n in site.node.all_input_nodes if n is not node)
    axes = {axis - rank for axis in x.kept}
    if any(-axis <= value.ndim and value.shape[axis] != 1 for axis in axes):
        site.refuse("its operand differs between positions", "interpolate or drop it")
    if x.is_lowered:
        # (F,) broadcasts along the last axis, which of a map are positions.
        user, ones = site.node, (1,) * x.rank
        site.edits.append(lambda: _lifted(user, node, ones))


def _lifted(user: fx.Node, constant: fx.Node, ones: tuple[int, ...]) -> None:
    """What broadcast along the features of (N, F) now does along the channels of a map."""
    with user.graph.inserting_before(user):
        shape = user.graph.call_method("reshape", (constant, (-1, *ones)))
    user.replace_input_with(constant, shape)


def _maps(site: Site) -> list[Maps]:
    states = [site.states[node] for node in site.node.all_input_nodes]
    return [state for state in states if isinstance(state, Maps)]


def _joined(site: Site, maps: list[Maps]) -> Maps:
    """The state of what depends on several, position by position."""
    if len({(m.axes, m.pending, m.order) for m in maps}) > 1:
        site.refuse("its operands have their positions along different axes")
    along = list[Axis]()
    for branches in zip(*(m.along for m in maps), strict=True):
        axis = join(branches)
        if isinstance(axis, str):
            site.refuse(axis, "crop or stride the branches so that they keep step")
        along.append(axis)
    result = replace(maps[0], along=tuple(along))
    # A gate computed from the whole image (squeeze-excite) acts at every position.
    others = [site.states[node] for node in site.node.all_input_nodes]
    if Other.WHOLE in others:
        return result.seeing_all()
    return result


def concatenate(site: Site) -> State:
    """`cat` along the channels."""
    parts = list(site.raw("tensors"))
    rank = len(site.traced.shape(parts[0]))
    maps, dim = _maps(site), site.option("dim", 0) % rank
    if len(maps) < len(set(parts)) or any(m.pending for m in maps):
        site.refuse("it joins what slides with what does not")
    if dim in maps[0].kept or dim == 0:
        site.refuse("it joins positions", "join channels")
    if maps[0].is_lowered:
        site.set("dim", 1)
    return _joined(site, maps)


def split(site: Site) -> State:
    """`chunk`, `split`: parts along the channels."""
    _channels_only(site, site.option("dim", 0), "takes parts of the image")
    return site.x


def along_channels(site: Site) -> State:
    """`softmax`, `normalize`, `glu`: each position by itself, if along the channels."""
    # Without a dim, softmax takes axis 1 of images, and GLU the last axis of anything.
    default = {"glu": -1, "GLU": -1}.get(site.name, 1)
    dim = site.option("dim", default)
    if not site.x.pending and site.dims(dim) & {*site.x.kept}:
        site.remark("normalises over the image")
        return site.x.seeing_all()
    _channels_only(site, dim, "mixes positions")
    return site.x


def _channels_only(site: Site, dim: int, what: str) -> None:
    if site.x.pending or site.dims(dim) & {0, *site.x.kept}:
        site.refuse(f"along axis {dim} it {what}")
    if site.x.is_lowered:
        site.set("dim", 1)


def batch_norm(site: Site) -> State:
    """`BatchNorm1d` to `3d`, `batch_norm`: per channel, if it has statistics of its own."""
    x, norm = site.x, site.module
    if x.pending or 1 in x.kept:
        site.refuse("it differs between positions", "fold it into the linear layer after it")
    if x.is_lowered and isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
        site.become(_of_rank(norm, x.rank))
    live = bool(site.option("training", False)) and norm is None
    if site.raw("running_mean") is None or live:
        site.remark("norms by the statistics of the whole batch")
        return x.seeing_all()
    return x


_BATCH_NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


def _of_rank(norm: nn.BatchNorm1d | nn.BatchNorm2d, rank: int) -> nn.Module:
    """The same layer, with the same parameters and statistics, for maps."""
    new = _BATCH_NORMS[rank](norm.num_features, norm.eps, norm.momentum, norm.affine)
    new.track_running_stats = norm.track_running_stats
    # The tensors themselves, so that what is tied or watched stays so.
    new._parameters, new._buffers = norm._parameters, norm._buffers
    return new.train(norm.training)


def whole_norm(site: Site) -> State:
    """`GroupNorm`, `InstanceNorm2d`: statistics of the whole image."""
    if site.images().is_lowered:
        site.refuse("it norms what has lost an axis of positions", "norm before the mean")
    site.remark("norms by the statistics of the whole image")
    return site.x.seeing_all()


def images(site: Site) -> State:
    """What acts on the channels of (N, C, *positions) at each position."""
    return site.images()


def prelu(site: Site) -> State:
    """`PReLU`: one slope, or one a channel, along axis 1."""
    x, weight = site.x, site.option("weight")
    several = isinstance(weight, Tensor) and weight.numel() > 1
    if several and (x.pending or 1 in x.kept):
        site.refuse("its slopes are not one for each channel")
    return x


def reduce_axes(site: Site) -> State:
    """`mean`, `sum`, `amax` and others: over space it is a pool, over channels it stays."""
    if isinstance(site.raw("dim"), fx.Node):
        return elementwise(site)  # torch.max(a, b)
    x, dims, keep = site.x, {0}, bool(site.option("keepdim", False))
    # Without a dim it reduces everything, the batch with it.
    if (dim := site.option("dim")) is not None:
        dims = site.dims(dim) or {0}
    if dims <= {*x.kept}:
        return _pooled(site, dims, keep)
    if 0 in dims or x.is_lowered or dims & {*x.kept}:
        site.refuse(f"it reduces axes {sorted(dims)} of {site.shape}", "reduce positions alone")
    return replace(x, axes=_without(x.axes, dims, keep))


def _without(axes: tuple[int | None, ...], dims: set[int], keep: bool) -> tuple[int | None, ...]:
    """Where axes are once some are reduced: None for these, unless they are kept at size one."""
    if keep:
        return axes
    left = (axis if axis not in dims else None for axis in axes)
    # Axes before them that are gone move the others forward.
    return tuple(None if a is None else a - sum(dim < a for dim in dims) for a in left)


def _pooled(site: Site, dims: set[int], keep: bool) -> State:
    """A reduction over positions: of all axes, or of some."""
    x, kind = site.x, _KINDS.get(site.name)
    if {*x.kept} == dims and not site.is_head():
        if x.pending:
            site.refuse("it pools a flattened image inside the network", "pool its axes")
        return whole(site)
    if kind is None:
        site.refuse("over positions it is no pool of which the sliding form is known")
    if x.pending:
        pooled(site, kind, x.pending[1:])
        return x.reduced(x.pending[1:])
    turned = not x.is_lowered and not x.is_image
    if len(site.shape) != 2 + len(x.kept) or (turned and keep):
        site.refuse(f"it pools {site.shape}", "pool (N, C, *positions), with the channels first")
    if not isinstance(site.traced.results[site.node], Tensor):
        _first_result(site)
    site.channels_first()
    extent = tuple(site.shape[axis] if axis in dims else 1 for axis in x.axes)
    pooled(site, kind, extent)
    return replace(x.then(*map(Window, extent)), axes=_without(x.axes, dims, keep))


def _first_result(site: Site) -> None:
    """`max` along one axis gives the values and the places: the pool gives the values alone."""
    node = site.node
    users = list(node.users)
    if any(operation(user, None) != "getitem" or user.args[1] != 0 for user in users):
        site.refuse("indices of a maximum are places in one image", "take its values, by [0]")

    def edit() -> None:
        for user in users:
            user.replace_all_uses_with(node)

    site.edits.append(edit)
