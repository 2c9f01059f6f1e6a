"""Skips that fit: each option against its definition, and what it refuses."""

from __future__ import annotations

import pytest
import torch

from onebyone.errors import UsageError
from onebyone.nn.shortcut import ProjectionShortcut
from tests.nn.by_hand import ExactNorm, convolved, fill, integers, normalised

SIZES = [(5, 8), (1, 7), (1, 1)]


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("option", ["B", "C"])
def test_a_projection_is_a_strided_1x1_and_a_norm(
    option: str, size: tuple[int, int], stride: int
) -> None:
    skip = fill(ProjectionShortcut(3, 5, stride, option, norm=ExactNorm))
    x = integers(9, 2, 3, *size)
    assert torch.equal(skip(x), normalised(convolved(x, skip[0].weight, stride=stride), skip[1]))


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("size", SIZES)
def test_a_selects_positions_and_pads_zero_channels(size: tuple[int, int], stride: int) -> None:
    skip = ProjectionShortcut(3, 5, stride, "A")
    x = integers(9, 2, 3, *size)
    y = skip(x)
    assert torch.equal(y[:, :3], x[:, :, ::stride, ::stride])
    assert torch.equal(y[:, 3:], torch.zeros_like(y[:, :2]))
    assert not list(skip.parameters())


@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("size", [*SIZES, (9, 6)])
def test_d_averages_over_the_positions_that_exist(size: tuple[int, int], stride: int) -> None:
    skip = fill(ProjectionShortcut(3, 5, stride, "D", norm=ExactNorm))
    # Multiples of 720, which all windows of up to 4×4 positions divide.
    x = 720 * integers(9, 2, 3, *size)
    means = torch.cat([part.mean(2, keepdim=True) for part in x.split(stride, 2)], 2)
    means = torch.cat([part.mean(3, keepdim=True) for part in means.split(stride, 3)], 3)
    assert torch.equal(skip(x), normalised(convolved(means, skip[1].weight), skip[2]))


def test_a_changed_width_alone_is_not_pooled_but_keeps_its_names() -> None:
    names = [list(ProjectionShortcut(3, 5, stride, "D").state_dict()) for stride in (1, 2)]
    assert names[0] == names[1]
    assert names[0][:2] == ["1.weight", "2.weight"]


@pytest.mark.parametrize("option", ["A", "B", "D"])
def test_what_fits_is_left_alone(option: str) -> None:
    skip = ProjectionShortcut(3, 3, option=option)
    x = integers(9, 2, 3, 5, 8)
    assert len(skip) == 0
    assert skip(x) is x


def test_c_projects_what_fits() -> None:
    assert ProjectionShortcut(3, 3, option="C")[0].weight.shape == (3, 3, 1, 1)


def test_the_state_dict_is_torchvisions() -> None:
    assert list(ProjectionShortcut(3, 5, 2).state_dict()) == [
        "0.weight",
        *(f"1.{name}" for name in torch.nn.BatchNorm2d(5).state_dict()),
    ]
    assert list(ProjectionShortcut(3, 5, norm=None).state_dict()) == ["0.weight", "0.bias"]
    assert list(ProjectionShortcut(3, 5, norm=None, bias=False).state_dict()) == ["0.weight"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("option", ["A", "B", "C", "D"])
def test_narrow_types_and_layouts_give_the_same(option: str, dtype: torch.dtype) -> None:
    skip = fill(ProjectionShortcut(3, 5, 2, option, norm=None))
    x = 4 * integers(9, 2, 3, 6, 8)  # even sizes: means of four
    wanted = skip(x).to(dtype)
    skip = skip.to(dtype)
    last = x.to(dtype).to(memory_format=torch.channels_last)
    assert torch.equal(skip(x.to(dtype)), wanted)
    assert torch.equal(skip.to(memory_format=torch.channels_last)(last), wanted)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((3, 5, 1, "E"), "option 'E', wanted 'A', 'B', 'C' or 'D'"),
        ((5, 3, 1, "A"), "5 → 3 channels with option 'A'"),
        ((0, 5, 1, "B"), "0 → 5 channels with stride 1"),
        ((3, 5, 0, "D"), "3 → 5 channels with stride 0"),
    ],
)
def test_refused(arguments: tuple[int, int, int, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        ProjectionShortcut(*arguments)


@pytest.mark.parametrize("shape", [(2, 4, 5, 8), (3, 5, 8)])
def test_padding_refuses_an_input_of_another_width(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"wanted \(N, 3, H, W\)"):
        ProjectionShortcut(3, 5, 2, "A")(torch.ones(shape))
