"""The products that a 1×1 convolution sums.

p[o, i, …] = W[o, i] · x[i, …]          (n2, n1, …)
y[o, …]    = Σ_i p[o, i, …]             (n2, …)
"""

from __future__ import annotations

from torch import Tensor

from onebyone.errors import UsageError

__all__ = ["pointwise_products"]


def pointwise_products(x: Tensor, W: Tensor) -> Tensor:
    """The n1·n2 maps of a 1×1 convolution before they are summed: (N, n2, n1, *space).

    *n2 filters on n1 feature maps: why does that give n2 maps, and not n1·n2?* There are n1·n2
    products, one for each filter and each map, and here they are. But a filter is not 1×1: it is
    n1×1×1, one weight for each input map, and it adds up its n1 products. So each filter gives
    one map, and there may be any number of filters: 64 maps from 256 are 64 sums of 256 products,
    and 256 from 64 are 256 sums of 64. Those 256 are combinations of the same 64 maps, so a linear
    layer could get them all back from some 64 of them; it takes a nonlinearity to make more.

    Args:
        x: (N, n1, *space), any number of spatial axes.
        W: (n2, n1), or the weight of a convolution with kernel one, (n2, n1, 1, …). n2 and n1 are
            C_out and C_in.

    Sum the result over axis 2 for the 1×1 convolution (without bias). This takes n1 times its
    memory: it is for looking and for measuring, not for use in a network.

    Raises:
        UsageError: the channels of x are not those of W.

    >>> import torch
    >>> x, W = torch.ones(1, 256, 5, 7), torch.ones(64, 256)
    >>> pointwise_products(x, W).shape
    torch.Size([1, 64, 256, 5, 7])
    >>> pointwise_products(x, W).sum(2).shape
    torch.Size([1, 64, 5, 7])
    """
    if x.ndim < 2 or W.ndim < 2 or W.shape[:2].numel() != W.numel() or W.shape[1] != x.shape[1]:
        raise UsageError(
            f"got x of shape {tuple(x.shape)} and W of shape {tuple(W.shape)}, "
            "wanted (N, n1, ...) and (n2, n1): put the channels on axis 1 of both"
        )
    return x.unsqueeze(1) * W.reshape(*W.shape[:2], *[1] * (x.ndim - 2))
