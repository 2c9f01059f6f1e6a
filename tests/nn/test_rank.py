"""The rank of layers: from their matrices against known ones, from outputs against the theory."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from onebyone.errors import UsageError
from onebyone.nn.pointwise import Pointwise
from onebyone.nn.rank import rank

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def of_rank(r: int, layer: nn.Module) -> nn.Module:
    """The layer with a weight of rank r, multiplied out in float64 and rounded once, no bias."""
    rows, columns = layer.weight.flatten(1).shape
    factors = (torch.randn(s, dtype=torch.float64) for s in ((rows, r), (r, columns)))
    product = torch.linalg.multi_dot([*factors])
    with torch.no_grad():
        layer.weight.copy_(product.reshape(layer.weight.shape))
        if layer.bias is not None:
            layer.bias.zero_()
    return layer


LAYERS = [
    lambda **k: Pointwise(24, 40, **k),
    lambda **k: Pointwise(24, 40, channel_dim=-1, **k),
    lambda **k: nn.Conv1d(8, 40, 3, **k),
    lambda **k: nn.Conv2d(24, 40, 1, **k),
    lambda **k: nn.Conv2d(4, 40, (3, 2), **k),
    lambda **k: nn.Conv3d(3, 40, 2, **k),
    lambda **k: nn.Linear(24, 40, **k),
]


@pytest.mark.parametrize("make", LAYERS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_layer_is_its_matrix(make: type[nn.Module], dtype: torch.dtype) -> None:
    found = rank(of_rank(5, make(dtype=dtype)))
    assert (found.rank, found.redundant, found.out_channels) == (5, 35, 40)
    assert found.source == "weight and bias"
    assert found.in_features == 24


def test_64_to_256() -> None:
    assert rank(Pointwise(64, 256, bias=False)).rank == 64
    assert rank(Pointwise(64, 256, bias=False)).redundant == 192
    assert rank(Pointwise(64, 256)).rank == 65
    assert rank(Pointwise(256, 64)).rank == 64
    lifted = nn.Sequential(Pointwise(64, 256), nn.ReLU())
    assert rank(lifted, torch.randn(2, 64, 17, 13)).rank == 256


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [True, False])
def test_outputs_have_the_rank_of_the_matrix(dtype: torch.dtype, bias: bool) -> None:
    layer = Pointwise(6, 15, bias, dtype=dtype)
    seen = rank(nn.Sequential(layer), torch.randn(2, 6, 7, 5, dtype=dtype))
    assert seen.rank == rank(layer).rank == 6 + bias
    assert seen.source == "outputs"


@pytest.mark.parametrize("r", [1, 4, 9])
def test_a_nonlinearity_lifts_the_rank_and_a_narrow_layer_lowers_it(r: int) -> None:
    x = torch.randn(3, 12, 9, 5)
    chain = nn.Sequential(Pointwise(12, r, False), Pointwise(r, 20, False))
    assert rank(chain, x).rank == r
    assert rank(nn.Sequential(*chain, nn.ReLU()), x).rank > r


def test_groups() -> None:
    assert rank(Pointwise(6, 12, False, groups=3)).rank == 6
    assert rank(Pointwise(6, 12, groups=3)).rank == 7
    assert rank(nn.Conv2d(6, 6, 3, groups=6)).rank == 6


@pytest.mark.parametrize("device", DEVICES)
def test_a_weight_alone(device: str) -> None:
    assert rank(torch.ones(4, 6, device=device)).rank == 1
    assert rank(torch.eye(4, 6, dtype=torch.bfloat16, device=device)).rank == 4
    assert rank(torch.eye(4, 6, dtype=torch.int64, device=device)).rank == 4


@pytest.mark.parametrize("axis", [-1, 3])
def test_channels_may_lie_anywhere_in_the_output(axis: int) -> None:
    layer = nn.Sequential(Pointwise(3, 10, False, channel_dim=-1))
    x = torch.randn(2, 5, 7, 3)
    assert rank(layer, x, channel_dim=axis).rank == 3


def test_a_module_with_several_inputs() -> None:
    class Sum(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return torch.cat([x, y, x + y], 1)

    inputs = (torch.randn(2, 3, 5, 4), torch.randn(2, 3, 5, 4))
    assert rank(Sum(), inputs).rank == 6


def test_arguments_by_name() -> None:
    class Scaled(nn.Module):
        def forward(self, x: Tensor, *, by: list[Tensor]) -> Tensor:
            return x * by[0]

    x, factor = torch.randn(2, 3, 5, 4), torch.tensor([1.0, 0.0, 1.0]).reshape(3, 1, 1)
    assert rank(Scaled(), {"x": x, "by": [factor]}).rank == 2


def test_a_layer_that_changes_its_weight_is_judged_by_its_outputs() -> None:
    class Doubled(nn.Linear):  # each output twice: of half the rank that the weight has
        def forward(self, x: Tensor) -> Tensor:
            half = self.weight[: self.out_features // 2]
            return nn.functional.linear(x, half.repeat(2, 1))

    with pytest.raises(UsageError, match="give an example input"):
        rank(Doubled(8, 6, bias=False))
    assert rank(Doubled(8, 6, bias=False), torch.randn(9, 8)).rank == 3


def test_a_weight_that_a_hook_of_a_stranger_computes_is_refused() -> None:
    layer = nn.Linear(3, 4)
    weight = layer.weight
    del layer.weight
    layer.weight = weight * 2
    layer.register_forward_pre_hook(lambda *_: None)
    with pytest.raises(UsageError, match="whose weight a hook computes at each call"):
        rank(layer)


def test_a_compiled_layer_is_its_matrix() -> None:
    assert rank(torch.compile(Pointwise(3, 7), backend="eager")).rank == 4


def test_rounding_on_the_way_is_not_taken_for_rank() -> None:
    class Shifted(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x + 2**20) - 2**20

    # Of rank 2 over the reals. In float64 the detour errs by 2^20 · 2^-53 = 2^-33 an entry, far
    # more than the decomposition does, and far less than a rounding to float32.
    chain = nn.Sequential(Pointwise(4, 2, False), Pointwise(2, 9, False), Shifted())
    assert rank(chain, torch.randn(2, 4, 5, 3)).rank == 2


def test_the_module_is_left_as_it_was() -> None:
    module = nn.Sequential(Pointwise(3, 5), nn.BatchNorm2d(5), nn.Dropout(0.5))
    before = copy.deepcopy(module.state_dict())
    state = torch.get_rng_state()
    found = rank(module, torch.randn(2, 3, 4, 5))
    torch.set_rng_state(state)
    assert module.training
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    assert module[0].weight.dtype == torch.float32
    # In eval mode, hence without dropout: the rank of the 1×1.
    assert found.rank == 4


@pytest.mark.parametrize(
    ("module", "example", "said"),
    [
        (nn.Sequential(Pointwise(3, 4)), None, "got a Sequential, .*: give an example input"),
        (
            nn.ReLU(),
            torch.ones(1, 5, 2, 2),
            "got an example with 4 positions, wanted .* each of .* 5",
        ),
        (nn.LSTM(3, 4), torch.ones(2, 5, 3), "got a tuple from the module, wanted one tensor"),
        (nn.ReLU(), torch.ones(7), r"got outputs of shape \(7,\), wanted channels along axis 1"),
        (Pointwise(3, 4, device="meta"), None, "meta device, wanted ones with values"),
    ],
)
def test_what_has_no_rank(module: nn.Module, example: Tensor | None, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        rank(module, example)


def test_nan_is_refused() -> None:
    layer = Pointwise(3, 4)
    with torch.no_grad():
        layer.weight[0, 0] = torch.nan
    with pytest.raises(UsageError, match="NaN or infinity"):
        rank(layer)
