"""The four branches against their definitions, in their order, with torchvision's names."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from onebyone.errors import UsageError
from onebyone.nn.inception import InceptionBlock
from tests.nn.by_hand import ExactNorm, convolved, fill, integers, normalised

WIDTHS = (3, 2, (2, 4), (3, 5), 1)
UNITS = ("branch1", "branch2.0", "branch2.1", "branch3.0", "branch3.1", "branch4.1")


def unit(x: Tensor, layers: nn.Sequential) -> Tensor:
    conv = layers.conv
    y = convolved(x, conv.weight, conv.bias, padding=conv.weight.shape[-1] // 2)
    return (normalised(y, layers.bn) if hasattr(layers, "bn") else y).relu()


def highest(x: Tensor) -> Tensor:
    """The maximum of the 3×3 positions around each, of those that exist."""
    n, c, h, w = x.shape
    around = x.new_full((n, c, h + 2, w + 2), -torch.inf)
    around[:, :, 1:-1, 1:-1] = x
    shifts = [around[:, :, i : i + h, j : j + w] for i in range(3) for j in range(3)]
    return torch.stack(shifts).amax(0)


@pytest.mark.parametrize("size", [(5, 8), (1, 7), (1, 1)])
@pytest.mark.parametrize("norm", [ExactNorm, None])
@pytest.mark.parametrize(("large", "kernels"), [("5x5", [5]), ("3x3+3x3", [3, 3]), ("3x3", [3])])
def test_four_branches_side_by_side(
    large: str, kernels: list[int], norm: type[nn.Module] | None, size: tuple[int, int]
) -> None:
    block = fill(InceptionBlock(*WIDTHS, large=large, norm=norm))
    x = integers(99, 2, 3, *size)
    wanted = [unit(x, block.branch1)]
    for branch in (block.branch2, block.branch3):
        y = x
        for layers in branch:
            y = unit(y, layers)
        wanted.append(y)
    wanted.append(unit(highest(x), block.branch4[1]))
    assert torch.equal(block(x), torch.cat(wanted, 1))
    assert [layers.conv.weight.shape[-1] for layers in block.branch3] == [1, *kernels]


def test_the_outputs_of_a_branch_stand_together() -> None:
    block = fill(InceptionBlock(*WIDTHS))
    x = integers(99, 2, 3, 5, 8)
    y = block(x)
    assert y.shape[1] == block.out_channels == 2 + 4 + 5 + 1
    assert torch.equal(y[:, 2:6], block.branch2(x))


def test_the_state_dict_is_torchvisions() -> None:
    parts = ("conv.weight", "bn.weight", "bn.bias")
    wanted = [f"{name}.{part}" for name in UNITS for part in parts]
    assert [name for name, _ in InceptionBlock(*WIDTHS).named_parameters()] == wanted


def test_googlenets_first_block_has_the_published_parameters() -> None:
    """Weights of 192 → 64, (96, 128), (16, 32), 32, and a bias for each output."""
    block = InceptionBlock(192, 64, (96, 128), (16, 32), 32, norm=None)
    weights = 192 * 64 + 192 * 96 + 9 * 96 * 128 + 192 * 16 + 25 * 16 * 32 + 192 * 32
    biases = 64 + 96 + 128 + 16 + 32 + 32
    assert sum(p.numel() for p in block.parameters()) == weights + biases


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_narrow_types_and_layouts_give_the_same(dtype: torch.dtype) -> None:
    """A reduction gives at most 3 + 1, a 5×5 on 2 such channels 25·8 + 1: exact in bfloat16."""
    block = fill(InceptionBlock(3, 2, (2, 4), (2, 5), 1, norm=None))
    x = integers(99, 2, 3, 5, 8, largest=1)
    wanted = block(x).to(dtype)
    block, x = block.to(dtype), x.to(dtype)
    assert torch.equal(block(x), wanted)
    last = x.to(memory_format=torch.channels_last)
    assert torch.equal(block.to(memory_format=torch.channels_last)(last), wanted)


@pytest.mark.parametrize(
    ("arguments", "large", "words"),
    [
        (WIDTHS, "7x7", "large '7x7', wanted one of '5x5', '3x3\\+3x3', '3x3'"),
        ((3, 2, (2, 0), (3, 5), 1), "5x5", "2 → 0 channels for a 3×3 convolution"),
        ((3, 0, (2, 4), (3, 5), 1), "5x5", "3 → 0 channels"),
        ((3, 2, (2, 4), (0, 5), 1), "5x5", "3 → 0 channels"),
    ],
)
def test_refused(arguments: tuple[object, ...], large: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        InceptionBlock(*arguments, large=large)
