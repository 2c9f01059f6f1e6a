"""The third text: what is a 1×1 convolution, and why is it useful?"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from pytorchcv.models.resnet import resnet18, resnet50
from torch import nn

from onebyone.nn.bottleneck import Bottleneck
from onebyone.nn.convert.channels import compose
from onebyone.nn.count import count
from onebyone.nn.inception import InceptionBlock
from onebyone.nn.pointwise import Pointwise
from onebyone.nn.rank import rank
from onebyone.nn.separable import DepthwiseSeparable
from onebyone.nn.shortcut import ProjectionShortcut

from .draw import integers, on_integers


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_the_formula() -> None:
    f, x = on_integers(Pointwise(5, 3, channel_dim=-1)), integers(2, 4, 7, 5)
    y = f(x)
    for n, i, j, o in torch.cartesian_prod(*map(torch.arange, y.shape)).tolist():
        expected = sum(x[n, i, j, c] * f.weight[o, c] for c in range(5)) + f.bias[o]
        assert y[n, i, j, o] == expected


def test_the_same_matrix_at_every_position() -> None:
    f, x = on_integers(Pointwise(5, 3)), integers(2, 5, 4, 7)
    assert torch.equal(f(x.flip(2, 3)), f(x).flip(2, 3))
    order = torch.randperm(28, generator=torch.Generator().manual_seed(0))
    shuffled = x.flatten(2)[..., order].reshape(x.shape)
    assert torch.equal(f(shuffled), f(x).flatten(2)[..., order].reshape(2, 3, 4, 7))


def test_a_bias_makes_the_combination_affine() -> None:
    x, z = integers(2, 5, 4, 7), integers(2, 5, 4, 7, seed=1)
    linear, affine = on_integers(Pointwise(5, 3, bias=False)), on_integers(Pointwise(5, 3))
    assert torch.equal(linear(2 * x + z), 2 * linear(x) + linear(z))
    assert not torch.equal(affine(2 * x + z), 2 * affine(x) + affine(z))
    weights = (2, -1)  # which sum to one: combinations of this kind an affine map keeps
    assert torch.equal(affine(2 * x - z), weights[0] * affine(x) + weights[1] * affine(z))


@pytest.mark.parametrize("stride", [1, 2, (2, 3)])
def test_one_pixel_changes_one_position(stride: int | tuple[int, int]) -> None:
    f, x = on_integers(Pointwise(5, 3, stride=stride)), integers(1, 5, 5, 8)
    rows, columns = (stride, stride) if isinstance(stride, int) else stride
    before = f(x)
    for i, j in torch.cartesian_prod(torch.arange(5), torch.arange(8)).tolist():
        other = x.clone()
        other[:, 0, i, j] += 1
        changed = (f(other) != before).any(1)[0].nonzero().tolist()
        kept = i % rows == 0 and j % columns == 0
        assert changed == ([[i // rows, j // columns]] if kept else [])


def test_a_3x3_does_look_at_the_neighbourhood() -> None:
    f, x = nn.Conv2d(5, 3, 3, padding=1), integers(1, 5, 5, 8)
    nn.init.ones_(f.weight)
    other = x.clone()
    other[:, 0, 2, 3] += 1
    assert (f(other) != f(x)).any(1).sum() == 9


def test_a_learned_projection_is_any_matrix() -> None:
    p, x = on_integers(Pointwise(3, 3, bias=False)), integers(2, 3, 4, 7)
    assert not torch.equal(p(p(x)), p(x))  # a projection of linear algebra has P² = P
    with torch.no_grad():
        p.weight.copy_(torch.tensor([[1, 0, 0], [0, 1, 0], [1, 1, 0]]).reshape(3, 3, 1, 1))
    assert torch.equal(p(p(x)), p(x))


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (3, 4), (256, 256), (256, 64)])
def test_the_parameters_are_one_more_than_the_inputs_for_each_output(
    inputs: int, outputs: int
) -> None:
    expected = (1 * 1 * inputs + 1) * outputs
    assert parameters(Pointwise(inputs, outputs)) == expected == (inputs + 1) * outputs
    assert parameters(Pointwise(inputs, outputs, bias=False)) == expected - outputs


def test_groups_divide_the_weights() -> None:
    assert parameters(Pointwise(256, 64, groups=4)) == (256 // 4 + 1) * 64 == 4_160


def test_a_3x3_has_590080_parameters_and_a_1x1_has_65792() -> None:
    three, one = nn.Conv2d(256, 256, 3, padding=1), Pointwise(256, 256)
    assert (parameters(three), parameters(one)) == (590_080, 65_792)
    assert round(590_080 / 65_792, 2) == 8.97
    assert three.weight.numel() == 9 * one.weight.numel()
    assert round(65_792, -3) == 66_000


def test_a_1x1_costs_a_ninth_of_a_3x3() -> None:
    x = torch.zeros(1, 256, 56, 56)
    one = count(Pointwise(256, 256), x).macs
    three = count(nn.Conv2d(256, 256, 3, padding=1), x).macs
    assert (one, three) == (205_520_896, 9 * 205_520_896)


def test_the_3x3_of_a_bottleneck_has_36928_parameters() -> None:
    block = Bottleneck(256, 64, 256, norm=None)
    parts = [parameters(part) for part in (block.conv1, block.conv2, block.conv3)]
    assert parts == [16_448, 36_928, 16_640]
    assert round(590_080 / 36_928, 2) == 15.98


def test_the_block_is_8_times_cheaper_not_16() -> None:
    block = parameters(Bottleneck(256, 64, 256, norm=None))
    assert block == 70_016
    assert round(590_080 / block, 2) == 8.43
    # What He et al. set beside it, figure 5: two 3×3s on 64 channels.
    assert 2 * parameters(nn.Conv2d(64, 64, 3)) == 73_856


def test_the_saving_in_multiplications() -> None:
    x = torch.zeros(1, 256, 14, 14)
    wide = count(nn.Conv2d(256, 256, 3, padding=1), x).macs
    block = count(Bottleneck(256, 64, 256, norm=None), x)
    assert (wide, block.macs) == (115_605_504, 13_647_872)
    assert round(wide / block.macs, 2) == 8.47
    assert round(100 * block.pointwise_macs / block.macs, 1) == 47.1


def test_what_is_compressed_to_64_channels_has_rank_64() -> None:
    narrow = on_integers(Pointwise(256, 64, bias=False))
    wide = on_integers(Pointwise(64, 256, bias=False), seed=2)
    both = compose(narrow, wide)
    assert tuple(both.weight.shape[:2]) == (256, 256)
    assert rank(both).rank == 64


def test_resnet_50_is_made_of_bottlenecks_and_resnet_18_is_not() -> None:
    def kernels(network: Callable[[], nn.Module]) -> list[int]:
        with torch.device("meta"):
            return [m.kernel_size[0] for m in network().modules() if isinstance(m, nn.Conv2d)]

    # 16 bottlenecks of two 1×1s each and four projections; in ResNet-18, the projections only.
    assert (kernels(resnet50).count(1), len(kernels(resnet50))) == (36, 53)
    assert (kernels(resnet18).count(1), len(kernels(resnet18))) == (3, 20)


def test_an_inception_block_reduces_but_does_not_expand() -> None:
    block = InceptionBlock(192, 64, (96, 128), (16, 32), 32)
    ones = [m for m in block.modules() if isinstance(m, Pointwise)]
    assert sorted((p.in_channels, p.out_channels) for p in ones) == [
        (192, 16), (192, 32), (192, 64), (192, 96),
    ]  # fmt: skip
    assert block(torch.zeros(2, 192, 5, 7)).shape == (2, 256, 5, 7)


def test_a_projection_aligns_channels_and_stride() -> None:
    block = Bottleneck(64, 32, 128, stride=2, norm=None)
    shortcut = on_integers(ProjectionShortcut(64, 128, stride=2, norm=None))
    x = integers(2, 64, 9, 7)
    assert block(x).shape == shortcut(x).shape == (2, 128, 5, 4)
    only = on_integers(Pointwise(64, 128))
    assert not torch.equal(shortcut(x), torch.zeros(2, 128, 5, 4))
    with torch.no_grad():
        for mine, theirs in zip(only.parameters(), shortcut.parameters(), strict=True):
            mine.copy_(theirs)
    assert torch.equal(shortcut(x), only(x[:, :, ::2, ::2]))


def test_another_stride_does_not_align() -> None:
    x = integers(2, 64, 9, 7)
    inner = Bottleneck(64, 32, 128, stride=2, norm=None)(x)
    with pytest.raises(RuntimeError, match="must match"):
        ProjectionShortcut(64, 128, stride=1, norm=None)(x) + inner


def test_a_stride_alone_needs_the_projection_too() -> None:
    def projects(stride: int) -> bool:
        return any(isinstance(m, Pointwise) for m in ProjectionShortcut(64, 64, stride).modules())

    assert projects(2)
    assert not projects(1)


def test_a_skip_can_be_aligned_without_parameters() -> None:
    x = integers(2, 3, 9, 7)
    skip = ProjectionShortcut(3, 5, stride=2, option="A")
    assert parameters(skip) == 0
    y = skip(x)
    assert y.shape == (2, 5, 5, 4)
    assert torch.equal(y.sum(1), x[:, :, ::2, ::2].sum(1))


def test_a_strided_projection_reads_a_quarter_of_the_positions() -> None:
    f = on_integers(Pointwise(3, 5, stride=2, bias=False))
    x = torch.ones(1, 3, 8, 6, requires_grad=True)
    f(x).square().sum().backward()
    assert x.grad is not None
    read = x.grad.ne(0).any(1)
    assert read.sum() / read.numel() == 0.25


def test_a_depthwise_convolution_keeps_channels_apart() -> None:
    f, x = on_integers(nn.Conv2d(4, 4, 3, padding=1, groups=4)), integers(1, 4, 5, 7)
    for channel in range(4):
        other = x.clone()
        other[:, channel] += 1
        changed = (f(other) != f(x)).any(-1).any(-1)[0].nonzero().flatten().tolist()
        assert changed == [channel]


def test_the_1x1_mixes_the_channels_again() -> None:
    block = DepthwiseSeparable(4, 6, norm=None, activation=nn.Identity)
    for parameter in block.parameters():
        nn.init.ones_(parameter)
    x = integers(1, 4, 5, 7)
    for channel in range(4):
        other = x.clone()
        other[:, channel] += 1
        assert (block(other) != block(x)).any(-1).any(-1).all()


def test_a_separable_convolution_is_a_factorised_one() -> None:
    depthwise = on_integers(nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False))
    pointwise = on_integers(Pointwise(4, 6, bias=False), seed=2)
    standard, x = nn.Conv2d(4, 6, 3, padding=1, bias=False), integers(2, 4, 5, 7)
    with torch.no_grad():
        standard.weight.copy_(pointwise.weight * depthwise.weight.squeeze(1))
    assert torch.equal(pointwise(depthwise(x)), standard(x))


def test_a_standard_convolution_has_no_such_factors() -> None:
    # W[o, i, k] = P[o, i] · D[i, k] makes each slice W[:, i, :] of rank one; this one has more.
    standard = on_integers(nn.Conv2d(4, 6, 3, bias=False))
    slices = standard.weight.flatten(2).transpose(0, 1)
    assert torch.linalg.matrix_rank(slices.double()).tolist() == [6, 6, 6, 6]


def test_an_activation_between_makes_it_no_convolution_at_all() -> None:
    block = on_integers(DepthwiseSeparable(4, 6, norm=None))
    x = integers(1, 4, 5, 7)
    bias = block(torch.zeros_like(x))
    assert not torch.equal(block(x) - bias, -(block(-x) - bias))


def test_what_a_separable_convolution_saves() -> None:
    x = torch.zeros(1, 256, 14, 14)
    standard = count(nn.Conv2d(256, 256, 3, padding=1, bias=False), x)
    separable = count(DepthwiseSeparable(256, 256), x)
    assert (standard.macs // 196, separable.macs // 196) == (589_824, 67_840)
    assert round(standard.macs / separable.macs, 2) == 8.69
    assert separable.macs * 9 * 256 == standard.macs * (9 + 256)  # 1/C_out + 1/K²


def test_the_1x1_is_nearly_all_of_a_separable_convolution() -> None:
    found = count(DepthwiseSeparable(256, 256), torch.zeros(1, 256, 14, 14))
    assert found.pointwise_macs // 196 == 65_536
    assert round(100 * found.pointwise_macs / found.macs, 1) == 96.6


def test_without_an_activation_two_are_one() -> None:
    first, second = on_integers(Pointwise(5, 9)), on_integers(Pointwise(9, 3), seed=5)
    x = integers(2, 5, 4, 7)
    assert torch.equal(compose(first, second)(x), second(first(x)))


def test_with_a_relu_it_computes_what_no_single_1x1_can() -> None:
    # XOR of two channels: relu(a + b) - 2 relu(a + b - 1).
    first, second = Pointwise(2, 2), Pointwise(2, 1, bias=False)
    with torch.no_grad():
        first.weight.fill_(1)
        first.bias.copy_(torch.tensor([0, -1]))
        second.weight.copy_(torch.tensor([1, -2]).reshape(1, 2, 1, 1))
    x = torch.tensor([[0.0, 0, 1, 1], [0, 1, 0, 1]]).reshape(1, 2, 2, 2)
    xor = second(first(x).relu()).flatten()
    assert xor.tolist() == [0, 1, 1, 0]
    # An affine map has f(00) + f(11) = f(01) + f(10); XOR has 0 ≠ 2.
    single = on_integers(Pointwise(2, 1))(x).flatten()
    assert single[0] + single[3] == single[1] + single[2]
    assert xor[0] + xor[3] != xor[1] + xor[2]


def test_the_receptive_field_stays_while_the_cost_grows_with_the_image() -> None:
    layer = nn.Sequential(Pointwise(3, 5), nn.ReLU())
    for parameter in layer.parameters():
        nn.init.ones_(parameter)
    x = integers(1, 3, 5, 8).abs()
    other = x.clone()
    other[..., 2, 3] += 1
    assert (layer(other) != layer(x)).any(1)[0].nonzero().tolist() == [[2, 3]]
    small, large = (count(layer, torch.zeros(1, 3, side, side)).macs for side in (7, 14))
    assert (small, large) == (3 * 5 * 49, 4 * small)
