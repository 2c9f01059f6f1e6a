"""Sums of class maps and tied layers: equal to the bit on small integers, refused where untied."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from onebyone.errors import UsageError
from onebyone.nn.convert.tied import class_maps_to_tied_linear, tied_linear_to_class_maps
from onebyone.nn.pointwise import Pointwise

SIZES = [(5, 7), (1, 1), (1, 3), (4,), (2, 3, 5)]
UNIT = {torch.float64: 2.0**-53, torch.float32: 2.0**-24, torch.bfloat16: 2.0**-8}


def whole(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randint(-3, 4, p.shape, generator=generator))
    return module


def image(*shape: int) -> Tensor:
    return torch.randint(-4, 5, shape, generator=torch.Generator().manual_seed(1)).float()


def summed(maps: nn.Module, x: Tensor) -> Tensor:
    return maps(x).flatten(2).sum(-1)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_the_sum_of_class_maps_is_the_tied_layer(size: tuple[int, ...], bias: bool) -> None:
    maps, x = whole(Pointwise(3, 4, bias)), image(2, 3, *size)
    linear = class_maps_to_tied_linear(maps, size)
    assert torch.equal(linear(x.flatten(1)), summed(maps, x))
    back = tied_linear_to_class_maps(linear, (3, *size))
    # P·b is a small integer, and so divided by P gives b.
    assert repr(back) == repr(maps)
    assert torch.equal(back.weight, maps.weight)
    assert back.bias is None if not bias else torch.equal(back.bias, maps.bias)


def test_the_weight_is_the_matrix_at_every_position_and_the_bias_as_often() -> None:
    maps = whole(Pointwise(3, 4))
    linear = class_maps_to_tied_linear(maps, (2, 5))
    assert torch.equal(linear.weight, maps.weight.flatten(1).repeat_interleave(10, dim=1))
    assert torch.equal(linear.bias, 10 * maps.bias)


@pytest.mark.parametrize(
    "maps",
    [nn.Conv2d(4, 6, 1, groups=2), Pointwise(4, 6, groups=2, channel_dim=-3)],
    ids=["conv", "pointwise"],
)
def test_groups_are_written_out(maps: nn.Module) -> None:
    x = image(2, 4, 3, 5)
    linear = class_maps_to_tied_linear(whole(maps), (3, 5))
    assert torch.equal(linear(x.flatten(1)), summed(maps, x))


def test_flags_and_mode_are_kept_and_nothing_is_shared() -> None:
    maps = whole(Pointwise(3, 4, dtype=torch.float64)).eval()
    maps.bias.requires_grad_(False)
    linear = class_maps_to_tied_linear(maps, (1, 1))
    back = tied_linear_to_class_maps(linear, (3, 1, 1))
    for module in (linear, back):
        assert module.weight.dtype == torch.float64
        assert (module.weight.requires_grad, module.bias.requires_grad) == (True, False)
        assert not module.training
    assert len({m.weight.data_ptr() for m in (maps, linear, back)}) == 3


@pytest.mark.parametrize("dtype", UNIT)
def test_the_bias_is_rounded_once_each_way(dtype: torch.dtype) -> None:
    maps = Pointwise(3, 50, dtype=dtype)
    linear = class_maps_to_tied_linear(maps, (5, 7))
    exact = 35 * maps.bias.double()
    if dtype != torch.float64:  # where 35·b is exact in float64: the correctly rounded number
        assert torch.equal(linear.bias, exact.to(dtype))
    back = tied_linear_to_class_maps(linear, (3, 5, 7))
    assert torch.equal(back.weight, maps.weight)
    # Two roundings, each by at most u: |b' - b| ≤ (2u + u²)|b|.
    u = UNIT[dtype]
    error = (back.bias.double() - maps.bias.double()).abs()
    assert (error <= (2 * u + u * u) * maps.bias.double().abs()).all()


def test_floats_differ_by_rounding_only() -> None:
    maps = Pointwise(3, 4)
    x = torch.randn(2, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    y = class_maps_to_tied_linear(maps, (5, 7))(x.flatten(1))
    wide = Pointwise(3, 4, dtype=torch.float64)
    wide.load_state_dict(maps.state_dict())
    bound = Pointwise(3, 4, dtype=torch.float64)
    bound.load_state_dict({name: p.abs() for name, p in maps.state_dict().items()})
    # A sum of n = 105 products and a bias that was rounded: |error| ≤ γ(n + 1)(Σ|w||x| + P|b|),
    # γ(n) = nu/(1 - nu).
    gamma = 106 * 2.0**-24 / (1 - 106 * 2.0**-24)
    error = (y.double() - summed(wide, x.double())).abs()
    assert (error <= gamma * summed(bound, x.double().abs())).all()


def test_the_footnote_is_false_of_a_layer_that_is_not_tied() -> None:
    """y = x₀ tells two images apart that have equal sums over positions whatever the maps."""
    first = nn.Linear(2, 1, bias=False)
    first.weight = nn.Parameter(torch.tensor([[1.0, 0.0]]))
    left, right = torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([[[[0.0, 1.0]]]])
    assert first(left.flatten(1)) != first(right.flatten(1))
    maps = whole(Pointwise(1, 1))
    assert torch.equal(summed(maps, left), summed(maps, right))
    with pytest.raises(UsageError, match="not tied over positions"):
        tied_linear_to_class_maps(first, (1, 1, 2))


def test_the_message_names_the_two_positions_that_differ_most() -> None:
    linear = class_maps_to_tied_linear(whole(Pointwise(3, 4)), (5, 7))
    with torch.no_grad():
        weight = linear.weight.view(4, 3, 5, 7)
        weight[1, 0, 2, 2] += 0.5
        weight[2, 1].fill_(0)
        weight[2, 1, 4, 6], weight[2, 1, 0, 3] = 0.75, -1.5
    with pytest.raises(
        UsageError,
        match=r"output 2 weighs channel 1 by 0\.75 at \(4, 6\) and by -1\.5 at \(0, 3\), "
        r"2\.25 apart, wanted equal weights at all positions: linear_to_kernel is exact",
    ):
        tied_linear_to_class_maps(linear, (3, 5, 7))


def test_one_rounding_is_enough_to_be_untied_but_not_the_sign_of_zero() -> None:
    linear = nn.Linear(6, 1)
    linear.weight = nn.Parameter(torch.tensor([[1, 1, 1, 1 + 2**-23, 1, 1]]))
    with pytest.raises(UsageError, match=r"1\.19209e-07 apart"):
        tied_linear_to_class_maps(linear, (1, 2, 3))
    linear.weight = nn.Parameter(torch.tensor([[0.0, 0, 0, -0.0, 0, 0]]))
    assert not tied_linear_to_class_maps(linear, (1, 2, 3)).weight.any()


@pytest.mark.parametrize(
    "maps",
    [
        Pointwise(3, 4, stride=2),
        Pointwise(3, 4, channel_dim=-1),
        nn.Conv2d(3, 4, 3),
        nn.Conv2d(3, 4, 1, padding=1),
        nn.Linear(3, 4),
    ],
    ids=lambda m: type(m).__name__,
)
def test_what_is_no_map_per_class_is_refused(maps: nn.Module) -> None:
    with pytest.raises(UsageError, match=r"^got .*, wanted a 1×1 along axis 1, without stride"):
        class_maps_to_tied_linear(maps, (5, 7))


@pytest.mark.parametrize("size", [(), (0, 7)])
def test_an_image_without_positions_is_refused(size: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="wanted \\(H, W\\), each at least 1"):
        class_maps_to_tied_linear(Pointwise(3, 4), size)


@pytest.mark.parametrize("shape", [(3, 5, 6), (105,), (-3, 5, -7)])
def test_an_image_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"for a layer of 105 features, wanted \(C, H, W\)"):
        tied_linear_to_class_maps(nn.Linear(105, 4), shape)


def test_a_module_that_is_no_linear_layer_is_refused() -> None:
    with pytest.raises(UsageError, match="wanted a Linear"):
        tied_linear_to_class_maps(nn.Conv2d(3, 4, 1), (3, 1, 1))


def test_a_bias_beyond_the_range_of_its_type_is_refused() -> None:
    maps = whole(Pointwise(3, 4, dtype=torch.float16))
    nn.init.constant_(maps.bias, 2000)
    with pytest.raises(UsageError, match="got values up to 70000, wanted at most 65504"):
        class_maps_to_tied_linear(maps, (5, 7))
