"""Batch normalisation at inference, into the layer beside it and out again.

    y = γ(x - μ)/√(σ² + ε) + β = s·x + t        s = γ/√(σ² + ε), t = β - s·μ: one factor a channel

    after      BN ∘ K  = Σ_k (diag(s)W_k) ⊗ T_k + (s·b + t)          always
    before     K ∘ BN  = Σ_k (W_k diag(s)) ⊗ T_k + (b + Σ_k W_k t)   unless K pads zeros and t ≠ 0
    out again  K       = (1/s, -t/s) ∘ (BN ∘ K)                      where no s is zero

Padding that repeats the input (reflect, replicate, circular) is fine before: it commutes with
s·x + t, as zeros do not.
"""

from __future__ import annotations

from typing import Any, TypeVar, cast

import numpy as np
from torch import nn

from onebyone.algebra.channel import ChannelMap, compose
from onebyone.algebra.refusal import Refusal
from onebyone.errors import UsageError
from onebyone.nn.convert.bridge import NORMS, Value, to_channel_map, value_of
from onebyone.nn.convert.norm_pairs import graphs, norm_pairs
from onebyone.nn.convert.parameters import alike, is_a, unfit
from onebyone.nn.convert.plain import put
from onebyone.nn.copies import copied, stored

__all__ = ["fuse_norm", "fuse_norm_before", "fuse_norms", "unfuse_norm"]

Layer = TypeVar("Layer", bound=nn.Module)


def fuse_norm(layer: Layer, norm: nn.Module) -> Layer:
    """A layer and the BatchNorm after it as one layer: `norm(layer(x))` for a batch x.

    Args:
        layer: Conv1d to 3d and ConvTranspose1d to 3d, with any padding and groups; Pointwise with
            the channels on axis 1; Linear on (N, C). BatchNorm takes axis 1 for the channels.
        norm: in eval mode, with running statistics, with or without γ and β.

    Returns:
        A layer as the first, with a bias; computed in float64 and rounded once to its dtype.

    Raises:
        UsageError: another module, a norm in training mode, other channels.

    Source: Ioffe, Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing
    Internal Covariate Shift", 2015, arXiv:1502.03167.

    >>> fuse_norm(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4).eval())
    Conv2d(3, 4, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
    """
    return _after(layer, _norm(norm))


def fuse_norm_before(norm: nn.Module, layer: Layer) -> Layer:
    """A layer and the BatchNorm before it as one layer: `layer(norm(x))` for a batch x.

    Args:
        norm, layer: as for `fuse_norm`.

    Raises:
        UsageError: as `fuse_norm`; and a norm that shifts (t ≠ 0) before a convolution that pads
            with zeros, whose border would see t instead of zero, or before a transposed one.

    >>> fuse_norm_before(nn.BatchNorm2d(3).eval(), nn.Conv2d(3, 4, 3, bias=False))
    Conv2d(3, 4, kernel_size=(3, 3), stride=(1, 1))
    """
    f, value = _norm(norm), value_of(layer)
    if isinstance(value, ChannelMap):
        return _as(layer, compose(value, f))
    fused = value.compose_right(f.weight[:, 0], f.bias)
    if isinstance(fused, Refusal):
        raise UsageError(
            f"got {norm} before {layer}: {fused.reason}, wanted a norm without shift or "
            "a convolution without padding: keep the norm"
        )
    return _as(layer, fused)


def unfuse_norm(layer: Layer, norm: nn.Module) -> Layer:
    """The layer that `fuse_norm` with `norm` makes into this one; the inverse of `fuse_norm`.

    It has a bias, which is zero up to rounding if the layer that was fused had none.

    Raises:
        UsageError: as `fuse_norm`; and a γ of zero, behind which all layers look alike.

    >>> conv, norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4).eval()
    >>> back = unfuse_norm(fuse_norm(conv, norm), norm)
    >>> bool((back.weight - conv.weight).abs().max() < 1e-6)
    True
    """
    f = _norm(norm)
    lost = np.flatnonzero(f.weight == 0)
    if len(lost):
        raise UsageError(
            f"got a norm with γ = 0 in channels {lost.tolist()}, wanted none: what a layer gave "
            "there cannot be known"
        )
    # y = s·x + t the other way round: x = y/s − t/s.
    scale = 1 / f.weight[:, 0]
    assert f.bias is not None, "a norm shifts by its mean"
    return _after(layer, ChannelMap.diagonal(scale, -f.bias * scale))


def fuse_norms(module: Layer) -> Layer:
    """A copy of a whole module in which each BatchNorm right after a convolution is fused into it.

    Fused are norms in eval mode whose input is the output of a convolution, transposed convolution
    or Pointwise on axis 1 that is called once and that nothing else reads; an `nn.Identity` takes
    the norm's place. All else stays: norms in training mode, modules with hooks, and a norm after
    a Linear, since on (N, L, C) it norms axis 1 and only you know the rank (`fuse_norm` does it).

    The pairs are found by tracing `forward`, other arguments at their defaults, which has to be
    free of control flow that depends on the input; inputs are taken to be batches. Where a layer or
    its norm is pruned or parametrized (`weight_norm`), what is fused are its numbers of now.

    Raises:
        UsageError: the module cannot be traced; the message says why.

    >>> fuse_norms(nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)).eval())
    Sequential(
      (0): Conv2d(3, 4, kernel_size=(3, 3), stride=(1, 1))
      (1): Identity()
    )
    """
    fused = copied(module)
    pairs = norm_pairs(fused)
    for layer, norm in pairs:
        put(fused, layer, fuse_norm(stored(layer), stored(norm)))
        # Not taken away: names in a `Sequential` are places, and others would move up.
        put(fused, norm, nn.Identity().train(norm.training))
    if pairs:
        graphs(fused)  # fails where a module is reached by other ways than the names it has
    return fused


def _norm(norm: nn.Module) -> ChannelMap:
    if not is_a(norm, *NORMS):
        raise unfit(norm, "a BatchNorm")
    return to_channel_map(norm)


def _after(layer: Layer, f: ChannelMap) -> Layer:
    """The layer, then the diagonal f."""
    # It scales whole outputs and shifts them, so that a kernel of any shape takes it in.
    value = value_of(layer)
    if isinstance(value, ChannelMap):
        return _as(layer, compose(f, value))
    fused = value.compose_left(f.weight[:, 0], f.bias)
    assert not isinstance(fused, Refusal), "a diagonal composes with any kernel"
    return _as(layer, fused)


def _as(layer: Layer, value: Value) -> Layer:
    """A layer as `layer`, whose weight has the shape that a diagonal left it."""
    return alike(layer, value.weight.reshape(cast(Any, layer).weight.shape), value.bias)
