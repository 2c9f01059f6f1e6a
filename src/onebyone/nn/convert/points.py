"""An MLP on points as 1×1s, and back.

    mlp(x[p]) for every point p  =  shared(x)[:, p]          x: rows (N·P, C) or points (N, C, P)

The matrices are the same; they are applied along the last axis there and along axis 1 here.
"""

from __future__ import annotations

from torch import nn

from onebyone.nn.convert.rows import layers_of, stack, to_positions, to_rows

__all__ = ["point_mlp_to_shared_mlp", "shared_mlp_to_point_mlp"]


def point_mlp_to_shared_mlp(mlp: nn.Sequential) -> nn.Sequential:
    """An MLP that acts on rows (N·P, C) as one that acts on points (N, C, P).

    `shared(x) == mlp(rows).unflatten(0, (N, P)).mT` for `rows = x.mT.flatten(0, 1)`. Without a
    batch norm the MLP also takes (N, P, C), and then `shared(x) == mlp(x.mT).mT`.

    Args:
        mlp: `Linear`, `BatchNorm1d` and elementwise activations, in any order.

    Each layer becomes one: `Linear` a `Pointwise` with the weight of a `Conv1d`, the others a copy.
    Parameters are copied with dtype, device and requires_grad, each layer keeps its training mode,
    and a layer that stands in two places is copied twice.

    Raises:
        UsageError: a layer that may treat rows unlike, or whose channels are always the last axis.

    Source: Qi, Su, Mo, Guibas, "PointNet", 2016, arXiv:1612.00593.

    >>> import torch
    >>> mlp = nn.Sequential(nn.Linear(3, 64), nn.ReLU(), nn.Linear(64, 128))
    >>> shared = point_mlp_to_shared_mlp(mlp)
    >>> shared(torch.ones(2, 3, 11)).shape
    torch.Size([2, 128, 11])
    """
    return stack((to_positions(layer, 1) for layer in layers_of(mlp)), mlp)


def shared_mlp_to_point_mlp(shared: nn.Sequential) -> nn.Sequential:
    """The way back: 1×1s on (N, C, P) as linear layers on rows (N·P, C), or (N, P, C).

    Args:
        shared: a `SharedMLP` (of either channel_dim), or a stack of `Pointwise`, convolutions with
            kernel 1, batch norms and elementwise activations. Groups are written out, with zeros.

    Raises:
        UsageError: a layer that may treat positions unlike, or drops some (a stride).

    >>> from onebyone.nn.shared_mlp import SharedMLP
    >>> shared_mlp_to_point_mlp(SharedMLP(3, (64,), norm=None))
    Sequential(
      (0): Linear(in_features=3, out_features=64, bias=True)
      (1): ReLU()
    )
    """
    return stack((to_rows(layer) for layer in layers_of(shared)), shared)
