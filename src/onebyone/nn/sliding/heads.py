"""Layers of the head: linear layers and one-dimensional norms become what they are on maps."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

from onebyone.algebra.window import Window
from onebyone.nn.class_maps import ClassMaps
from onebyone.nn.convert.linear import linear_to_kernel, linear_to_pointwise, pointwise_to_linear
from onebyone.nn.pointwise import Pointwise
from onebyone.nn.sliding.site import Maps, Site, State

__all__ = ["batch_norm_1d", "class_maps", "layer_norm", "linear", "linear_function", "pointwise"]


def linear(site: Site) -> State:
    """`Linear`: a kernel of the feature map's size where that was flattened, else a 1×1."""
    assert isinstance(site.module, nn.Linear)
    return _fully_connected(site, site.module)


def _fully_connected(site: Site, layer: nn.Linear) -> State:
    x, last = site.x, len(site.shape) - 1
    if x.pending and x.axes is None:
        # What was flattened is still a map where it slides: the layer becomes a kernel of its size.
        site.become(linear_to_kernel(layer, x.pending))
        return x.reduced(x.pending[1:])
    if x.axes is None and last == 1:
        site.become(linear_to_pointwise(layer, channel_dim=1))
        return x
    _last_axis(site)
    return x


def _last_axis(site: Site) -> None:
    """Refused if the last axis is not that of the channels."""
    x = site.x
    if x.axes is None or x.pending or len(site.shape) - 1 in x.axes:
        site.refuse(f"it acts on the last axis of {site.shape}, which is not that of the channels")


def linear_function(site: Site) -> State:
    """`functional.linear` with parameters of the network."""
    x, weight, bias = site.x, site.raw("weight"), site.raw("bias")
    if not all(node is None or node.op == "get_attr" for node in (weight, bias)):
        site.refuse("its weight is not a parameter")
    shape, node = _kernel(x, site), site.node
    if shape is None:
        return x

    def edit() -> None:
        with node.graph.inserting_before(node):
            kernel = node.graph.call_method("reshape", (weight, shape))
        node.target, node.args, node.kwargs = torch.conv2d, (node.args[0], kernel, bias), {}

    site.edits.append(edit)
    return x.reduced((shape[2], shape[3]))


def _kernel(x: Maps, site: Site) -> tuple[int, ...] | None:
    """The shape of the weight as a kernel; None where the layer may stay as it is."""
    rows, columns = site.option("weight").shape
    if x.axes is None and len(site.shape) == 2:
        return (rows, *(x.pending or (columns, 1, 1)))
    _last_axis(site)
    return None


def pointwise(site: Site) -> State:
    """`Pointwise`: a 1×1, wherever its channels are."""
    layer, x = site.module, site.x
    assert isinstance(layer, Pointwise)
    if x.axes is None and layer.channel_dim in (1, -1) and len(site.shape) == 2:
        if x.pending:
            return _fully_connected(site, pointwise_to_linear(layer))
        site.set("channel_dim", 1)
        return x
    if x.axes is None or x.pending or layer.channel_dim % len(site.shape) in x.axes:
        site.refuse(f"along axis {layer.channel_dim} of {site.shape} are not the channels")
    stride = layer.stride
    if isinstance(stride, int):
        stride = (stride, stride)
    if len(stride) != 2 or (set(stride) != {1} and len(site.shape) != 4):
        site.refuse("its stride is not one for the height and one for the width")
    return x.then(Window(stride=stride[0]), Window(stride=stride[1]))


def class_maps(site: Site) -> State:
    """`ClassMaps` as a head: a pool with the window of the feature map before its 1×1."""
    head, x, extent = site.module, site.images(), site.extent()
    assert isinstance(head, ClassMaps)
    if len(site.node.args) + len(site.node.kwargs) > 1 or not site.is_head():
        site.refuse("it gives maps, or something after it has positions", "let it end the network")
    site.become(nn.Sequential(OrderedDict(pool=nn.AvgPool2d(extent, 1), project=head.project)))
    return x.reduced(extent)


def batch_norm_1d(site: Site) -> State:
    """`BatchNorm1d` on the features of (N, F): `BatchNorm2d`."""
    norm, x = site.module, site.x
    assert isinstance(norm, nn.BatchNorm1d)
    if x.pending or x.axes is not None:
        site.refuse("it differs between positions", "fold it into the linear layer after it")
    site.become(_two_dimensional(norm))
    if norm.running_mean is None:
        site.remark("norms by the statistics of the whole batch")
        return x.seeing_all()
    return x


def _two_dimensional(norm: nn.BatchNorm1d) -> nn.BatchNorm2d:
    """The same layer, with the same parameters and statistics, for maps."""
    new = nn.BatchNorm2d(norm.num_features, norm.eps, norm.momentum, norm.affine)
    new.track_running_stats = norm.track_running_stats
    # The tensors themselves, so that what is tied or watched stays so.
    new._parameters, new._buffers = norm._parameters, norm._buffers
    return new.train(norm.training)


def layer_norm(site: Site) -> State:
    """`LayerNorm`, `layer_norm`: over the features of (N, F), or over channels that come last."""
    x, rank = site.x, len(site.shape)
    shape = site.option("normalized_shape")
    normed = set(range(rank - (1 if isinstance(shape, int) else len(shape)), rank))
    if x.pending or normed & set(x.axes or ()):
        site.refuse(f"it norms over the positions of {site.shape}, which are of one size only")
    if x.axes is None:
        # The features of (N, F) are the channels of a map, and this layer wants them last.
        site.between((0, 2, 3, 1), (0, 3, 1, 2))
    return x
