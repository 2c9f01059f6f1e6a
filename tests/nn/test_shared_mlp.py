"""The shared MLP, against its matrices applied to one point after the other."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from onebyone.errors import UsageError
from onebyone.nn.shared_mlp import SharedMLP
from tests.nn.by_hand import fill, integers

# eps=0 and a variance that is a power of four: the norm then divides by a power of two, exactly.
Norm = partial(nn.BatchNorm1d, eps=0.0)


def one_point(mlp: SharedMLP, x: Tensor) -> Tensor:
    """The layers on one vector: a product, and a batch norm from its definition."""
    for layer in mlp:
        if hasattr(layer, "running_var"):
            normal = (x - layer.running_mean) / layer.running_var.sqrt()
            x = normal * layer.weight + layer.bias
        elif hasattr(layer, "weight"):
            x = layer.weight.flatten(1) @ x + (0 if layer.bias is None else layer.bias)
        else:
            x = layer(x)
    return x


@pytest.mark.parametrize("points", [1, 2, 11])
@pytest.mark.parametrize("norm", [None, Norm])
@pytest.mark.parametrize("channel_dim", [1, -1])
def test_every_point_meets_the_same_matrices(
    channel_dim: int, norm: partial[nn.BatchNorm1d] | None, points: int
) -> None:
    mlp = fill(SharedMLP(3, (4, 2), norm, nn.Hardtanh, channel_dim))
    clouds = integers(99, 2, points, 3)
    y = mlp(clouds) if channel_dim == -1 else mlp(clouds.mT).mT
    assert y.shape == (2, points, 2)
    for cloud, result in zip(clouds, y, strict=True):
        for x, z in zip(cloud, result, strict=True):
            assert torch.equal(z, one_point(mlp, x))


def test_training_gathers_the_same_statistics_in_both_layouts() -> None:
    """Means over 2·4 points, half of which is taken: exact. It is the channels that have them."""
    norm = partial(nn.BatchNorm1d, momentum=0.5)
    first = fill(SharedMLP(3, (4,), norm)).train()
    last = SharedMLP(3, (4,), norm, channel_dim=-1).double()
    last.load_state_dict(first.state_dict())
    x, before = integers(99, 2, 4, 3), first[1].running_mean.clone()
    first(x.mT), last(x)
    assert torch.equal(first[1].running_mean, last[1].running_mean)
    halfway = (before + first[0](x.mT).mean((0, 2))) / 2
    assert torch.equal(first[1].running_mean, halfway)


def test_more_axes_and_none() -> None:
    grouped = fill(SharedMLP(3, (4, 2), partial(nn.BatchNorm2d, eps=0.0)))
    rows = fill(SharedMLP(3, (4, 2), Norm, channel_dim=-1))
    x = integers(99, 2, 3, 5, 7)
    assert torch.equal(grouped(x), rows(x.movedim(1, -1)).movedim(-1, 1))
    assert torch.equal(rows(x[:, :, 0, 0]), grouped(x)[:, :, 0, 0])


def test_a_norm_of_each_vector_is_possible_where_channels_come_last() -> None:
    mlp = SharedMLP(3, (4,), nn.LayerNorm, channel_dim=-1)
    x = torch.randn(2, 5, 3)
    assert torch.equal(mlp(x)[1, 2], mlp(x[1:, 2])[0])


@pytest.mark.parametrize("channel_dim", [1, -1])
@pytest.mark.parametrize("kind", [partial(nn.Conv1d, kernel_size=1), nn.Linear])
def test_state_dicts_of_layers_in_a_row_fit(kind: type[nn.Linear], channel_dim: int) -> None:
    plain = nn.Sequential(kind(3, 4), nn.ReLU(), kind(4, 2), nn.ReLU())
    mlp = SharedMLP(3, (4, 2), None, channel_dim=channel_dim)
    mlp.load_state_dict(plain.state_dict())
    assert torch.equal(mlp[2].weight.flatten(1), plain[2].weight.flatten(1))
    assert mlp[2].weight.ndim == (3 if channel_dim == 1 else 2)


def test_what_cannot_be_built_or_fed_is_refused() -> None:
    with pytest.raises(UsageError, match="wanted at least one width"):
        SharedMLP(3, ())
    with pytest.raises(UsageError, match=r"got channel_dim 2, wanted 1 .* or -1"):
        SharedMLP(3, (4,), channel_dim=2)
    with pytest.raises(UsageError, match="wanted 3 channels"):
        SharedMLP(3, (4,))(torch.ones(2, 5, 3))
