"""Class maps against global average pooling and a linear layer, and the other way round."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from onebyone.errors import UsageError
from onebyone.nn.class_maps import ClassMaps
from tests.nn.by_hand import fill, integers

SPACES = [(6,), (5, 7), (1, 1), (2, 3, 5)]


def features(*space: int) -> Tensor:
    """Integers whose sums over space are multiples of its size: all their means are integers."""
    return integers(0, 2, 3, *space) * torch.Size(space).numel()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("space", SPACES)
def test_scores_are_the_means_of_the_maps_and_the_pooled_classifier(
    space: tuple[int, ...], bias: bool
) -> None:
    head, x = fill(ClassMaps(3, 4, bias)), features(*space)
    linear = nn.Linear(3, 4, bias).double()
    linear.load_state_dict(head.project.state_dict())
    scores, maps = head(x), head(x, maps=True)
    assert maps.shape == (2, 4, *space)
    assert torch.equal(scores, linear(x.flatten(2).mean(2)))
    assert torch.equal(scores, maps.flatten(2).mean(2))


@pytest.mark.parametrize("space", SPACES)
def test_a_map_holds_what_the_classifier_says_of_each_position(space: tuple[int, ...]) -> None:
    head, x = fill(ClassMaps(3, 4)), integers(0, 2, 3, *space)
    vectors = x.flatten(2).mT
    said = functional.linear(vectors, head.project.weight, head.project.bias).mT
    assert torch.equal(head(x, maps=True).flatten(2), said)


def test_pooling_first_or_last_differs_by_rounding_only() -> None:
    """Each way rounds a sum of at most C + H·W + 3 terms: C products, H·W summands, a division, a
    bias. So each is off by at most (C + H·W + 3)·u/(1 − …) of Σ|W|·mean|x| + |b|, u = 2⁻²⁴."""
    torch.manual_seed(0)
    head, x = ClassMaps(31, 5), torch.randn(2, 31, 9, 7)
    n = (31 + 9 * 7 + 3) * 2.0**-24
    size = functional.linear(
        x.double().abs().mean((2, 3)),
        head.project.weight.double().abs(),
        head.project.bias.double().abs(),
    )
    difference = head(x).double() - head(x, maps=True).double().mean((2, 3))
    assert (difference.abs() <= 2 * n / (1 - n) * size).all()
    assert difference.abs().max() > 0


@pytest.mark.parametrize("kind", [nn.Linear, lambda *sizes: nn.Conv2d(*sizes, 1)])
def test_a_classifiers_state_dict_is_taken_and_left_alone(kind: type[nn.Linear]) -> None:
    classifier = kind(3, 4)
    state = classifier.state_dict()
    head = ClassMaps(3, 4)
    head.load_state_dict(state)
    assert list(state) == ["weight", "bias"]
    assert torch.equal(head.project.weight, classifier.weight.flatten(1))
    assert torch.equal(head.project.bias, classifier.bias)


def test_a_networks_checkpoint_fits_after_its_head_is_replaced() -> None:
    def network(*head: nn.Module) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(2, 3, 3), nn.Sequential(*head))

    old = network(nn.Linear(3, 4))
    new = network(ClassMaps(3, 4))
    new.load_state_dict(old.state_dict())
    assert torch.equal(new[1][0].project.weight, old[1][0].weight)
    again = network(ClassMaps(3, 4))
    again.load_state_dict(new.state_dict())
    assert torch.equal(again[1][0].project.bias, old[1][0].bias)


def test_what_is_missing_or_too_much_is_still_said() -> None:
    with pytest.raises(RuntimeError, match=r"Missing key.*project\.bias"):
        ClassMaps(3, 4).load_state_dict(nn.Linear(3, 4, bias=False).state_dict())
    with pytest.raises(RuntimeError, match=r"Unexpected key.*project\.bias"):
        ClassMaps(3, 4, bias=False).load_state_dict(nn.Linear(3, 4).state_dict())


@pytest.mark.parametrize("space", [(6,), (5, 7), (2, 3, 5)])
def test_upsampled_maps_are_maps_of_upsampled_features(space: tuple[int, ...]) -> None:
    """By two the weights are quarters and their products: exact, and they sum to one."""
    head, x = fill(ClassMaps(3, 4)), integers(0, 2, 3, *space)
    size = tuple(2 * n for n in space)
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(space)]
    larger = functional.interpolate(x, size, mode=mode, align_corners=False)
    assert torch.equal(head.upsampled(x, size), head(larger, maps=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_narrow_types_and_layouts_give_the_same(dtype: torch.dtype) -> None:
    """Features up to 2·8, sums of three of them and a bias: below 2⁸, exact in bfloat16."""
    head, x = fill(ClassMaps(3, 4)), integers(0, 2, 3, 2, 4) * 8
    wanted = head(x), head(x, maps=True)
    x = x.to(dtype).to(memory_format=torch.channels_last)
    for y, z in zip((head.to(dtype)(x), head(x, maps=True)), wanted, strict=True):
        assert y.dtype == dtype
        assert torch.equal(y.double(), z)


def test_features_that_are_pooled_already_are_refused() -> None:
    with pytest.raises(UsageError, match=r"got features of shape \(2, 3\).*before the pooling"):
        ClassMaps(3, 4)(torch.ones(2, 3))


@pytest.mark.parametrize("maps", [True, False])
def test_other_channels_are_refused(maps: bool) -> None:
    with pytest.raises(UsageError, match="wanted 3 channels"):
        ClassMaps(3, 4)(torch.ones(2, 5, 3, 3), maps=maps)
