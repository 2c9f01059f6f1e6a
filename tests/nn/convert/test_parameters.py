"""Parameters on their way into new modules: rounded once, copied, with the flags of the old."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune, weight_norm

from onebyone.errors import UsageError
from onebyone.nn.convert.channels import compose
from onebyone.nn.convert.linear import linear_to_pointwise
from onebyone.nn.convert.parameters import alike, filled, is_a, to_array, to_tensor
from onebyone.nn.pointwise import Pointwise

HALVES = [torch.float16, torch.bfloat16]


def bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.view(torch.int16)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, *HALVES])
def test_float64_holds_every_number_that_a_parameter_can_be(dtype: torch.dtype) -> None:
    tensor = torch.randn(1000, generator=torch.Generator().manual_seed(0)).to(dtype)
    array = to_array(tensor)
    assert array.dtype == np.float64
    assert torch.equal(to_tensor(array, dtype=dtype, device="cpu"), tensor)


def test_the_array_is_a_copy() -> None:
    tensor = torch.zeros(2, dtype=torch.float64)
    to_array(tensor)[:] = 1
    assert not tensor.any()


@pytest.mark.parametrize("dtype", HALVES)
def test_sixteen_bits_are_rounded_once_to_nearest(dtype: torch.dtype) -> None:
    # Every finite number of the type and its neighbour above; the middle, exact in float64; and
    # the middle moved by less than half a float32 step, which a float32 in between would lose.
    patterns = torch.arange(0, 2**15 - 1, dtype=torch.int16)
    below, above = patterns.view(dtype).double(), (patterns + 1).view(dtype).double()
    keep = below.isfinite() & above.isfinite()
    below, above = below[keep], above[keep]
    middle = (below + above) / 2
    for moved, nearest in (
        (np.nextafter(middle.numpy(), np.inf), above),
        (np.nextafter(middle.numpy(), 0), below),
    ):
        for sign in (1, -1):
            rounded = to_tensor(sign * moved, dtype=dtype, device="cpu")
            assert torch.equal(bits(rounded.abs()), bits(nearest.to(dtype)))
            assert (rounded.signbit() == (sign < 0)).all()
    ties = to_tensor(middle.numpy(), dtype=dtype, device="cpu")
    assert (bits(ties) % 2 == 0).all()
    assert ((ties.double() == below) | (ties.double() == above)).all()


def test_by_way_of_float32_it_would_be_rounded_twice() -> None:
    value = np.array([1 + 2**-11 + 2**-30])
    assert torch.from_numpy(value).float().half().item() == 1
    once = to_tensor(value, dtype=torch.float16, device="cpu").item()
    assert abs(Fraction(once) - Fraction(value.item())) < abs(1 - Fraction(value.item()))


def test_what_is_not_finite_stays_so_and_what_is_too_large_is_refused() -> None:
    odd = np.array([np.inf, -np.inf, np.nan, -0.0])
    stays = to_tensor(odd, dtype=torch.float16, device="cpu")
    assert stays[:2].tolist() == [np.inf, -np.inf]
    assert stays[2].isnan()
    assert stays[3].signbit()
    with pytest.raises(UsageError, match=r"got values up to 70000, wanted at most 65504, the larg"):
        to_tensor(np.array([1, 7e4]), dtype=torch.float16, device="cpu")


def test_complex_parameters_are_refused() -> None:
    with pytest.raises(UsageError, match="complex64"):
        to_array(torch.ones(1, dtype=torch.complex64))


def test_a_subclass_that_overrides_forward_is_not_what_it_derives_from() -> None:
    class Named(nn.Conv2d):
        name = "stem"

    class Standardised(nn.Conv2d):
        def _conv_forward(self, x, weight, bias):  # type: ignore[no-untyped-def]
            return super()._conv_forward(x, weight - weight.mean(), bias)

    assert is_a(Named(3, 4, 1), nn.Conv2d)
    assert not is_a(Standardised(3, 4, 1), nn.Conv2d)
    assert not is_a(nn.Conv1d(3, 4, 1), nn.Conv2d)


MODULES = [
    nn.Linear(6, 4),
    Pointwise(6, 4, stride=(2, 1), groups=2, channel_dim=-3, spatial_dims=3),
    nn.Conv1d(6, 4, 3, 2, "valid", 2, 2, padding_mode="circular"),
    nn.Conv2d(6, 4, (3, 2), (2, 1), (1, 2), (1, 3), 2),
    nn.Conv3d(6, 4, (3, 2, 1), padding="same", bias=False),
    nn.ConvTranspose1d(6, 4, 3, 2, 1, 1, 2),
    nn.ConvTranspose2d(6, 4, (3, 2), (2, 3), (1, 0), (1, 2), 1, False),
    nn.ConvTranspose3d(6, 4, 2, dilation=2),
]


@pytest.mark.parametrize("module", MODULES, ids=lambda m: type(m).__name__)
def test_alike_keeps_every_setting(module: nn.Module) -> None:
    weight, bias = module.weight, module.bias
    array = to_array(weight) * 2
    other = alike(module.eval(), array, None if bias is None else to_array(bias))
    assert repr(other) == repr(module)
    assert type(other) is type(module)
    assert not other.training
    assert torch.equal(other.weight, 2 * weight)
    assert (other.bias is None) == (bias is None)
    assert bias is None or torch.equal(other.bias, bias)


def test_alike_refuses_what_it_does_not_know() -> None:
    with pytest.raises(UsageError, match=r"got ReLU\(\), wanted Linear, Pointwise, Conv1d to 3d"):
        alike(nn.ReLU(), np.ones((1, 1)), None)


def test_flags_are_those_of_the_old_module_and_nothing_is_shared() -> None:
    old = nn.Linear(3, 2).eval()
    old.weight.requires_grad_(False)
    new = filled(nn.Linear(3, 2, device="meta"), old.weight, old.bias, old)
    flags = new.weight.requires_grad, new.bias.requires_grad, new.training
    assert flags == (False, True, False)
    assert new.weight.data_ptr() != old.weight.data_ptr()
    assert new.weight.is_leaf


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated:FutureWarning")
@pytest.mark.parametrize("norm", [weight_norm, lambda m: prune.identity(m, "weight")])
def test_a_weight_that_a_hook_computes_may_be_old_and_is_refused(norm) -> None:
    layer, other = norm(nn.Linear(3, 2)), nn.Linear(2, 4)
    next(p for name, p in layer.named_parameters() if name != "bias").data.mul_(2)
    for convert in (linear_to_pointwise, lambda m: compose(m, other), lambda m: compose(other, m)):
        with pytest.raises(UsageError, match="whose weight a hook computes at each call, wanted"):
            convert(layer)


def test_a_parametrization_computes_its_weight_when_it_is_read() -> None:
    layer, x = parametrizations.weight_norm(nn.Linear(3, 2)), torch.randn(5, 3)
    layer.parametrizations.weight.original0.data.mul_(2)
    assert torch.equal(linear_to_pointwise(layer)(x), layer(x))


def test_a_hook_that_looks_on_is_no_obstacle() -> None:
    layer, calls = nn.Linear(3, 2), []
    layer.register_forward_pre_hook(lambda m, args: calls.append(m))
    assert torch.equal(linear_to_pointwise(layer).weight, layer.weight)
    assert not calls


def test_parameters_without_values_are_refused() -> None:
    with pytest.raises(UsageError, match="on the meta device, wanted ones with values"):
        to_array(torch.empty(3, device="meta"))


def test_no_random_number_is_drawn() -> None:
    state = torch.get_rng_state()
    alike(nn.Linear(3, 2, device="meta").to_empty(device="cpu"), np.ones((2, 3)), None)
    after = torch.get_rng_state()
    assert torch.equal(state, after)
