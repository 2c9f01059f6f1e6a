"""What acts on each position alone, or on all of them: elementwise maps, norms, branches, means."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, fx

from onebyone.algebra.geometry import Axis, join
from onebyone.nn.sliding.site import Maps, Other, Site, State
from onebyone.nn.sliding.windows import slide, whole

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

_KINDS = {"mean": "avg", "sum": "sum", "amax": "max"}


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
    axes = {axis - rank for axis in x.axes or ()}
    if any(-axis <= value.ndim and value.shape[axis] != 1 for axis in axes):
        site.refuse("its operand differs between positions", "interpolate or drop it")
    if x.axes is None:
        # (F,) broadcasts along the last axis, which of a map are positions.
        user = site.node
        site.edits.append(lambda: _lifted(user, node))


def _lifted(user: fx.Node, constant: fx.Node) -> None:
    """What broadcast along the features of (N, F) now does along the channels of a map."""
    with user.graph.inserting_before(user):
        shape = user.graph.call_method("reshape", (constant, (-1, 1, 1)))
    user.replace_input_with(constant, shape)


def _maps(site: Site) -> list[Maps]:
    states = [site.states[node] for node in site.node.all_input_nodes]
    return [state for state in states if isinstance(state, Maps)]


def _joined(site: Site, maps: list[Maps]) -> Maps:
    """The state of what depends on several, position by position."""
    if any((m.axes, m.pending) != (maps[0].axes, maps[0].pending) for m in maps):
        site.refuse("its operands have their positions along different axes")
    height, width = join([m.height for m in maps]), join([m.width for m in maps])
    for reason in (height, width):
        if isinstance(reason, str):
            site.refuse(reason, "crop or stride the branches so that they keep step")
    assert isinstance(height, Axis)
    assert isinstance(width, Axis)
    result = replace(maps[0], height=height, width=width)
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
    if dim in (maps[0].axes or ()) or dim == 0:
        site.refuse("it joins positions", "join channels")
    if maps[0].axes is None:
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
    if not site.x.pending and site.dims(dim) & set(site.x.axes or ()):
        site.remark("normalises over the image")
        return site.x.seeing_all()
    _channels_only(site, dim, "mixes positions")
    return site.x


def _channels_only(site: Site, dim: int, what: str) -> None:
    if site.x.pending or site.dims(dim) & {0, *(site.x.axes or ())}:
        site.refuse(f"along axis {dim} it {what}")
    if site.x.axes is None:
        site.set("dim", 1)


def batch_norm(site: Site) -> State:
    """`BatchNorm2d`, `batch_norm`: per channel, if it has statistics of its own."""
    if site.x.pending:
        site.refuse("it differs between positions", "fold it into the linear layer after it")
    mean = site.raw("running_mean")
    live = bool(site.option("training", False)) and site.module is None
    if mean is None or live:
        site.remark("norms by the statistics of the whole batch")
        return site.x.seeing_all()
    return site.x


def whole_norm(site: Site) -> State:
    """`GroupNorm`, `InstanceNorm2d`: statistics of the whole image."""
    site.images()
    site.remark("norms by the statistics of the whole image")
    return site.x.seeing_all()


def images(site: Site) -> State:
    """What acts on the channels of (N, C, H, W) at each position."""
    return site.images()


def prelu(site: Site) -> State:
    """`PReLU`: one slope, or one a channel, along axis 1."""
    x, weight = site.x, site.option("weight")
    several = isinstance(weight, Tensor) and weight.numel() > 1
    if several and (x.pending or 1 in (x.axes or ())):
        site.refuse("its slopes are not one for each channel")
    return x


def reduce_axes(site: Site) -> State:
    """`mean`, `sum`, `amax` and others: over space it is a pool, over channels it stays."""
    if isinstance(site.raw("dim"), fx.Node):
        return elementwise(site)  # torch.max(a, b)
    x, dims, keep = site.x, {0}, bool(site.option("keepdim", False))
    # Without a dim it reduces everything, the batch with it.
    if (dim := site.option("dim")) is not None:
        dims = site.dims(dim)
    if x.axes is not None and dims == set(x.axes):
        return _pooled(site)
    if 0 in dims or x.axes is None or x.pending or dims & set(x.axes):
        site.refuse(f"it reduces axes {sorted(dims)} of {site.shape}", "reduce H and W at once")
    # Axes before the positions that are gone move these forward.
    down = [sum(d < axis for d in dims) * (not keep) for axis in x.axes]
    return replace(x, axes=(x.axes[0] - down[0], x.axes[1] - down[1]))


def _pooled(site: Site) -> State:
    """A reduction over all positions, of (N, C, H, W) or of (N, C, HW)."""
    x, kind = site.x, _KINDS.get(site.name)
    if x.axes not in {(2, 3), (2, 2)} or (x.axes == (2, 3) and len(site.shape) != 4):
        site.refuse(f"it pools {site.shape}", "pool (N, C, H, W), with the channels first")
    if not site.is_head():
        if x.pending:
            site.refuse("it pools a flattened image inside the network", "pool over (2, 3)")
        return whole(site)
    if kind is None:
        site.refuse("over the image it is no pool of which the sliding form is known")
    extent = x.pending[1:] if x.pending else site.extent()
    return slide(site, kind, extent)
