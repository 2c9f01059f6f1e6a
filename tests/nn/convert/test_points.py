"""An MLP on points and 1×1s: one function, two layouts, equal to the bit."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from onebyone.errors import UsageError
from onebyone.nn.convert.points import point_mlp_to_shared_mlp, shared_mlp_to_point_mlp
from onebyone.nn.pointwise import Pointwise
from onebyone.nn.shared_mlp import SharedMLP
from tests.nn.by_hand import fill, integers

Norm = partial(nn.BatchNorm1d, eps=0.0)


@pytest.mark.parametrize("points", [1, 2, 11])
def test_points_are_mapped_as_their_rows_are(points: int) -> None:
    layers = nn.Linear(3, 4), Norm(4), nn.ReLU(), nn.Linear(4, 5, False), nn.PReLU(5)
    mlp = fill(nn.Sequential(*layers, nn.Linear(5, 2)))
    shared = point_mlp_to_shared_mlp(mlp)
    x = integers(99, 2, points, 3)
    assert torch.equal(shared(x.mT).mT.flatten(0, 1), mlp(x.flatten(0, 1)))
    back = shared_mlp_to_point_mlp(shared)
    assert repr(back) == repr(mlp)
    state = mlp.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in back.state_dict().items())


def test_without_norms_points_keep_their_clouds() -> None:
    mlp = fill(nn.Sequential(nn.Linear(3, 4), nn.Hardtanh(), nn.Linear(4, 2)))
    x = integers(99, 2, 7, 3)
    assert torch.equal(point_mlp_to_shared_mlp(mlp)(x.mT), mlp(x).mT)


@pytest.mark.parametrize("norm", [None, Norm])
@pytest.mark.parametrize("channel_dim", [1, -1])
def test_a_shared_mlp_as_linear_layers(
    channel_dim: int, norm: partial[nn.BatchNorm1d] | None
) -> None:
    shared = fill(SharedMLP(3, (4, 2), norm, channel_dim=channel_dim))
    mlp = shared_mlp_to_point_mlp(shared)
    assert {type(layer) for layer in mlp} <= {nn.Linear, nn.BatchNorm1d, nn.ReLU}
    x = integers(99, 2, 7, 3)
    y = shared(x) if channel_dim == -1 else shared(x.mT).mT
    assert torch.equal(mlp(x.flatten(0, 1)), y.flatten(0, 1))
    assert torch.equal(point_mlp_to_shared_mlp(mlp)(x.mT).mT, y)


def test_what_comes_out_is_stored_as_convolutions_and_as_linear_layers() -> None:
    mlp = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    shared = point_mlp_to_shared_mlp(mlp)
    nn.Sequential(nn.Conv1d(3, 4, 1)).load_state_dict(shared.state_dict())
    assert type(shared[0]) is Pointwise
    assert shared[0].weight.data_ptr() != mlp[0].weight.data_ptr()


def test_a_stack_of_convolutions_is_taken_as_well() -> None:
    stack = fill(nn.Sequential(nn.Conv1d(4, 6, 1, groups=2), Norm(6), nn.Conv1d(6, 2, 1)))
    x = integers(99, 2, 4, 7)
    y = shared_mlp_to_point_mlp(stack)(x.mT.flatten(0, 1))
    assert torch.equal(y, stack(x).mT.flatten(0, 1))


def test_training_goes_on_with_the_same_numbers() -> None:
    """A mean over 2·4 points, half of which is taken: exact."""
    mlp = fill(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, momentum=0.5))).train()
    shared = point_mlp_to_shared_mlp(mlp)
    x = integers(99, 2, 4, 3)
    mlp(x.flatten(0, 1)), shared(x.mT)
    assert torch.equal(mlp[1].running_mean, shared[1].running_mean)
    assert shared[1].num_batches_tracked == mlp[1].num_batches_tracked


def test_a_frozen_layer_stays_frozen_in_a_stack_that_is_trained() -> None:
    mlp = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, affine=False), nn.Linear(4, 2)).train()
    mlp[1].eval()
    mlp[2].requires_grad_(False)
    for new in (
        point_mlp_to_shared_mlp(mlp),
        shared_mlp_to_point_mlp(point_mlp_to_shared_mlp(mlp)),
    ):
        assert [new.training, *(layer.training for layer in new)] == [True, True, False, True]
        assert [p.requires_grad for p in new.parameters()] == [True, True, False, False]


@pytest.mark.parametrize("layer", [nn.LayerNorm(4), nn.Softmax(-1), nn.GRU(4, 4), nn.Flatten()])
def test_layers_that_may_treat_points_unlike_are_refused(layer: nn.Module) -> None:
    with pytest.raises(UsageError, match=f"got {type(layer).__name__}.*wanted a linear layer"):
        point_mlp_to_shared_mlp(nn.Sequential(nn.Linear(3, 4), layer))


@pytest.mark.parametrize("layer", [nn.Conv1d(4, 2, 3), nn.InstanceNorm1d(4), nn.MaxPool1d(2)])
def test_layers_that_look_at_other_points_are_refused(layer: nn.Module) -> None:
    with pytest.raises(UsageError, match=f"got {type(layer).__name__}"):
        shared_mlp_to_point_mlp(nn.Sequential(nn.Conv1d(3, 4, 1), layer))
