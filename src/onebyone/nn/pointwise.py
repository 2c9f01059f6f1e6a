"""The 1×1 convolution as one layer for every layout.

    y[…, o, …] = Σ_i W[o, i] · x[…, i, …] + b[o]          W: (C_out, C_in / groups), b: (C_out,)

The sum runs along the channel axis, the same at every position. `Conv1d`, `Conv2d`, `Conv3d` with
a kernel of one and `Linear` are this map; they differ in where the channel axis lies, and in how
many axes of size one they store their weight with.
"""

from collections.abc import Mapping
from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from onebyone.errors import UsageError

__all__ = ["Pointwise", "pointwise", "sizes"]


class Pointwise(nn.Module):
    """A 1×1 convolution, a linear layer: one matrix on the channel axis at every position.

    Positions are the axes after the channel axis; where that is the last one, those between the
    first axis (the batch) and it. So `channel_dim=1` takes images (N, C, H, W), sequences
    (N, C, L), volumes (N, C, D, H, W) and points (N, C, P), `channel_dim=-1` takes (N, H, W, C),
    tokens (N, L, C) and vectors (…, C), and `channel_dim=-3` takes one image (C, H, W).

    Args:
        in_channels, out_channels: C_in and C_out.
        bias: whether to add a learned b.
        stride: of the positions that are kept, one for all spatial axes or one for each.
        groups: blocks of W; group g of the outputs sees group g of the inputs only.
        channel_dim: the channel axis of the input; negative counts from the end.
        spatial_dims: how many axes of size one the stored weight has behind (C_out, C_in / groups):
            2 as `Conv2d`, 0 as `Linear`. None chooses 0 if the channels come last, else 2. It
            decides whose state dict `state_dict()` is; that of any other is loaded all the same.
        device, dtype: of the parameters.

    Parameters are drawn as PyTorch draws those of `Conv2d` and `Linear`: a seed gives the same.

    Raises:
        UsageError: sizes that do not fit, here or in the input; the message says which.

    Source: Lin, Chen, Yan, "Network in Network", 2013, arXiv:1312.4400.

    >>> image = torch.ones(2, 3, 5, 7)
    >>> Pointwise(3, 4, stride=2)(image).shape
    torch.Size([2, 4, 3, 4])
    >>> tokens = Pointwise(3, 4, channel_dim=-1)
    >>> tokens.load_state_dict(nn.Conv2d(3, 4, 1).state_dict())
    <All keys matched successfully>
    >>> tokens(torch.ones(2, 11, 3)).shape
    torch.Size([2, 11, 4])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        bias: bool = True,
        stride: int | tuple[int, ...] = 1,
        groups: int = 1,
        channel_dim: int = 1,
        *,
        spatial_dims: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        _check(in_channels, out_channels, bias, stride, groups, spatial_dims)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.stride, self.groups, self.channel_dim = stride, groups, channel_dim
        if spatial_dims is None:
            spatial_dims = _spatial_dims(channel_dim)
        shape = (out_channels, in_channels // groups, *[1] * spatial_dims)
        self.weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.bias = (
            nn.Parameter(torch.empty(out_channels, device=device, dtype=dtype)) if bias else None
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw both parameters uniformly within ±1/√(C_in / groups), as PyTorch's own layers do."""
        nn.init.kaiming_uniform_(self.weight, a=sqrt(5))
        if self.bias is not None:
            bound = 1 / sqrt(self.in_channels // self.groups)
            nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """x with C_in entries along `channel_dim` -> the same layout with C_out there."""
        # Two calls, not one with a choice: TorchScript compiles the one that fits the type.
        if isinstance(self.stride, int):
            return pointwise(x, self.weight, self.bias, self.stride, self.groups, self.channel_dim)
        stride: list[int] = []
        stride.extend(self.stride)
        return pointwise(x, self.weight, self.bias, stride, self.groups, self.channel_dim)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *rest: Any, **named: Any
    ) -> None:
        """Take the weight of any convolution with kernel one, or of a linear layer."""
        weight = state_dict.get(prefix + "weight")
        if isinstance(weight, Tensor) and _is_pointwise(weight, self.weight):
            # A copy: the caller's dictionary is not ours to change.
            state_dict = {**state_dict, prefix + "weight": weight.reshape(self.weight.shape)}
        super()._load_from_state_dict(state_dict, prefix, *rest, **named)

    def extra_repr(self) -> str:
        shown: Mapping[str, tuple[object, object]] = {
            "bias": (self.bias is not None, True),
            "stride": (self.stride, 1),
            "groups": (self.groups, 1),
            "channel_dim": (self.channel_dim, 1),
            "spatial_dims": (self.weight.ndim - 2, _spatial_dims(self.channel_dim)),
        }
        other = [f"{name}={value}" for name, (value, usual) in shown.items() if value != usual]
        return ", ".join([str(self.in_channels), str(self.out_channels), *other])


def pointwise(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: int | list[int],
    groups: int,
    channel_dim: int,
) -> Tensor:
    """The 1×1 convolution of x, as `Pointwise` has it: one node of a graph that `torch.fx` traces.

    Written so that `torch.jit.script` can compile it, as are all functions that it calls: they look
    at the number of axes, which a symbolic trace does not know and a scripted function does.

    Args:
        x: with C_in entries along `channel_dim`.
        weight: (C_out, C_in / groups), and any number of axes of size one behind.
        bias: (C_out,), or None.
        stride: one for all spatial axes, or one for each.
        groups, channel_dim: as of `Pointwise`.

    Raises:
        UsageError: an input that does not fit.

    >>> pointwise(torch.ones(2, 5, 3), torch.ones(4, 3), None, 2, 1, -1).shape
    torch.Size([2, 3, 4])
    """
    axis = channel_dim
    if axis < 0:
        axis += x.ndim
    if not 0 <= axis < x.ndim or x.shape[axis] != weight.shape[1] * groups:
        raise UsageError(
            f"got an input of shape {sizes(list(x.shape))}, "
            f"wanted {weight.shape[1] * groups} channels along axis {channel_dim}: "
            "set channel_dim to the channel axis"
        )
    # Where the channels come last, the positions are between them and the batch.
    if axis == x.ndim - 1:
        steps = _strides(stride, max(x.ndim - 2, 0))
        return _channels_last(_subsampled(x, 1, steps), weight, bias, groups)
    steps = _strides(stride, x.ndim - axis - 1)
    if axis == 0:  # one image; unlike a reshape this asks for no sizes, which an export shows
        return _channels_first(x.unsqueeze(0), weight, bias, steps, groups).squeeze(0)
    if axis == 1:
        return _channels_first(x, weight, bias, steps, groups)
    # All axes before the channels are one batch.
    y = _channels_first(x.flatten(0, axis - 1), weight, bias, steps, groups)
    return y.reshape(x.shape[:axis] + y.shape[1:])


torch.fx.wrap("pointwise")


def _strides(stride: int | list[int], axes: int) -> list[int]:
    if isinstance(stride, int):
        return [stride] * axes
    if len(stride) != axes:
        raise UsageError(
            f"got stride {sizes(stride)} for an input with {axes} spatial axes, wanted one for each"
        )
    return stride


def _channels_last(x: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> Tensor:
    """(…, C_in): a linear layer."""
    if groups == 1:
        # A weight that is stored flat is used as it is, so that an export shows it as it is.
        if weight.ndim > 2:
            weight = weight.flatten(1)
        return functional.linear(x, weight, bias)
    matrices = weight.reshape(groups, -1, weight.shape[1])
    parts = torch.unflatten(x, -1, [groups, weight.shape[1]])
    y = torch.einsum("...gi,goi->...go", parts, matrices).flatten(-2)
    # Under autocast the product is narrower than the bias: the sum is to stay as narrow.
    if bias is None:
        return y
    return y + bias.to(y.dtype)


def _channels_first(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: list[int], groups: int
) -> Tensor:
    """(N, C_in, *space): a convolution, with as many spatial axes as PyTorch has."""
    matrix = weight.flatten(1)
    if len(stride) == 1:
        return torch.conv1d(x, matrix[:, :, None], bias, stride, groups=groups)
    if len(stride) == 2:
        return torch.conv2d(x, matrix[:, :, None, None], bias, stride, groups=groups)
    if len(stride) == 3:
        return torch.conv3d(x, matrix[:, :, None, None, None], bias, stride, groups=groups)
    # Of no axes, or of four and more: flattened they are one, along which a 1×1 is the same.
    x = _subsampled(x, 2, stride)
    y = torch.conv1d(x.flatten(2), matrix[:, :, None], bias, groups=groups)
    return y.reshape(y.shape[:2] + x.shape[2:])


def _subsampled(x: Tensor, first: int, stride: list[int]) -> Tensor:
    """Every stride-th position along the axes from `first` on."""
    for axis, step in enumerate(stride, first):
        if step != 1:
            # TorchScript has no slice along an axis that is a variable, but this operator.
            x = torch.ops.aten.slice(x, axis, 0, None, step)
    return x


def sizes(shape: list[int]) -> str:
    """A shape as Python writes a tuple, which TorchScript cannot make of it.

    >>> sizes([2, 3, 5]), sizes([2])
    ('(2, 3, 5)', '(2,)')
    """
    return "(" + ", ".join([str(size) for size in shape]) + ("," if len(shape) == 1 else "") + ")"


def _spatial_dims(channel_dim: int) -> int:
    """Axes behind the stored matrix where none are asked for: as `Linear` has, or as `Conv2d`."""
    if channel_dim == -1:
        return 0
    return 2


def _check(
    in_channels: int,
    out_channels: int,
    bias: bool,
    stride: int | tuple[int, ...],
    groups: int,
    spatial_dims: int | None,
) -> None:
    if bias not in (True, False):
        # Where `Conv2d` has its kernel size, and others their stride.
        raise UsageError(
            f"got bias {bias!r}, wanted True or False: the third argument is the bias, "
            "the fourth the stride"
        )
    if spatial_dims is not None and spatial_dims < 0:
        raise UsageError(f"got spatial_dims {spatial_dims}, wanted at least 0")
    strides = (stride,) if isinstance(stride, int) else stride
    if min(in_channels, out_channels, groups, *strides) < 1:
        raise UsageError(
            f"got {in_channels} → {out_channels} channels, stride {stride}, {groups} groups, "
            "wanted each to be at least 1"
        )
    if in_channels % groups or out_channels % groups:
        raise UsageError(
            f"got {in_channels} → {out_channels} channels in {groups} groups, "
            "wanted both to be multiples of groups"
        )


def _is_pointwise(weight: Tensor, wanted: Tensor) -> bool:
    """Whether a stored weight is `wanted`'s matrix, with any number of axes of size one behind."""
    return (
        weight.ndim >= 2
        and weight.shape[:2] == wanted.shape[:2]
        and weight.numel() == wanted.numel()
    )
