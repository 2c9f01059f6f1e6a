"""Network in network: an MLP slid over an image, as a convolution and then 1×1s.

    y[p] = σ(Wₙ … σ(W₂ σ(W₁ · patch[p] + b₁) + b₂) … + bₙ)          patch[p]: (C_in · K_h · K_w,)

W₁ on every patch is a K×K convolution; from there on a position holds one vector, and a linear
layer on it is a 1×1. So nothing has to be slid: convolutions slide by themselves.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import nn

from onebyone.errors import UsageError
from onebyone.nn.pointwise import Pointwise
from onebyone.nn.stack import Stack

__all__ = ["MLPConv", "check_widths", "finish"]


class MLPConv(Stack):
    """A K×K convolution, then 1×1s, each followed by `norm` (if any) and `activation`.

    (N, C_in, H, W) -> (N, widths[-1], H', W') with H' and W' as of `Conv2d`. The same function as a
    multilayer perceptron on each K×K patch; `onebyone.nn.convert` goes from one to the other.

    Args:
        in_channels: C_in.
        widths: channels after each layer: the K×K convolution, then one 1×1 for each further width.
        kernel_size, stride, padding: of the K×K convolution.
        norm: makes a layer for that many channels; None for none, and then layers have a bias.
        activation: makes the nonlinearity that ends each layer, the last included.

    It is a `Sequential`: the state dict is that of the layers in a row, whether the 1×1s are
    `Conv2d` or `Linear` there.

    Raises:
        UsageError: no widths, or one below 1.

    Source: Lin, Chen, Yan, "Network in Network", 2013, arXiv:1312.4400.

    >>> import torch
    >>> MLPConv(3, (192, 160, 96), 5, padding=2)(torch.ones(2, 3, 9, 7)).shape
    torch.Size([2, 96, 9, 7])
    """

    def __init__(
        self,
        in_channels: int,
        widths: Sequence[int],
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] | str = 0,
        norm: Callable[[int], nn.Module] | None = None,
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        check_widths(in_channels, widths)
        bias = norm is None
        first = nn.Conv2d(in_channels, widths[0], kernel_size, stride, padding, bias=bias)
        layers: list[nn.Module] = [first, *finish(widths[0], norm, activation)]
        for before, after in pairwise(widths):
            layers += [Pointwise(before, after, bias), *finish(after, norm, activation)]
        super().__init__(*layers)


def finish(
    width: int,
    norm: Callable[[int], nn.Module] | None,
    activation: Callable[[], nn.Module] | None,
) -> list[nn.Module]:
    """What follows a linear layer with `width` outputs: its norm and nonlinearity, if any."""
    # The norm first: what it centres the nonlinearity then bends.
    made = []
    if norm is not None:
        made.append(norm(width))
    if activation is not None:
        made.append(activation())
    return made


def check_widths(in_channels: int, widths: Sequence[int]) -> None:
    """Raise UsageError unless there is at least one width and all channel counts are positive."""
    if not widths or min(in_channels, *widths) < 1:
        raise UsageError(
            f"got {in_channels} channels and widths {tuple(widths)}, "
            "wanted at least one width and each number to be at least 1"
        )
