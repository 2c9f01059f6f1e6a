"""Squeeze and two expansions, against their definition."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from onebyone.errors import UsageError
from onebyone.nn.fire import FireBlock
from tests.nn.by_hand import convolved, fill, integers


@pytest.mark.parametrize("size", [(5, 8), (1, 7), (1, 1)])
def test_squeezed_then_expanded_side_by_side(size: tuple[int, int]) -> None:
    block = fill(FireBlock(3, 2, 4, 5))
    x = integers(99, 2, 3, *size)
    z = convolved(x, block.squeeze.weight, block.squeeze.bias).relu()
    narrow = convolved(z, block.expand1x1.weight, block.expand1x1.bias)
    wide = convolved(z, block.expand3x3.weight, block.expand3x3.bias, padding=1)
    assert torch.equal(block(x), torch.cat([narrow.relu(), wide.relu()], 1))


def test_bare_it_is_one_3x3_of_low_rank() -> None:
    """Without activations and biases: the 1×1 is a 3×3 with one tap, and S a factor of both."""
    block = fill(FireBlock(3, 2, 4, 5, activation=nn.Identity))
    for layer in (block.squeeze, block.expand1x1, block.expand3x3):
        nn.init.zeros_(layer.bias)
    x = integers(99, 2, 3, 5, 8)
    tap = torch.zeros(4, 2, 3, 3).double()
    tap[:, :, 1, 1] = block.expand1x1.weight[:, :, 0, 0]
    expand = torch.cat([tap, block.expand3x3.weight])
    weight = torch.einsum("ozij,zc->ocij", expand, block.squeeze.weight[:, :, 0, 0])
    assert torch.equal(block(x), convolved(x, weight, padding=1))


def test_the_state_dict_is_torchvisions() -> None:
    shapes = {
        name: tuple(value.shape) for name, value in FireBlock(3, 2, 4, 5).state_dict().items()
    }
    assert shapes == {
        "squeeze.weight": (2, 3, 1, 1),
        "squeeze.bias": (2,),
        "expand1x1.weight": (4, 2, 1, 1),
        "expand1x1.bias": (4,),
        "expand3x3.weight": (5, 2, 3, 3),
        "expand3x3.bias": (5,),
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_narrow_types_and_layouts_give_the_same(dtype: torch.dtype) -> None:
    """At most 2·3 + 1 after the squeeze, 9·2·7 + 1 after the 3×3: exact in bfloat16."""
    block = fill(FireBlock(3, 2, 4, 5))
    x = integers(99, 2, 3, 5, 8)
    wanted = block(x).to(dtype)
    block, x = block.to(dtype), x.to(dtype)
    assert torch.equal(block(x), wanted)
    last = x.to(memory_format=torch.channels_last)
    assert torch.equal(block.to(memory_format=torch.channels_last)(last), wanted)


@pytest.mark.parametrize("widths", [(0, 2, 4, 5), (3, 0, 4, 5), (3, 2, 0, 5), (3, 2, 4, 0)])
def test_nothing_is_refused(widths: tuple[int, int, int, int]) -> None:
    with pytest.raises(UsageError, match=r"got . → . → . \+ . channels"):
        FireBlock(*widths)
