"""Two maps on channels as one and one as two: to the bit on small integers, else within a bound.

Integers are at most 3 (weights) and 4 (inputs), so that every sum stays under 2²⁴.
"""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from onebyone.algebra.rank import singular_values, threshold
from onebyone.errors import UsageError
from onebyone.nn.convert.bridge import matrix
from onebyone.nn.convert.channels import compose, factor
from onebyone.nn.pointwise import Pointwise

UNITS = {torch.float64: 2.0**-53, torch.float32: 2.0**-24, torch.bfloat16: 2.0**-8}


def whole(module: nn.Module, seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randint(-3, 4, p.shape, generator=generator))
    return module


def image(*shape: int) -> Tensor:
    return torch.randint(-4, 5, shape, generator=torch.Generator().manual_seed(1)).float()


def point(c_in: int, c_out: int, **options: object) -> nn.Module:
    return Pointwise(c_in, c_out, **options)


PAIRS = {
    "linear": (nn.Linear(3, 5), nn.Linear(5, 4), (2, 7, 3)),
    "no bias": (nn.Linear(3, 5, bias=False), nn.Linear(5, 4, bias=False), (2, 3)),
    "one bias": (nn.Linear(3, 5, bias=False), nn.Linear(5, 4), (2, 3)),
    "tokens": (nn.Linear(3, 5), point(5, 4, channel_dim=-1), (2, 7, 3)),
    "strided tokens": (point(3, 5, channel_dim=-1, stride=2), nn.Linear(5, 4), (2, 7, 3)),
    "pointwise": (point(3, 5), point(5, 4), (2, 3, 5, 7)),
    "strides": (point(3, 5, stride=2), point(5, 4, stride=(1, 3)), (2, 3, 9, 11)),
    "strides of one kind": (point(3, 5, stride=2), point(5, 4, stride=3), (2, 3, 9, 13)),
    "strides the other way": (point(3, 5, stride=(2, 1)), point(5, 4, stride=2), (2, 3, 9, 11)),
    "groups": (point(4, 6, groups=2), point(6, 8, groups=2), (2, 4, 5, 7)),
    "other groups": (point(4, 6, groups=2), point(6, 6, groups=3), (2, 4, 5, 7)),
    "diagonal first": (point(4, 4, groups=4), point(4, 6, groups=2), (2, 4, 5, 7)),
    "convolutions": (nn.Conv2d(3, 5, 1, 2), nn.Conv2d(5, 4, 1, (1, 2)), (2, 3, 9, 11)),
    "same": (point(3, 5, stride=2), nn.Conv2d(5, 4, 1, padding="same"), (2, 3, 5, 7)),
    "by another name": (point(3, 5, channel_dim=-3), nn.Conv2d(5, 4, 1), (2, 3, 5, 7)),
    "1x1 after": (nn.Conv2d(3, 5, 3, 2, 1), point(5, 4), (2, 3, 5, 7)),
    "1x1 after, same": (nn.Conv2d(3, 5, (3, 2), padding="same"), point(5, 4), (2, 3, 5, 7)),
    "1x1 after, mirror": (
        nn.Conv2d(3, 5, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(5, 4, 1),
        (2, 3, 5, 7),
    ),
    "1x1 before": (point(3, 5), nn.Conv2d(5, 4, (3, 2), (2, 1), dilation=(1, 2)), (2, 3, 5, 7)),
    "1x1 before, padded": (point(3, 5, bias=False), nn.Conv2d(5, 4, 3, padding=1), (2, 3, 5, 7)),
    "1x1 before, mirror": (
        point(3, 5),
        nn.Conv2d(5, 4, 3, padding=1, padding_mode="replicate"),
        (2, 3, 5, 7),
    ),
    "volume": (nn.Conv3d(3, 5, (2, 1, 3)), nn.Conv3d(5, 4, 1), (2, 3, 3, 4, 5)),
    "sequence": (point(3, 5), nn.Conv1d(5, 4, 3), (2, 3, 7)),
    "diagonal after groups": (nn.Conv2d(4, 6, 3, groups=2), point(6, 6, groups=6), (2, 4, 5, 7)),
    "depthwise": (point(4, 4, groups=4), nn.Conv2d(4, 8, 3, groups=4), (2, 4, 5, 7)),
    "groups into dense": (point(4, 6, groups=2), nn.Conv2d(6, 3, 3), (2, 4, 5, 7)),
    "padded 1x1": (point(3, 5, bias=False), nn.Conv2d(5, 4, 1, padding=1), (2, 3, 5, 7)),
}


# PyTorch says that it copies the input to pad it.
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
@pytest.mark.parametrize("name", PAIRS)
def test_one_layer_gives_what_two_did(name: str) -> None:
    first, second, shape = PAIRS[name]
    whole(first), whole(second, 1)
    before = copy.deepcopy((first.state_dict(), second.state_dict()))
    one, x = compose(first, second), image(*shape)
    assert torch.equal(one(x), second(first(x)))
    for state, module in zip(before, (first, second), strict=True):
        assert all(torch.equal(p, module.state_dict()[key]) for key, p in state.items())


def test_the_kind_of_layer_and_its_structure_are_kept() -> None:
    assert repr(compose(nn.Linear(3, 5), nn.Linear(5, 4))) == repr(nn.Linear(3, 4))
    assert repr(compose(nn.Linear(3, 5), point(5, 4, channel_dim=-1))) == (
        "Pointwise(3, 4, channel_dim=-1)"
    )
    assert compose(point(4, 6, groups=2), point(6, 8, groups=2)).groups == 2
    assert compose(point(4, 4, groups=4), point(4, 6, groups=2)).groups == 2
    assert compose(point(4, 6, groups=2), point(6, 6, groups=3)).groups == 1
    assert type(compose(point(3, 5), nn.Conv1d(5, 4, 1))) is nn.Conv1d
    assert compose(nn.Linear(3, 5, bias=False), nn.Linear(5, 4, bias=False)).bias is None


def test_flags_mode_and_type_are_those_of_the_layer_that_stays() -> None:
    first = Pointwise(3, 5, dtype=torch.float64)
    second = nn.Conv2d(5, 4, 3, dtype=torch.float64).requires_grad_(False).eval()
    one = compose(first, second)
    assert one.weight.dtype == torch.float64
    assert not one.weight.requires_grad
    assert not one.training


def test_floats_differ_by_rounding_only() -> None:
    torch.manual_seed(0)
    first, second = nn.Linear(30, 20), nn.Linear(20, 10)
    x = torch.randn(7, 30)
    y = compose(first, second)(x).double()
    wide1, wide2 = copy.deepcopy(first).double(), copy.deepcopy(second).double()
    size1, size2 = copy.deepcopy(wide1), copy.deepcopy(wide2)
    with torch.no_grad():
        for p in (*size1.parameters(), *size2.parameters()):
            p.abs_()
    # Each weight and the bias rounded once, then a sum of 30 products and the bias:
    # |error| ≤ γ(n + 2)(|W₂|(|W₁||x| + |b₁|) + |b₂|) with n = 30, γ(n) = nu/(1 - nu).
    gamma = 32 * 2.0**-24 / (1 - 32 * 2.0**-24)
    bound = gamma * size2(size1(x.double().abs()))
    assert ((y - wide2(wide1(x.double()))).abs() <= bound).all()


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        (nn.Conv2d(3, 5, 3), nn.Conv2d(5, 4, 3), "wanted one of them to be a 1×1"),
        (nn.Linear(3, 5), nn.Linear(6, 4), "wanted the first to give what the second takes"),
        (point(3, 6), nn.Conv2d(5, 4, 3), "wanted matching channels"),
        (nn.Conv2d(3, 6, 3), point(5, 4), "wanted matching channels"),
        (nn.Linear(3, 5), point(5, 4), "along one axis of the same input"),
        (nn.Linear(3, 5), nn.Conv1d(5, 4, 1), "along one axis of the same input"),
        (point(3, 5, channel_dim=-3), nn.Conv3d(5, 4, 1), "along one axis of the same input"),
        (nn.Conv1d(3, 5, 1), nn.Conv2d(5, 4, 1), "along one axis of the same input"),
        (point(3, 5, stride=2), nn.Conv2d(5, 4, 3), "wanted a 1×1 without stride beside"),
        (point(3, 5, stride=2), point(5, 4, stride=(1, 1, 2)), None),
        (point(3, 5, stride=(1, 2)), point(5, 4, stride=(2,)), "wanted one for each axis"),
        (point(3, 5), nn.Conv2d(5, 4, 3, padding=1), "zero padding comes after the bias"),
        (point(3, 4), nn.Conv2d(4, 4, 3, groups=2), "fill the zero blocks of 2 groups"),
        (nn.Conv2d(4, 4, 3, groups=2), point(4, 3), "fill the zero blocks of 2 groups"),
        (nn.Linear(3, 5), nn.ReLU(), r"got ReLU\(\), wanted Linear, Pointwise or a conv"),
    ],
)
def test_what_is_not_one_layer_is_refused(first, second, reason: str | None) -> None:
    if reason is None:  # a number that stands for every axis goes with a tuple of any length
        assert compose(first, second).stride == (2, 2, 4)
        return
    with pytest.raises(UsageError, match=reason) as error:
        compose(first, second)
    assert "\n" not in str(error.value)


def test_a_bias_before_padding_is_refused_since_the_border_would_differ() -> None:
    first, second = whole(point(3, 5)), whole(nn.Conv2d(5, 4, 3, padding=1))
    inside = compose(first, whole(nn.Conv2d(5, 4, 3)))
    x = image(2, 3, 5, 7)
    padded = nn.functional.pad(x, (1, 1, 1, 1))
    assert torch.equal(inside(x), second(first(x))[:, :, 1:-1, 1:-1])
    assert not torch.equal(inside(padded), second(first(x)))


def low_rank(kind: type[nn.Module], dtype: torch.dtype, rank: int, **options: object) -> nn.Module:
    layer = kind(30, 20, **options, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    a, b = (
        torch.randn(*shape, generator=generator, dtype=torch.float64)
        for shape in ((20, rank), (rank, 30))
    )
    with torch.no_grad():
        layer.weight.copy_((a @ b).view(layer.weight.shape))
    return layer.to(dtype)


LAYERS = [
    (nn.Linear, {}),
    (nn.Linear, {"bias": False}),
    (Pointwise, {"stride": (2, 1)}),
    (nn.Conv2d, {"kernel_size": 1, "stride": 2}),
]


@pytest.mark.parametrize("dtype", UNITS)
@pytest.mark.parametrize("rank", [7, 12, 20])
@pytest.mark.parametrize(("kind", "options"), LAYERS)
def test_two_factors_are_the_layer(kind, options, dtype: torch.dtype, rank: int) -> None:
    layer = low_rank(kind, dtype, 7, **options).eval()
    first, second = factor(layer, rank)
    assert type(first) is type(second) is kind
    W, B, A = (matrix(m).weight for m in (layer, first, second))
    assert (B.shape, A.shape) == ((rank, 30), (20, rank))
    # Each factor is rounded once, and what is cut off and the error of the decomposition are below
    # the threshold, or far below that in the columns kept beyond the rank.
    u = UNITS[dtype]
    bound = (2 * u + u * u) * (np.abs(A) @ np.abs(B))
    bound += threshold(W, singular_values(W), u) + (rank + 2) * 2.0**-53 * np.abs(A) @ np.abs(B)
    assert (np.abs(A @ B - W) <= bound).all()
    assert first.bias is None
    assert second.bias is None if layer.bias is None else torch.equal(second.bias, layer.bias)
    assert not first.training
    assert not second.training
    assert {p.dtype for p in (*first.parameters(), *second.parameters())} == {dtype}


@pytest.mark.parametrize(("kind", "options"), LAYERS)
def test_factors_have_the_shape_and_stride_of_the_layer(kind, options) -> None:
    layer = low_rank(kind, torch.float64, 7, **options)
    pair = factor(layer, 7)
    x = image(2, 30, 5, 7).double()
    x = x.movedim(1, -1) if kind is nn.Linear else x
    assert pair(x).shape == layer(x).shape
    assert repr(compose(*pair)) == repr(layer)


def test_the_two_factors_are_of_one_size() -> None:
    first, second = factor(low_rank(nn.Linear, torch.float64, 7), 7)
    a, b = singular_values(matrix(second).weight), singular_values(matrix(first).weight)
    # The same numbers √σ up to the rounding of the factors and the decomposition.
    assert (np.abs(a - b) <= 4 * 30 * 2.0**-52 * a[0]).all()


@pytest.mark.parametrize("dtype", UNITS)
def test_a_smaller_rank_is_refused_and_the_error_it_would_make_is_told(dtype) -> None:
    layer = low_rank(nn.Linear, dtype, 7)
    sigma = singular_values(matrix(layer).weight)
    lost = np.linalg.norm(sigma[6:]) / np.linalg.norm(sigma)
    with pytest.raises(UsageError) as error:
        factor(layer, 6)
    assert "got rank 6 for a weight of numerical rank 7" in str(error.value)
    assert f"off by {sigma[6]:.3g} in the spectral norm" in str(error.value)
    assert f"by {lost:.3g} of its size in the Frobenius norm" in str(error.value)


def test_a_weight_of_zeros_has_factors() -> None:
    layer = nn.Linear(3, 4, bias=False)
    nn.init.zeros_(layer.weight)
    assert not factor(layer, 1)(image(2, 3)).any()


@pytest.mark.parametrize("rank", [0, -1, 4])
def test_a_rank_that_no_matrix_of_that_size_has_is_refused(rank: int) -> None:
    with pytest.raises(UsageError, match=f"got rank {rank} for 5 → 3 channels, wanted 1 to 3"):
        factor(nn.Linear(5, 3), rank)


@pytest.mark.parametrize(
    "layer", [nn.Conv2d(3, 4, 3), Pointwise(4, 6, groups=2), nn.ReLU()], ids=repr
)
def test_only_a_1x1_in_one_group_is_factored(layer: nn.Module) -> None:
    with pytest.raises(UsageError, match="wanted Linear, Pointwise or a 1×1 convolution, in one"):
        factor(layer, 2)
