"""PointNet: what a set is to it, and each part against its definition."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from onebyone.errors import UsageError
from onebyone.nn.points import (
    PointNetClassifier,
    PointNetEncoder,
    PointNetSegmenter,
    TNet,
    orthogonality_loss,
)
from onebyone.nn.pointwise import Pointwise
from tests.nn.by_hand import fill, integers

Network = PointNetClassifier | PointNetSegmenter
Norm = partial(nn.BatchNorm1d, eps=0.0)
SEED = 500  # a draw in which no layer is dead


def small(kind: type[Network], norm: partial[nn.BatchNorm1d] | None, transforms: bool) -> Network:
    """A network of a few channels with small integers for parameters."""
    encoder = PointNetEncoder(3, (5, 4), (6, 7), (6, 5) if transforms else None, norm)
    net = fill(kind(4, encoder, (6, 5), norm=norm), seed=SEED)
    for name, value in net.state_dict().items():
        if name.endswith("running_var"):
            value.fill_(1)  # no halves: what is counted in `exactly` are integers
    return net


def exactly(net: Network, x: Tensor) -> Tensor:
    """The result, and a check that it is exact: at no layer do the terms of a sum reach 2⁵³."""
    sizes: list[Tensor] = []

    def weigh(layer: Pointwise, inputs: tuple[Tensor], _: Tensor) -> None:
        x = inputs[0].movedim(layer.channel_dim, -1).abs()
        sizes.append((x @ layer.weight.flatten(1).abs().T).max())

    def transform(parent: TNet, inputs: tuple[Tensor], matrix: Tensor) -> None:
        sizes.append(torch.bmm(matrix.abs(), inputs[0].abs()).max())

    hooks = [
        module.register_forward_hook(transform if isinstance(module, TNet) else weigh)
        for module in net.modules()
        if isinstance(module, TNet | Pointwise)
    ]
    y: Tensor = net(x)
    for hook in hooks:
        hook.remove()
    # Room for a bias, a mean and a shift within ±1, and for a scale of at most 3.
    assert max(sizes) < 2**50
    assert torch.equal(y, y.round())
    return y


CASES = pytest.mark.parametrize(
    ("norm", "transforms"), [(None, True), (None, False), (Norm, True), (Norm, False)]
)


@CASES
@pytest.mark.parametrize("points", [1, 2, 11])
def test_the_order_of_the_points_is_nothing_to_a_classifier(
    points: int, norm: partial[nn.BatchNorm1d] | None, transforms: bool
) -> None:
    net = small(PointNetClassifier, norm, transforms)
    x = integers(99, 2, 3, points)
    order = torch.randperm(points, generator=torch.Generator().manual_seed(0))
    y = exactly(net, x)
    assert y.shape == (2, 4)
    assert torch.equal(exactly(net, x[:, :, order]), y)


@CASES
@pytest.mark.parametrize("points", [1, 2, 11])
def test_a_segmenter_follows_the_order_of_the_points(
    points: int, norm: partial[nn.BatchNorm1d] | None, transforms: bool
) -> None:
    net = small(PointNetSegmenter, norm, transforms)
    x = integers(99, 2, 3, points)
    order = torch.randperm(points, generator=torch.Generator().manual_seed(0))
    y = exactly(net, x)
    assert y.shape == (2, 4, points)
    assert torch.equal(exactly(net, x[:, :, order]), y[:, :, order])


@pytest.mark.parametrize("kind", [PointNetClassifier, PointNetSegmenter])
def test_a_cloud_is_judged_by_itself(kind: type[Network]) -> None:
    net, x = small(kind, Norm, True), integers(99, 3, 3, 7)
    for i, y in enumerate(exactly(net, x)):
        assert torch.equal(net(x[i : i + 1])[0], y)


def test_a_point_that_is_there_twice_changes_nothing() -> None:
    net, x = small(PointNetClassifier, Norm, True), integers(99, 2, 3, 7)
    assert torch.equal(net(torch.cat([x, x[:, :, :3]], 2)), exactly(net, x))


@CASES
@pytest.mark.parametrize("kind", [PointNetClassifier, PointNetSegmenter])
def test_the_small_networks_do_look_at_their_points(
    kind: type[Network], norm: partial[nn.BatchNorm1d] | None, transforms: bool
) -> None:
    """Without this the equations above would say nothing."""
    net = small(kind, norm, transforms)
    x = integers(99, 2, 3, 7)
    features = net.encoder(x)
    for part in (net(x), features.local, features.overall, features.transform):
        assert part is None or not torch.equal(part[0], part[1])


def test_the_encoder_transforms_maps_transforms_maps_and_takes_the_maximum() -> None:
    encoder = small(PointNetClassifier, Norm, True).encoder
    x = integers(99, 2, 3, 7)
    turned = torch.einsum("nij,njp->nip", encoder.input_transform(x), x)
    local = encoder.local(turned)
    transform = encoder.feature_transform(local)
    local = torch.einsum("nij,njp->nip", transform, local)
    features = encoder(x)
    assert torch.equal(features.local, local)
    assert torch.equal(features.transform, transform)
    assert torch.equal(features.overall, encoder.shared(local).max(2).values)


def test_a_transform_is_the_identity_until_it_is_trained() -> None:
    net = TNet(3, (4, 5), (6,)).train()
    x = torch.randn(2, 3, 7)
    assert torch.equal(net(x), torch.eye(3).expand(2, 3, 3))
    net(x).square().sum().backward()
    assert net.last.weight.grad.abs().sum() > 0


def test_a_transform_is_read_row_by_row() -> None:
    net = fill(TNet(3, (4, 5), (6,), None))
    x = integers(99, 2, 3, 7)
    numbers = net.last(net.head(net.shared(x).max(2).values))
    for matrix, row in zip(net(x), numbers, strict=True):
        assert torch.equal(matrix - torch.eye(3), torch.stack(row.split(3)))


def test_orthogonal_matrices_and_no_others_have_no_loss() -> None:
    turn = torch.tensor([[0.0, -1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    shear = torch.tensor([[1.0, 2.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    # I − AAᵀ of the shear has −4 once and −2 twice: 16 + 4 + 4.
    assert orthogonality_loss(torch.stack([turn, shear])).tolist() == [0, 24]
    assert orthogonality_loss(shear).shape == ()


def test_a_segmenter_is_a_shared_mlp_on_concatenated_features() -> None:
    net = small(PointNetSegmenter, None, True)
    x = integers(99, 2, 3, 7)
    features = net.encoder(x)
    joined = torch.cat([features.local, features.overall[:, :, None].expand(-1, -1, 7)], 1)
    whole = Pointwise(11, 6).double()
    whole.weight.data = torch.cat([net.local.weight[:, :, 0], net.overall.weight], 1)[..., None]
    whole.bias.data = net.local.bias.data
    assert torch.equal(exactly(net, x), net.last(net.shared(whole(joined).relu())))


def test_one_layer_is_enough_for_a_segmenter() -> None:
    net = PointNetSegmenter(4, PointNetEncoder(6, (4,), (3,), None), (5,))
    assert net(torch.randn(2, 6, 7)).shape == (2, 4, 7)


@pytest.mark.parametrize("kind", [PointNetClassifier, PointNetSegmenter])
def test_the_transform_comes_with_the_scores_on_request(kind: type[Network]) -> None:
    net, x = small(kind, Norm, True), integers(99, 2, 3, 7)
    scores, transform = net(x, with_transform=True)
    assert torch.equal(scores, net(x))
    assert torch.equal(transform, net.encoder(x).transform)
    assert small(kind, Norm, False)(x, with_transform=True)[1] is None


def test_the_papers_sizes_are_the_default() -> None:
    net = PointNetClassifier(40)
    widths = [layer.out_channels for layer in net.modules() if isinstance(layer, Pointwise)]
    body = [64, 64, 64, 128, 1024]
    transforms = [64, 128, 1024, 512, 256, 9], [64, 128, 1024, 512, 256, 64 * 64]
    assert sorted(widths) == sorted([*body, *transforms[0], *transforms[1], 512, 256, 40])
    assert net.dropout.p == 0.3
    bare = PointNetClassifier(40, norm=None, activation=nn.SiLU)
    kinds = {type(layer) for layer in bare.modules()}
    assert nn.SiLU in kinds
    assert not kinds & {nn.ReLU, nn.BatchNorm1d}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", [PointNetClassifier, PointNetSegmenter])
def test_every_type_comes_out_as_it_went_in(kind: type[Network], dtype: torch.dtype) -> None:
    net = small(kind, nn.BatchNorm1d, True).to(dtype).train()
    y = net(integers(99, 2, 3, 7).to(dtype))
    assert y.dtype == dtype
    y.sum().backward()
    assert all(p.grad is not None and p.grad.dtype == dtype for p in net.parameters())


def test_other_shapes_are_refused() -> None:
    for shape in ((2, 7, 3), (3, 7), (2, 3, 7, 1)):
        with pytest.raises(UsageError, match=r"wanted \(N, 3, P\): transpose \(N, P, 3\)"):
            PointNetEncoder()(torch.ones(shape))


@pytest.mark.parametrize("device", ["meta", *(["cuda"] if torch.cuda.is_available() else [])])
@pytest.mark.parametrize("kind", [PointNetClassifier, PointNetSegmenter])
def test_all_that_is_made_on_the_way_is_made_where_the_points_are(
    kind: type[Network], device: str
) -> None:
    scores, transform = kind(4).to(device)(torch.ones(2, 3, 7, device=device), with_transform=True)
    assert {scores.device.type, orthogonality_loss(transform).device.type} == {device}
