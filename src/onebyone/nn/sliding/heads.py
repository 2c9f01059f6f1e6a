"""Layers of the head: linear layers and norms become what they are on maps."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import nn

from onebyone.algebra.window import Window
from onebyone.nn.class_maps import ClassMaps
from onebyone.nn.convert.linear import linear_to_kernel, linear_to_pointwise, pointwise_to_linear
from onebyone.nn.pointwise import Pointwise
from onebyone.nn.sliding.site import Maps, Site, State

__all__ = ["class_maps", "layer_norm", "linear", "linear_function", "pointwise"]

_CONVOLUTIONS = {1: torch.conv1d, 2: torch.conv2d, 3: torch.conv3d}
_POOLS: dict[int, Callable[..., nn.Module]] = {
    1: nn.AvgPool1d,
    2: nn.AvgPool2d,
    3: nn.AvgPool3d,
}


def linear(site: Site) -> State:
    """`Linear`: a kernel of the feature map's size where that was flattened, else a 1×1."""
    assert isinstance(site.module, nn.Linear)
    return _fully_connected(site, site.module)


def _fully_connected(site: Site, layer: nn.Linear) -> State:
    x = site.x
    if x.pending and not x.kept:
        # What was flattened is still a map where it slides: the layer becomes a kernel of its size.
        site.become(_kernel(layer, x))
        return x.reduced(x.pending[1:])
    _last_axis(site)
    if x.is_lowered:
        site.become(linear_to_pointwise(layer, channel_dim=1))
    return x


def _kernel(layer: nn.Linear, x: Maps) -> nn.Module:
    """A layer on a flattened map as a kernel of its size, whatever order it was flattened in."""
    straight = copy.copy(layer)
    straight._parameters = dict(layer._parameters)
    weight = layer.weight.detach().reshape(-1, *(x.pending[k] for k in x.order))
    turned = weight.permute(0, *(1 + x.order.index(k) for k in range(len(x.order))))
    straight.weight = nn.Parameter(turned.flatten(1), requires_grad=layer.weight.requires_grad)
    return linear_to_kernel(straight, x.pending)


def _last_axis(site: Site) -> None:
    """Refused if the last axis is not that of the channels."""
    x, last = site.x, len(site.shape) - 1
    if last in x.kept or (x.is_lowered and last != 1 + len({*x.kept})):
        site.refuse(f"it acts on the last axis of {site.shape}, which is not that of the channels")


def linear_function(site: Site) -> State:
    """`functional.linear` with parameters of the network."""
    x, weight, bias = site.x, site.raw("weight"), site.raw("bias")
    if not all(node is None or node.op == "get_attr" for node in (weight, bias)):
        site.refuse("its weight is not a parameter")
    flat = x.pending and not x.kept
    if not flat:
        _last_axis(site)
    if not x.is_lowered:
        return x
    rows, columns = site.option("weight").shape
    sizes, order = (columns, *[1] * x.rank), tuple(range(1 + x.rank))
    if flat:
        sizes, order = x.pending, x.order
    node, convolution = site.node, _CONVOLUTIONS[x.rank]

    def edit() -> None:
        with node.graph.inserting_before(node):
            kernel = node.graph.call_method("reshape", (weight, (rows, *(sizes[k] for k in order))))
            back = (0, *(1 + order.index(k) for k in range(len(order))))
            kernel = node.graph.call_method("permute", (kernel, back))
        node.target, node.args, node.kwargs = convolution, (node.args[0], kernel, bias), {}

    site.edits.append(edit)
    return x.reduced(sizes[1:]) if flat else x


def pointwise(site: Site) -> State:
    """`Pointwise`: a 1×1, wherever its channels are."""
    layer, x = site.module, site.x
    assert isinstance(layer, Pointwise)
    if x.is_vector and layer.channel_dim in (1, -1) and len(site.shape) == 2:
        site.set("channel_dim", 1)
        return x
    if x.pending and not x.kept and layer.channel_dim in (1, -1):
        return _fully_connected(site, pointwise_to_linear(layer))
    if x.is_lowered or layer.channel_dim % len(site.shape) in x.kept:
        site.refuse(f"along axis {layer.channel_dim} of {site.shape} are not the channels")
    stride = layer.stride
    if isinstance(stride, int):
        stride = (stride,) * x.rank
    if len(stride) != x.rank or (set(stride) != {1} and len(site.shape) != 2 + x.rank):
        site.refuse("its stride is not one for each axis of positions")
    return x.then(*(Window(stride=step) for step in stride))


def class_maps(site: Site) -> State:
    """`ClassMaps` as a head: a pool with the window of the feature map before its 1×1."""
    head, x, extent = site.module, site.images(), site.extent()
    assert isinstance(head, ClassMaps)
    if len(site.node.args) + len(site.node.kwargs) > 1 or not site.is_head():
        site.refuse("it gives maps, or something after it has positions", "let it end the network")
    pool = _POOLS[x.rank](extent, 1)
    site.become(nn.Sequential(OrderedDict(pool=pool, project=head.project)))
    return x.reduced(extent)


def layer_norm(site: Site) -> State:
    """`LayerNorm`, `layer_norm`: over the features of (N, F), or over channels that come last."""
    x, rank = site.x, len(site.shape)
    shape = site.option("normalized_shape")
    normed = set(range(rank - (1 if isinstance(shape, int) else len(shape)), rank))
    if (x.pending and not x.kept) or normed & {*x.kept}:
        site.refuse(f"it norms over the positions of {site.shape}, which are of one size only")
    if x.is_lowered:
        # The features of (N, F) are the channels of a map, and this layer wants them last.
        last = 1 + x.rank
        site.between((0, *x.first, 1), (0, last, *range(1, last)))
    return x
