"""BatchNorm into the layer beside it and out again.

To the bit: integer parameters, and √(σ² + ε) a power of two, so that all factors are dyadic and
all sums are exact in float32. Elsewhere within a derived bound.
"""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from onebyone.errors import UsageError
from onebyone.nn.convert.norm import fuse_norm, fuse_norm_before, fuse_norms, unfuse_norm
from onebyone.nn.pointwise import Pointwise

NORMS = {0: nn.BatchNorm1d, 1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


def whole(module: nn.Module) -> nn.Module:
    """Parameters are small integers, γ not zero; each √(σ² + ε) is 1/2, 1 or 2."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for part in module.modules():
            for p in part.parameters(recurse=False):
                p.copy_(torch.randint(-3, 4, p.shape, generator=generator))
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.eps = 0.0
                count = torch.arange(part.num_features)
                part.running_mean.copy_(count % 5 - 2)
                part.running_var.copy_(4.0 ** (count % 3 - 1))
                if part.affine:
                    part.weight.copy_(2.0 ** (count % 4) * (-1) ** count)
    return module


def norm_of(channels: int, axes: int, **options: object) -> nn.Module:
    return whole(NORMS[axes](channels, **options)).eval()


def image(*shape: int) -> Tensor:
    return torch.randint(-4, 5, shape, generator=torch.Generator().manual_seed(1)).float()


LAYERS = {
    "linear": (nn.Linear(6, 4), (3, 6)),
    "linear without bias": (nn.Linear(6, 4, bias=False), (3, 6)),
    "pointwise": (Pointwise(6, 4, groups=2, stride=2), (2, 6, 5, 7)),
    "pointwise without bias": (Pointwise(6, 4, False), (2, 6, 5, 7)),
    "conv1d": (nn.Conv1d(6, 4, 3, 2), (2, 6, 9)),
    "conv2d": (nn.Conv2d(6, 4, (3, 2), (2, 1), dilation=(1, 2)), (2, 6, 5, 7)),
    "conv2d without bias": (nn.Conv2d(6, 4, 3, bias=False), (2, 6, 5, 7)),
    "groups": (nn.Conv2d(6, 4, 3, groups=2), (2, 6, 5, 7)),
    "depthwise": (nn.Conv2d(6, 12, 3, groups=6), (2, 6, 5, 7)),
    "conv3d": (nn.Conv3d(6, 4, (1, 2, 3)), (2, 6, 1, 3, 5)),
    "reflect": (nn.Conv2d(6, 4, 3, padding=1, padding_mode="reflect"), (2, 6, 5, 7)),
    "replicate": (nn.Conv1d(6, 4, 3, padding=2, padding_mode="replicate"), (2, 6, 5)),
    "circular": (nn.Conv2d(6, 4, 3, padding="same", padding_mode="circular"), (2, 6, 5, 7)),
}
PADDED = {
    "padded": (nn.Conv2d(6, 4, 3, padding=(1, 2)), (2, 6, 5, 7)),
    "same": (nn.Conv1d(6, 4, 5, padding="same"), (2, 6, 7)),
    "transposed": (nn.ConvTranspose2d(6, 4, 3, 2, 1, 1), (2, 6, 3, 5)),
    "transposed groups": (nn.ConvTranspose1d(6, 4, 3, 2, groups=2, bias=False), (2, 6, 5)),
    "transposed volume": (nn.ConvTranspose3d(6, 4, (1, 2, 3)), (2, 6, 1, 2, 3)),
}
ALL = LAYERS | PADDED


def outputs(layer: nn.Module) -> int:
    return getattr(layer, "out_channels", None) or layer.out_features


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("name", ALL)
def test_a_norm_after_a_layer_goes_into_it(name: str, affine: bool) -> None:
    layer, shape = ALL[name]
    norm, x = norm_of(outputs(whole(layer)), len(shape) - 2, affine=affine), image(*shape)
    before = copy.deepcopy((layer.state_dict(), norm.state_dict()))
    fused = fuse_norm(layer, norm)
    assert torch.equal(fused(x), norm(layer(x)))
    assert type(fused) is type(layer)
    assert fused.bias is not None
    for state, module in zip(before, (layer, norm), strict=True):
        assert all(torch.equal(p, module.state_dict()[key]) for key, p in state.items())


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_a_norm_before_a_layer_goes_into_it(name: str, affine: bool) -> None:
    layer, shape = LAYERS[name]
    norm, x = norm_of(6, len(shape) - 2, affine=affine), image(*shape)
    fused = fuse_norm_before(norm, whole(layer))
    assert torch.equal(fused(x), layer(norm(x)))
    assert type(fused) is type(layer)


@pytest.mark.parametrize("name", PADDED)
def test_before_zeros_only_a_norm_without_shift_goes_into_it(name: str) -> None:
    layer, shape = PADDED[name]
    whole(layer)
    norm, x = norm_of(6, len(shape) - 2), image(*shape)
    with pytest.raises(UsageError, match=r"zero padding comes after|stamps the bias a different"):
        fuse_norm_before(norm, layer)
    nn.init.zeros_(norm.running_mean)
    nn.init.zeros_(norm.bias)
    assert torch.equal(fuse_norm_before(norm, layer)(x), layer(norm(x)))


def test_the_border_is_why_a_shift_before_zeros_is_refused() -> None:
    layer, norm = whole(nn.Conv2d(6, 4, 3, padding=1)), norm_of(6, 2)
    naive = fuse_norm_before(norm, whole(nn.Conv2d(6, 4, 3)))
    naive.padding = (1, 1)
    x = image(2, 6, 5, 7)
    inside = (..., slice(1, -1), slice(1, -1))
    assert torch.equal(naive(x)[inside], layer(norm(x))[inside])
    assert not torch.equal(naive(x), layer(norm(x)))


@pytest.mark.parametrize("name", ALL)
def test_the_layer_comes_out_again(name: str) -> None:
    layer, shape = ALL[name]
    norm, x = norm_of(outputs(whole(layer)), len(shape) - 2), image(*shape)
    back = unfuse_norm(fuse_norm(layer, norm), norm)
    # γ and √(σ² + ε) are powers of two, so 1/s is exact.
    assert torch.equal(back.weight, layer.weight)
    assert torch.equal(back(x), layer(x))
    assert layer.bias is not None or not back.bias.any()


def test_what_a_zero_wiped_out_does_not_come_out_again() -> None:
    conv, norm = nn.Conv2d(3, 4, 3), norm_of(4, 2)
    with torch.no_grad():
        norm.weight[1] = norm.weight[3] = 0
    fused = fuse_norm(conv, norm)
    assert not fused.weight[1].any()
    with pytest.raises(UsageError, match=r"γ = 0 in channels \[1, 3\], wanted none"):
        unfuse_norm(fused, norm)


UNITS = {torch.float64: 2.0**-53, torch.float32: 2.0**-24, torch.bfloat16: 2.0**-8}


def drawn(dtype: torch.dtype) -> tuple[nn.Module, nn.Module]:
    """A convolution and a norm with values of all sizes."""
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(6, 4, 3, padding=1, dtype=dtype), nn.BatchNorm2d(4, dtype=dtype).eval()
    with torch.no_grad():
        for tensor in (norm.weight, norm.bias, norm.running_mean):
            tensor.normal_()
        norm.running_var.uniform_(0.1, 10)
    return conv, norm


@pytest.mark.parametrize("dtype", UNITS)
def test_weights_are_rounded_once(dtype: torch.dtype) -> None:
    conv, norm = drawn(dtype)
    fused = fuse_norm(conv, norm)
    mean, var, gamma, beta = (
        t.detach().double() for t in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    s = gamma / (var + norm.eps).sqrt()
    exact = conv.weight.double() * s[:, None, None, None]
    # One rounding to the type, after at most 8 in float64 (of s in either way, and of the product).
    u, wide = UNITS[dtype], 8 * 2.0**-53
    assert fused.weight.dtype == dtype
    assert ((fused.weight.double() - exact).abs() <= (u + wide) * exact.abs()).all()
    terms = [s * conv.bias.double(), beta, s * mean]
    exact = terms[0] + terms[1] - terms[2]
    size = sum(term.abs() for term in terms)
    bound = u * exact.abs() + 2 * wide * size
    assert ((fused.bias.double() - exact).abs() <= bound).all()


def test_floats_differ_by_rounding_only() -> None:
    conv, norm = drawn(torch.float32)
    x = torch.randn(2, 6, 5, 7)
    y = fuse_norm(conv, norm)(x).double()
    exact = norm.double()(conv.double()(x.double()))
    size = fuse_norm(conv, norm)
    with torch.no_grad():
        for p in size.parameters():
            p.abs_()
    # n = 54 products and a bias, weights rounded once: |error| ≤ γ(n + 2)(|s||W||x| + |sb + t|).
    gamma = 56 * 2.0**-24 / (1 - 56 * 2.0**-24)
    assert ((y - exact).abs() <= gamma * size(x.double().abs())).all()


def test_flags_mode_and_type_are_those_of_the_layer() -> None:
    conv = nn.Conv2d(3, 4, 3, bias=False, dtype=torch.float16).requires_grad_(False)
    fused = fuse_norm(conv, nn.BatchNorm2d(4).eval())
    assert {p.dtype for p in fused.parameters()} == {torch.float16}
    assert not any(p.requires_grad for p in fused.parameters())
    assert fused.training


@pytest.mark.parametrize(
    ("layer", "norm", "wanted"),
    [
        (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), r"call eval\(\)"),
        (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(5).eval(), "wanted matching channels"),
        (nn.Linear(3, 4), nn.BatchNorm1d(5).eval(), "wanted the first to give what the second"),
        (nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4).eval(), "wanted a BatchNorm"),
        (nn.ReLU(), nn.BatchNorm2d(4).eval(), "wanted a convolution, a Pointwise or a Linear"),
    ],
)
def test_what_does_not_fuse_is_refused(layer, norm, wanted: str) -> None:
    with pytest.raises(UsageError, match=wanted):
        fuse_norm(layer, norm)


class Block(nn.Module):
    """Named as the blocks of a residual network are."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = Pointwise(3, 4, False), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.downsample = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
        self.relu = nn.ReLU()

    def forward(self, x: Tensor, *, skip: bool = True) -> Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        if skip:
            y = y + self.downsample(x)
        return self.relu(y)


def fused_norms(module: nn.Module) -> list[str]:
    return [name for name, part in module.named_modules() if isinstance(part, nn.Identity)]


def test_every_norm_of_a_network_is_fused() -> None:
    net = whole(nn.Sequential(Block(), nn.ConvTranspose2d(4, 6, 2, 2), nn.BatchNorm2d(6))).eval()
    before, x = copy.deepcopy(net.state_dict()), image(2, 3, 5, 7)
    fused = fuse_norms(net)
    assert fused_norms(fused) == ["0.bn1", "0.bn2", "0.downsample.1", "2"]
    assert torch.equal(fused(x), net(x))
    assert all(torch.equal(p, before[key]) for key, p in net.state_dict().items())
    assert fused_norms(net) == []
    assert not any(part.training for part in fused.modules())


def test_a_network_of_pytorchcv_loses_all_its_norms() -> None:
    from pytorchcv.models.resnet import resnet10

    torch.manual_seed(0)
    net = resnet10(num_classes=7).eval().double()
    net.features.final_pool = nn.AdaptiveAvgPool2d(1)  # for an image smaller than 224×224
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
    fused = fuse_norms(net)
    assert len(fused_norms(fused)) == sum(isinstance(p, nn.BatchNorm2d) for p in net.modules())
    assert not any(isinstance(p, nn.BatchNorm2d) for p in fused.modules())
    # Rounding errors are proportional to the unit roundoff, to first order: what float32 does to
    # the network, times 2⁻²⁹, is what float64 does; 16 as in docs/numerics.md.
    x = torch.randn(2, 3, 33, 65)
    with torch.no_grad():
        exact, noisy = net(x.double()), copy.deepcopy(net).float()(x)
        error, noise = (fused(x.double()) - exact).abs().max(), (noisy - exact).abs().max()
    assert 0 < error <= 16 * 2.0**-29 * noise


def test_norms_in_training_mode_stay() -> None:
    net = whole(
        nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 5, 1), nn.BatchNorm2d(5))
    )
    assert fused_norms(fuse_norms(net)) == []
    net[3].eval()
    fused = fuse_norms(net)
    assert fused_norms(fused) == ["3"]
    assert fused[1].training
    assert not fused[3].training


class Wired(nn.Module):
    """A convolution and a norm, wired as `way` says."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.conv, self.norm, self.other = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return {
            "read twice": lambda: self.norm(y) + y,
            "two norms": lambda: self.norm(y) + self.other(y),
            "called twice": lambda: self.norm(self.conv(y)),
            "one norm for two": lambda: self.norm(y) + self.norm(x),
            "activation between": lambda: self.norm(y.relu()),
            "weight read": lambda: self.norm(y) + self.conv.weight.sum(),
            "statistics read": lambda: self.norm(y) + self.norm.running_mean.sum(),
        }[self.way]()


WAYS = [
    "read twice",
    "two norms",
    "called twice",
    "one norm for two",
    "activation between",
    "weight read",
    "statistics read",
]


@pytest.mark.parametrize("way", WAYS)
def test_a_norm_that_is_not_alone_with_its_convolution_stays(way: str) -> None:
    net, x = whole(Wired(way)).eval(), image(2, 4, 5, 7)
    fused = fuse_norms(net)
    assert fused_norms(fused) == []
    assert torch.equal(fused(x), net(x))


class Standardised(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.weight - 1, self.bias)


@pytest.mark.parametrize(
    "layer",
    [Standardised(4, 4, 1), nn.Linear(4, 4), Pointwise(4, 4, channel_dim=-1), nn.Identity()],
    ids=lambda layer: type(layer).__name__,
)
def test_a_norm_after_another_layer_stays(layer: nn.Module) -> None:
    # With as many positions as channels the input fits, on whichever axis the channels are.
    norm = nn.BatchNorm1d(4) if isinstance(layer, nn.Linear) else nn.BatchNorm2d(4)
    x = image(2, 4, 4) if isinstance(layer, nn.Linear) else image(2, 4, 4, 4)
    net = whole(nn.Sequential(layer, norm)).eval()
    fused = fuse_norms(net)
    assert type(fused[1]) is type(norm)
    assert torch.equal(fused(x), net(x))


def test_a_module_that_is_watched_stays() -> None:
    net = whole(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))).eval()
    net[0].register_forward_hook(lambda *_: None)
    assert fused_norms(fuse_norms(net)) == []


def test_a_module_under_two_names_is_replaced_under_both() -> None:
    net = Block()
    net.stem = nn.Sequential(net.conv1, net.bn1)
    net.alias = net.bn1
    whole(net).eval()
    fused, x = fuse_norms(net), image(2, 3, 5, 7)
    assert fused.alias is fused.bn1 is fused.stem[1]
    assert isinstance(fused.alias, nn.Identity)
    assert fused.stem[0] is fused.conv1
    assert torch.equal(fused(x), net(x))


class Listed(nn.Module):
    """Reaches a norm by a list that PyTorch does not know of."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
        self.steps = [self.norm]

    def forward(self, x: Tensor) -> Tensor:
        return self.steps[0](self.conv(x))


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x)) if x.sum() > 0 else x


@pytest.mark.parametrize("module", [Listed(), Branching()], ids=lambda m: type(m).__name__)
def test_a_forward_that_cannot_be_followed_is_refused(module: nn.Module) -> None:
    with pytest.raises(UsageError, match=r"whose forward cannot be traced \(.*\), wanted"):
        fuse_norms(module.eval())


@pytest.mark.parametrize("module", [nn.Conv2d(3, 4, 1), nn.BatchNorm2d(3).eval(), nn.ReLU()])
def test_a_single_layer_is_copied(module: nn.Module) -> None:
    fused = fuse_norms(module)
    assert repr(fused) == repr(module)
    assert fused is not module
