"""Two linear maps on channels as one, and one as two.

    compose   (W₂, b₂) ∘ (W₁, b₁) = (W₂W₁, W₂b₁ + b₂)
              (M, c) ∘ K = Σ_k (M W_k) ⊗ T_k + (M b + c)
              K ∘ (M, c) = Σ_k (W_k M) ⊗ T_k + (b + Σ_k W_k c)      unless K pads zeros and c ≠ 0
    factor    W = (U√Σ)(√Σ Vᵀ), through r channels                  W: (C_out, C_in), r ≥ rank W

Factoring saves multiply-accumulates where r(C_in + C_out) < C_in·C_out; composing does otherwise.
"""

from __future__ import annotations

from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import nn

from onebyone.algebra import channel
from onebyone.algebra.rank import numerical_rank
from onebyone.algebra.refusal import Refusal
from onebyone.algebra.weights import Array
from onebyone.errors import UsageError
from onebyone.nn.convert.bridge import (
    channel_axis,
    channel_dim,
    is_pointwise,
    is_strided,
    matrix,
    taps,
)
from onebyone.nn.convert.parameters import CONVOLUTIONS, alike, bias_array, is_a, unfit
from onebyone.nn.pointwise import Pointwise

__all__ = ["compose", "factor"]

Layer = TypeVar("Layer", bound=nn.Module)
Stride = int | tuple[int, ...]


def compose(first: nn.Module, second: nn.Module) -> nn.Module:
    """One layer for two, `second(first(x))`, at least one of which is a 1×1.

    Args:
        first, second: Linear, Pointwise, Conv1d to 3d; equal groups and diagonals stay so.

    Returns:
        A convolution if there is one (the one with the larger kernel), else a Pointwise if there is
        one, else a Linear: with the settings, dtype, device, gradient flags and mode of that layer;
        computed in float64 and rounded once. The strides of two 1×1s multiply.

    Raises:
        UsageError: two larger kernels; channels that do not meet, or lie along other axes; a 1×1
            with a stride beside a larger kernel; a dense 1×1 beside a larger grouped kernel; a 1×1
            with a bias before a larger kernel that pads with zeros, which would be padded by it.

    >>> compose(Pointwise(3, 8), nn.Conv2d(8, 4, 3, stride=2))
    Conv2d(3, 4, kernel_size=(3, 3), stride=(2, 2))
    >>> compose(Pointwise(3, 8, stride=2), Pointwise(8, 4, stride=(1, 2)))
    Pointwise(3, 4, stride=(2, 4))
    """
    for module in (first, second):
        if not is_a(module, nn.Linear, Pointwise, *CONVOLUTIONS):
            raise unfit(module, "Linear, Pointwise or a convolution")
    if not _meet(first, second):
        raise UsageError(
            f"got {first} and {second}, wanted both to have their channels along one axis of the "
            "same input: set channel_dim"
        )
    if is_pointwise(first) and is_pointwise(second):
        return _product(first, second)
    if is_pointwise(second):
        return _around(cast(nn.Conv2d, first), second, after=True)
    if is_pointwise(first):
        return _around(cast(nn.Conv2d, second), first, after=False)
    raise UsageError(f"got {first} and {second}, wanted one of them to be a 1×1")


def _meet(first: nn.Module, second: nn.Module) -> bool:
    """Whether both act on one axis of the same input."""
    axes = {len(cast(nn.Conv2d, m).kernel_size) for m in (first, second) if is_a(m, *CONVOLUTIONS)}
    if not axes:  # then inputs of any rank are fine, where the same name is the same axis
        return channel_dim(first) == channel_dim(second)
    return len(axes) == 1 and channel_axis(first, *axes) == channel_axis(second, *axes)


def _product(first: nn.Module, second: nn.Module) -> nn.Module:
    """Two 1×1s as one."""
    f = channel.compose(matrix(second), matrix(first))
    # The one that can express most: a Linear has no groups, a Pointwise takes any rank of input.
    kinds = (*CONVOLUTIONS, Pointwise, nn.Linear)
    like = min(second, first, key=lambda m: next(i for i, k in enumerate(kinds) if is_a(m, k)))
    if is_a(like, nn.Linear):
        return alike(like, f.dense(), f.bias)
    changes: dict[str, Any] = {"groups": f.groups, "stride": _multiplied(first, second)}
    if is_a(like, *CONVOLUTIONS):
        changes["padding"] = 0  # "same", which is none, cannot be had with a stride
    return alike(like, _spread(f.weight, like), f.bias, **changes)


def _multiplied(first: nn.Module, second: nn.Module) -> Stride:
    """The stride of two 1×1s: every b-th of every a-th position."""
    a, b = (cast(Stride, getattr(m, "stride", 1)) for m in (first, second))
    if isinstance(a, int) and isinstance(b, int):
        return a * b
    # One number stands for as many as the other layer has.
    if isinstance(a, int):
        a = (a,) * len(cast(tuple[int, ...], b))
    if isinstance(b, int):
        b = (b,) * len(a)
    if len(a) != len(b):
        raise UsageError(f"got strides {a} and {b}, wanted one for each axis of the same input")
    return tuple(x * y for x, y in zip(a, b, strict=True))


def _around(conv: nn.Conv2d, pointwise: nn.Module, after: bool) -> nn.Module:
    """A K×K convolution and the 1×1 after or before it as one convolution."""
    if is_strided(pointwise):
        raise unfit(pointwise, f"a 1×1 without stride beside {conv}")
    f, kernel = matrix(pointwise), taps(conv)
    # A diagonal goes in as a vector: it alone keeps the kernel's groups.
    M = f.weight[:, 0] if f.is_diagonal else f.dense()
    law, place = (kernel.compose_left, "after") if after else (kernel.compose_right, "before")
    composed = law(M, f.bias)
    if isinstance(composed, Refusal):
        raise UsageError(
            f"got {pointwise} {place} {conv}: {composed.reason}, wanted two that are one "
            "convolution: keep both"
        )
    return alike(conv, composed.weight, composed.bias)


def _spread(weight: Array, like: nn.Module) -> Array:
    """A matrix with as many axes of size one behind as the weight of `like` has."""
    return weight.reshape(*weight.shape, *[1] * (cast(nn.Conv2d, like).weight.ndim - 2))


def factor(layer: Layer, rank: int) -> nn.Sequential:
    """A 1×1 as two, C_in → rank → C_out, equal up to rounding.

    The first has the stride, the second the bias, and each half of every singular value, so that
    their weights are of one size. `compose(*factor(layer, rank))` is the way back.

    Args:
        layer: Linear, Pointwise or a 1×1 convolution, in one group.
        rank: at least the numerical rank of the weight (`onebyone.algebra.rank`, at the roundoff
            of its dtype), at most min(C_in, C_out).

    Raises:
        UsageError: another module, or another rank. A smaller one would be an approximation; the
            message says how large its error would be.

    Source: Eckart, Young, "The approximation of one matrix by another of lower rank", 1936.

    >>> wide = compose(Pointwise(64, 8), Pointwise(8, 256))
    >>> factor(wide, 8)
    Sequential(
      (0): Pointwise(64, 8, bias=False)
      (1): Pointwise(8, 256)
    )
    """
    if not is_pointwise(layer) or matrix(layer).groups != 1:
        raise unfit(layer, "Linear, Pointwise or a 1×1 convolution, in one group")
    W = matrix(layer).weight
    U, sigma, V = np.linalg.svd(W, full_matrices=False)
    _check_rank(rank, W, sigma, cast(nn.Linear, layer).weight.dtype)
    # W = (U√Σ)(√Σ Vᵀ): half of each singular value on either side.
    root = np.sqrt(sigma[:rank])
    last: dict[str, Any] = {} if is_a(layer, nn.Linear) else {"stride": 1}
    first = alike(layer, _spread(root[:, None] * V[:rank], layer), None)
    second = alike(layer, _spread(U[:, :rank] * root, layer), bias_array(layer), **last)
    return nn.Sequential(first, second).train(layer.training)


def _check_rank(rank: int, W: Array, sigma: Array, dtype: torch.dtype) -> None:
    if not 1 <= rank <= len(sigma):
        raise UsageError(
            f"got rank {rank} for {W.shape[1]} → {W.shape[0]} channels, wanted 1 to {len(sigma)}"
        )
    needed = numerical_rank(W, unit=torch.finfo(dtype).eps / 2)
    if rank < needed:
        lost = np.linalg.norm(sigma[rank:]) / np.linalg.norm(sigma)
        raise UsageError(
            f"got rank {rank} for a weight of numerical rank {needed}, wanted at least that to be "
            f"exact: cut off there it would be off by {sigma[rank]:.3g} in the spectral norm, by "
            f"{lost:.3g} of its size in the Frobenius norm"
        )
