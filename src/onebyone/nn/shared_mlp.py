"""The shared MLP over points.

    y[:, p] = σ(Wₙ … σ(W₁ · x[:, p] + b₁) … + bₙ)          the same matrices for every point p

A linear layer that is the same at every position is a 1×1 convolution, whatever the positions are:
pixels, tokens, or points in no order at all.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from onebyone.errors import UsageError
from onebyone.nn.mlpconv import check_widths, finish
from onebyone.nn.pointwise import Pointwise
from onebyone.nn.stack import Stack

__all__ = ["SharedMLP", "point_linear"]


class SharedMLP(Stack):
    """Linear layers on the channels of every point alike, each with its norm and nonlinearity.

    Args:
        in_channels: C.
        widths: channels after each layer.
        norm: makes a layer for that many channels; None for none, and then layers have a bias.
        activation: makes the nonlinearity that ends each layer, the last included.
        channel_dim: 1 for points (N, C, P), and with a fitting norm for (N, C, *space); -1 for
            points (N, P, C) and vectors (…, C). With -1 all points become the rows of one matrix
            (N·P, C), and that is what `norm` sees: as a `BatchNorm1d` wants it for the same result
            in both layouts.

    The input comes out with widths[-1] channels. It is a `Sequential`: the state dict is that of
    the layers in a row, whether they are `Conv1d`, `Conv2d` or `Linear` there.

    Raises:
        UsageError: no widths, or one below 1; another channel_dim; an input without these channels.

    Source: Qi, Su, Mo, Guibas, "PointNet: Deep Learning on Point Sets for 3D Classification and
    Segmentation", 2016, arXiv:1612.00593.

    >>> import torch
    >>> SharedMLP(3, (64, 128))(torch.ones(2, 3, 11)).shape
    torch.Size([2, 128, 11])
    >>> SharedMLP(3, (64, 128), channel_dim=-1)(torch.ones(2, 11, 3)).shape
    torch.Size([2, 11, 128])
    """

    def __init__(
        self,
        in_channels: int,
        widths: Sequence[int],
        norm: Callable[[int], nn.Module] | None = nn.BatchNorm1d,
        activation: Callable[[], nn.Module] = nn.ReLU,
        channel_dim: int = 1,
    ) -> None:
        check_widths(in_channels, widths)
        if channel_dim not in (1, -1):
            raise UsageError(
                f"got channel_dim {channel_dim}, wanted 1 for points (N, C, P) or -1 for (N, P, C)"
            )
        layers: list[nn.Module] = []
        for before, after in pairwise([in_channels, *widths]):
            layers += [point_linear(before, after, norm is None, channel_dim)]
            layers += finish(after, norm, activation)
        super().__init__(*layers)
        self.channel_dim = channel_dim

    def forward(self, x: Tensor) -> Tensor:
        """Points (N, C, P), or (…, C) with channel_dim=-1 -> the same with widths[-1] channels."""
        y = _rows(x) if self.channel_dim == -1 else x
        for layer in self:
            y = layer(y)
        return _points(y, x) if self.channel_dim == -1 else y


def _rows(x: Tensor) -> Tensor:
    """Points (…, C) as the rows of one matrix."""
    if x.ndim <= 2:
        return x
    return x.flatten(0, -2)


def _points(rows: Tensor, like: Tensor) -> Tensor:
    """Rows as the points that `_rows` made them of."""
    if like.ndim <= 2:
        return rows
    return rows.reshape(like.shape[:-1] + rows.shape[-1:])


# Both look at how many axes there are, which a symbolic trace does not know.
torch.fx.wrap("_rows")
torch.fx.wrap("_points")


def point_linear(before: int, after: int, bias: bool, channel_dim: int) -> Pointwise:
    """A 1×1 stored as PointNets usually store it: as `Conv1d` on points, as `Linear` on rows."""
    on_points = int(channel_dim == 1)
    return Pointwise(before, after, bias, channel_dim=channel_dim, spatial_dims=on_points)
