"""`Pointwise` against the definition in integers, and against PyTorch's own layers.

Weights, biases and inputs are small integers: |y| ≤ 6·2·2 + 2 = 26 with at most 6 input channels,
and every integer up to 256 is exact in each float format down to bfloat16, whatever the order of
the sum. So all comparisons are `==` unless a bound is derived.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck

from onebyone.errors import UsageError
from onebyone.nn.pointwise import Pointwise

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
CONVOLUTIONS: Mapping[int, type[nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}

# Layout -> shape of the input with 6 channels, and the channel axis.
LAYOUTS = {
    "NCHW": ((2, 6, 5, 3), 1),
    "NHWC": ((2, 5, 3, 6), -1),
    "NHWC, counted from the front": ((2, 5, 3, 6), 3),
    "NCL": ((3, 6, 7), 1),
    "NCDHW": ((2, 6, 3, 1, 5), 1),
    "tokens": ((2, 7, 6), -1),
    "points": ((2, 6, 11), 1),
    "vectors": ((4, 6), -1),
    "pooled": ((4, 6), 1),
    "one vector": ((6,), -1),
    "unbatched CHW": ((6, 5, 3), -3),
    "unbatched CHW, counted from the front": ((6, 5, 3), 0),
    "unbatched CL": ((6, 5), -2),
    "unbatched CDHW": ((6, 3, 2, 5), -4),
    "two batch axes": ((2, 3, 6, 5, 4), -3),
    "rank 6": ((2, 6, 3, 1, 2, 4), 1),
    "rank 7, channels last": ((2, 3, 1, 2, 4, 2, 6), -1),
    "sizes of one": ((1, 6, 1, 1), 1),
    "empty batch": ((0, 6, 5, 3), 1),
    "no tokens": ((2, 0, 6), -1),
}

layouts = pytest.mark.parametrize(("shape", "axis"), LAYOUTS.values(), ids=LAYOUTS)


def integers(shape: tuple[int, ...], seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-2, 3, shape, generator=generator).to(dtype)


def with_integers(layer: nn.Module, seed: int = 1) -> nn.Module:
    """The layer with small integers for its parameters."""
    with torch.no_grad():
        for index, parameter in enumerate(layer.parameters()):
            parameter.copy_(integers(tuple(parameter.shape), seed + index, parameter.dtype))
    return layer


def pointwise(*sizes: int, **options: object) -> Pointwise:
    layer = with_integers(Pointwise(*sizes, **options))
    assert isinstance(layer, Pointwise)
    return layer


def defined(layer: Pointwise, x: Tensor) -> np.ndarray:
    """The definition in int64: kept positions, then W with its blocks written out, then b."""
    values = np.moveaxis(x.double().numpy().astype(np.int64), layer.channel_dim, -1)
    axis = layer.channel_dim % x.ndim
    # Positions lie behind the channels, or between the batch and them if they come last.
    axes = range(1 if axis == x.ndim - 1 else axis, x.ndim - 1)
    strides = [layer.stride] * len(axes) if isinstance(layer.stride, int) else layer.stride
    for axis, step in zip(axes, strides, strict=True):
        values = values.take(range(0, values.shape[axis], step), axis)
    weight = layer.weight.detach().double().flatten(1).numpy().astype(np.int64)
    outs, ins = layer.out_channels // layer.groups, layer.in_channels // layer.groups
    parts = []
    for group in range(layer.groups):
        block = weight[group * outs : (group + 1) * outs]
        parts.append(values[..., group * ins : (group + 1) * ins] @ block.T)
    y = np.concatenate(parts, axis=-1)
    if layer.bias is not None:
        y = y + layer.bias.detach().double().numpy().astype(np.int64)
    return np.moveaxis(y, -1, layer.channel_dim)


def assert_defined(layer: Pointwise, x: Tensor) -> None:
    y = layer(x)
    expected = defined(layer, x)
    assert y.dtype == x.dtype
    assert tuple(y.shape) == expected.shape
    assert (y.detach().double().numpy() == expected).all()


# --- the same map in every layout -----------------------------------------------------------


@layouts
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("groups", [1, 2, 3])
def test_the_definition(shape: tuple[int, ...], axis: int, bias: bool, groups: int) -> None:
    assert_defined(pointwise(6, 9 if groups == 3 else 4, bias, 1, groups, axis), integers(shape))


@layouts
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("stride", [2, 3])
def test_strides(shape: tuple[int, ...], axis: int, stride: int, groups: int) -> None:
    assert_defined(pointwise(6, 4, True, stride, groups, axis), integers(shape))


@pytest.mark.parametrize(
    ("shape", "axis", "stride"),
    [
        ((2, 6, 5, 3), 1, (2, 1)),
        ((2, 5, 3, 6), -1, (1, 3)),
        ((6, 5, 7), -3, (2, 3)),
        ((2, 6, 7), 1, (3,)),
        ((2, 6, 3, 2, 5), 1, (1, 2, 3)),
        ((2, 6, 3, 2, 5, 4), 1, (1, 2, 3, 2)),
        ((4, 6), -1, ()),
    ],
)
@pytest.mark.parametrize("groups", [1, 2])
def test_a_stride_for_each_axis(
    shape: tuple[int, ...], axis: int, stride: tuple[int, ...], groups: int
) -> None:
    assert_defined(pointwise(6, 4, True, stride, groups, axis), integers(shape))


@layouts
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("groups", [1, 2])
def test_every_number_format(
    shape: tuple[int, ...], axis: int, dtype: torch.dtype, groups: int
) -> None:
    layer = pointwise(6, 4, groups=groups, channel_dim=axis, dtype=dtype)
    assert_defined(layer, integers(shape, dtype=dtype))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("groups", [1, 2])
def test_all_layouts_are_one_layer(groups: int, device: str) -> None:
    image = integers((2, 6, 5, 3)).to(device)
    first = pointwise(6, 4, groups=groups, device=device)
    last = Pointwise(6, 4, groups=groups, channel_dim=-1, device=device)
    last.load_state_dict(first.state_dict())
    expected = first(image)
    assert torch.equal(last(image.movedim(1, -1)).movedim(-1, 1), expected)
    assert torch.equal(last(image.flatten(2).mT).mT, expected.flatten(2))
    assert torch.equal(first(image.flatten(2)), expected.flatten(2))
    assert torch.equal(first(image[:, :, None]), expected[:, :, None])


# --- PyTorch's own layers -------------------------------------------------------------------


@pytest.mark.parametrize("rank", CONVOLUTIONS)
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("batched", [True, False])
def test_a_convolution_with_kernel_one(
    rank: int, groups: int, bias: bool, stride: int, batched: bool
) -> None:
    theirs = CONVOLUTIONS[rank](6, 4, 1, bias=bias, groups=groups, stride=stride)
    with_integers(theirs)
    axis = 1 if batched else -1 - rank
    ours = Pointwise(6, 4, bias, stride, groups, axis, spatial_dims=rank)
    ours.load_state_dict(theirs.state_dict())
    x = integers((2, 6, 5, 3, 7)[1 - batched : 2 + rank])
    assert torch.equal(ours(x), theirs(x))
    theirs.load_state_dict(with_integers(ours, seed=7).state_dict())
    assert torch.equal(ours(x), theirs(x))


@pytest.mark.parametrize("shape", [(6,), (5, 6), (2, 5, 6), (2, 3, 5, 6), (0, 6)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer(shape: tuple[int, ...], bias: bool) -> None:
    theirs = with_integers(nn.Linear(6, 4, bias))
    ours = Pointwise(6, 4, bias, channel_dim=-1)
    ours.load_state_dict(theirs.state_dict())
    x = integers(shape)
    assert torch.equal(ours(x), theirs(x))
    theirs.load_state_dict(with_integers(ours, seed=7).state_dict())
    assert torch.equal(ours(x), theirs(x))


@pytest.mark.parametrize("axis", [1, -1, -3])
@pytest.mark.parametrize("assign", [False, True])
def test_any_state_dict_is_taken(axis: int, assign: bool) -> None:
    layers = [nn.Linear(6, 4), *(kind(6, 4, 1) for kind in CONVOLUTIONS.values())]
    for theirs in layers:
        ours = nn.Sequential(Pointwise(6, 4, channel_dim=axis))
        given = {f"0.{key}": value for key, value in theirs.state_dict().items()}
        shape = given["0.weight"].shape
        ours.load_state_dict(given, assign=assign)
        assert torch.equal(ours[0].weight.flatten(), theirs.weight.flatten())
        assert torch.equal(ours[0].bias, theirs.bias)
        assert isinstance(ours[0].weight, nn.Parameter)
        assert ours[0].weight.ndim == (2 if axis == -1 else 4)
        assert given["0.weight"].shape == shape, "the caller's dictionary is the caller's"


@pytest.mark.parametrize("spatial_dims", [0, 1, 2, 3])
def test_the_state_dict_is_that_of_the_layer_asked_for(spatial_dims: int) -> None:
    theirs = CONVOLUTIONS[spatial_dims](6, 4, 1) if spatial_dims else nn.Linear(6, 4)
    ours = Pointwise(6, 4, channel_dim=1, spatial_dims=spatial_dims)
    shapes = {key: value.shape for key, value in ours.state_dict().items()}
    assert shapes == {key: value.shape for key, value in theirs.state_dict().items()}
    assert_defined(pointwise(6, 4, spatial_dims=spatial_dims), integers((2, 6, 5, 3)))


@pytest.mark.parametrize("theirs", [nn.Conv2d(6, 4, 3), nn.Conv2d(4, 6, 1), nn.Linear(6, 5)])
def test_other_layers_state_dicts_are_refused(theirs: nn.Module) -> None:
    with pytest.raises(RuntimeError, match="size mismatch for weight"):
        Pointwise(6, 4).load_state_dict(theirs.state_dict())


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("groups", [1, 3])
def test_a_seed_draws_the_parameters_that_pytorch_draws(bias: bool, groups: int) -> None:
    def drawn(make: type[nn.Module], *sizes: int, **options: object) -> list[Tensor]:
        torch.manual_seed(5)
        return [p.flatten() for p in make(*sizes, bias=bias, **options).parameters()]

    pairs = [(drawn(Pointwise, 6, 9, groups=groups), drawn(nn.Conv2d, 6, 9, 1, groups=groups))]
    if groups == 1:
        pairs.append((drawn(Pointwise, 6, 9, channel_dim=-1), drawn(nn.Linear, 6, 9)))
    for ours, theirs in pairs:
        assert len(ours) == len(theirs) == 1 + bias
        assert all(map(torch.equal, ours, theirs))


@layouts
@pytest.mark.parametrize("groups", [1, 2])
def test_real_numbers(shape: tuple[int, ...], axis: int, groups: int) -> None:
    """Against float64: a sum of n products and a bias in float32 errs by γ(n+1)·(Σ|w||x| + |b|).

    γ(m) = mu / (1 - mu) with u = 2^-24 bounds any order of m additions and roundings, fused or not
    (Higham, "Accuracy and Stability of Numerical Algorithms", 2nd edition, 2002, section 3.1).
    """
    torch.manual_seed(0)
    layer = Pointwise(6, 4, groups=groups, channel_dim=axis)
    x = torch.randn(shape)
    exact, absolute = copy.deepcopy(layer).double(), copy.deepcopy(layer).double()
    with torch.no_grad():
        for parameter in absolute.parameters():
            parameter.abs_()
    terms = 6 // groups + 1
    gamma = terms * 2**-24 / (1 - terms * 2**-24)
    error = (layer(x).double() - exact(x.double())).abs()
    assert (error <= gamma * absolute(x.double().abs())).all()


# --- what a PyTorch layer is expected to do -------------------------------------------------


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("stride", [1, 2])
def test_channels_last_memory_stays_channels_last(groups: int, stride: int) -> None:
    layer = pointwise(6, 4, stride=stride, groups=groups)
    x = integers((2, 6, 5, 3))
    y = layer.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert (y.detach().numpy() == defined(layer, x)).all()


@layouts
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("groups", [1, 2])
def test_autocast(shape: tuple[int, ...], axis: int, groups: int, device: str) -> None:
    layer = pointwise(6, 4, groups=groups, channel_dim=axis)
    x = integers(shape)
    expected = torch.from_numpy(defined(layer, x))
    with torch.autocast(device, dtype=torch.bfloat16):
        y = layer.to(device)(x.to(device))
    assert y.dtype == torch.bfloat16
    assert torch.equal(y.cpu().to(torch.int64), expected)


@pytest.mark.parametrize(
    ("shape", "axis", "stride"),
    [
        ((2, 4, 3, 1), 1, 2),
        ((2, 3, 4), -1, 2),
        ((4, 2, 3), -3, (1, 2)),
        ((1, 4, 2, 1, 2, 3), 1, 1),
        ((4,), -1, 1),
    ],
)
@pytest.mark.parametrize("groups", [1, 2])
def test_first_and_second_gradients(
    shape: tuple[int, ...], axis: int, stride: int | tuple[int, ...], groups: int
) -> None:
    torch.manual_seed(0)
    layer = Pointwise(4, 6, True, stride, groups, axis, dtype=torch.float64)

    def of(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        parameters = {"weight": weight, "bias": bias}
        return torch.func.functional_call(layer, parameters, (x,))

    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    assert gradcheck(of, (x, layer.weight, layer.bias))
    assert gradgradcheck(of, (x, layer.weight, layer.bias))


@pytest.mark.parametrize(("shape", "axis"), [((2, 6, 5, 3), 1), ((2, 5, 6), -1)])
def test_gradients_are_those_of_the_layer_it_equals(shape: tuple[int, ...], axis: int) -> None:
    theirs = with_integers(nn.Conv2d(6, 4, 1) if axis == 1 else nn.Linear(6, 4))
    ours = Pointwise(6, 4, channel_dim=axis)
    ours.load_state_dict(theirs.state_dict())
    x, other = (integers(shape).requires_grad_() for _ in range(2))
    y = ours(x)
    # Sums of at most 2·5·3 products of integers: exact in float32.
    y.backward(integers(tuple(y.shape), seed=3))
    theirs(other).backward(integers(tuple(y.shape), seed=3))
    assert torch.equal(x.grad, other.grad)
    assert torch.equal(ours.weight.grad, theirs.weight.grad)
    assert torch.equal(ours.bias.grad, theirs.bias.grad)


def test_copies_and_pickles() -> None:
    layer = pointwise(6, 4, True, (2, 1), 2, 1)
    x = integers((2, 6, 5, 3))
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert repr(other) == repr(layer)
        assert torch.equal(other(x), layer(x))
        assert other.weight is not layer.weight


@pytest.mark.parametrize(
    ("layer", "shown"),
    [
        (Pointwise(3, 4), "Pointwise(3, 4)"),
        (Pointwise(3, 4, channel_dim=-1), "Pointwise(3, 4, channel_dim=-1)"),
        (Pointwise(4, 6, False, (2, 1), 2), "Pointwise(4, 6, bias=False, stride=(2, 1), groups=2)"),
        (Pointwise(3, 4, spatial_dims=1), "Pointwise(3, 4, spatial_dims=1)"),
    ],
)
def test_its_repr_makes_it_again(layer: Pointwise, shown: str) -> None:
    assert repr(layer) == shown
    assert repr(eval(shown)) == shown


def test_the_meta_device() -> None:
    layer = Pointwise(3, 4, device="meta", dtype=torch.bfloat16)
    assert (layer.weight.device.type, layer.bias.dtype) == ("meta", torch.bfloat16)
    assert layer(torch.empty(2, 3, 5, 7, device="meta", dtype=torch.bfloat16)).shape == (2, 4, 5, 7)
    there = layer.to_empty(device="cpu")
    there.reset_parameters()
    assert there.weight.abs().max() <= 3**-0.5


def test_vmap() -> None:
    layer = pointwise(6, 4)
    x = integers((5, 2, 6, 3, 4))
    each = torch.func.vmap(layer)(x)
    assert torch.equal(each, torch.stack([layer(part) for part in x]))


# --- errors ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((0, 4), "got 0 → 4 channels, stride 1, 1 groups, wanted each to be at least 1"),
        ((3, -1), "wanted each to be at least 1"),
        ((3, 4, True, 0), "stride 0"),
        ((3, 4, True, (1, 0)), r"stride \(1, 0\)"),
        ((3, 4, True, 1, 0), "0 groups"),
        ((3, 4, True, 1, 2), "got 3 → 4 channels in 2 groups, wanted both to be multiples"),
        ((4, 3, True, 1, 2), "wanted both to be multiples of groups"),
        ((4, 3, 2), "got bias 2, wanted True or False: .* the fourth the stride"),
    ],
)
def test_sizes_that_do_not_fit(arguments: tuple[object, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Pointwise(*arguments)


def test_a_weight_of_fewer_axes_than_a_matrix_is_refused() -> None:
    with pytest.raises(UsageError, match="got spatial_dims -1, wanted at least 0"):
        Pointwise(3, 4, spatial_dims=-1)


@pytest.mark.parametrize(
    ("options", "shape", "said"),
    [
        ({}, (2, 5, 7, 3), r"got an input of shape \(2, 5, 7, 3\), wanted 3 channels along axis 1"),
        ({}, (3,), "wanted 3 channels along axis 1: set channel_dim"),
        ({"channel_dim": -1}, (2, 3, 5), "wanted 3 channels along axis -1"),
        ({"channel_dim": -3}, (3, 5), "wanted 3 channels along axis -3"),
        ({"stride": (2, 1)}, (2, 3, 5), r"got stride \(2, 1\) for an input with 1 spatial axes"),
        ({"stride": (2,), "channel_dim": -1}, (3,), "for an input with 0 spatial axes"),
    ],
)
def test_inputs_that_do_not_fit(
    options: dict[str, object], shape: tuple[int, ...], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        Pointwise(3, 4, **options)(torch.ones(shape))
