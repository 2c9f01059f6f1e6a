"""Layers and networks for other input channels: W′x = W(mix·x), on integers with `==`."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from onebyone.errors import UsageError
from onebyone.nn.convert.inputs import adapt_input
from onebyone.nn.pointwise import Pointwise

from ..by_hand import fill, integers

LAYERS = {
    "linear": (nn.Linear(3, 4), (2, 5)),
    "pointwise": (Pointwise(3, 4, stride=(2, 1)), (2, 5, 7)),
    "pointwise on tokens": (Pointwise(3, 4, channel_dim=-1), (2, 5)),
    "1x1": (nn.Conv2d(3, 4, 1, stride=2), (2, 5, 7)),
    "padded": (nn.Conv2d(3, 4, (3, 2), padding=(2, 1), dilation=(1, 2)), (2, 5, 7)),
    "same": (nn.Conv1d(3, 4, 3, padding="same", bias=False), (2, 9)),
    "reflected": (nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), (2, 5, 7)),
    "volumes": (nn.Conv3d(3, 4, 2), (1, 3, 4, 5)),
    "transposed": (nn.ConvTranspose2d(3, 4, 3, stride=2, output_padding=1), (2, 5, 3)),
}


def last(layer: nn.Module) -> bool:
    """Whether the channels come last."""
    return isinstance(layer, nn.Linear) or getattr(layer, "channel_dim", 1) == -1


def mixed(mix: Tensor, x: Tensor, axis: int) -> Tensor:
    return torch.movedim(torch.tensordot(mix, x, ([1], [axis])), 0, axis)


@pytest.mark.parametrize("new", [1, 3, 5])
@pytest.mark.parametrize("name", LAYERS)
def test_it_gives_what_the_layer_gives_for_the_mixed_input(name: str, new: int) -> None:
    layer, (batch, *sizes) = LAYERS[name]
    layer = fill(layer)
    mix = integers(7, 3, new)
    shape = (batch, *sizes, new) if last(layer) else (batch, new, *sizes)
    x = integers(8, *shape)
    adapted = adapt_input(layer, mix)
    assert type(adapted) is type(layer)
    assert torch.equal(adapted(x), layer(mixed(mix, x, -1 if last(layer) else 1)))
    assert layer.weight.shape != adapted.weight.shape or new == 3  # the given one stays


@pytest.mark.parametrize("name", LAYERS)
def test_one_new_channel_is_copied(name: str) -> None:
    layer, (batch, *sizes) = LAYERS[name]
    layer = fill(layer)
    axis = -1 if last(layer) else 1
    grey = integers(8, *((batch, *sizes, 1) if last(layer) else (batch, 1, *sizes)))
    assert torch.equal(adapt_input(layer)(grey), layer(torch.cat([grey] * 3, axis)))


def test_a_mix_of_lists_and_one_of_other_weights() -> None:
    layer = fill(nn.Conv2d(3, 4, 3))
    x = integers(1, 2, 2, 5, 6)
    assert torch.equal(
        adapt_input(layer, [[1, 0], [0, 1], [2, -1]])(x),
        layer(torch.stack([x[:, 0], x[:, 1], 2 * x[:, 0] - x[:, 1]], 1)),
    )
    luma = torch.tensor([[1.0], [0.5], [0.25]])
    assert torch.equal(adapt_input(layer, luma)(x[:, :1]), layer(mixed(luma.double(), x[:, :1], 1)))


class Stems(nn.Module):
    """Two layers read the input; in the middle is another of as many channels."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 3, 3, padding=1), Pointwise(3, 3)
        self.middle = nn.Conv2d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.middle((self.left(x) + self.right(x)).relu())


def test_a_network_is_adapted_where_it_reads_its_input() -> None:
    net, mix = fill(Stems()), integers(3, 3, 5)
    x = integers(4, 2, 5, 6, 7)
    adapted = adapt_input(net, mix)
    assert torch.equal(adapted(x), net(mixed(mix, x, 1)))
    assert adapted.middle.in_channels == net.left.in_channels == 3
    nested = fill(nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), nn.Conv2d(4, 2, 1)))
    assert torch.equal(adapt_input(nested)(x[:, :1]), nested(x[:, :1].expand(-1, 3, -1, -1)))


def test_settings_stay() -> None:
    layer = nn.Conv2d(3, 4, 3, stride=2, padding=1, dtype=torch.float16).eval()
    layer.bias.requires_grad_(False)
    adapted = adapt_input(layer, torch.eye(3)[:, :2])
    assert (adapted.stride, adapted.padding, adapted.weight.dtype) == (
        (2, 2),
        (1, 1),
        torch.float16,
    )
    assert (adapted.training, adapted.weight.requires_grad) == (False, True)
    assert not adapted.bias.requires_grad
    assert torch.equal(adapted.weight, layer.weight[:, :2])


def test_the_product_is_rounded_once() -> None:
    layer = nn.Linear(3, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 2.0**-24, 2.0**-24]]))
    # One after the other in float32, either addend would be lost.
    assert adapt_input(layer).weight.item() == 1 + 2.0**-23


def test_pruned_layers_of_a_network_are_stored() -> None:
    net = nn.Sequential(fill(nn.Conv2d(3, 4, 3)), nn.ReLU())
    prune.l1_unstructured(net[0], "weight", 0.5)
    x = integers(5, 1, 1, 5, 6)
    assert torch.equal(adapt_input(net)(x), net(x.expand(-1, 3, -1, -1)))
    with pytest.raises(UsageError, match="wanted it stored"):
        adapt_input(net[0])


# Refused ------------------------------------------------------------------------------------------


class Centred(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x - x.mean())


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.conv(x))


class Axes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = Pointwise(3, 3), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x) + self.last(x)


@pytest.mark.parametrize(
    ("net", "told"),
    [
        (Centred(), "whose input is read by 'mean'|whose input is read by 'sub'"),
        (nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1)), "whose input is read by '0'"),
        (Twice(), "used in other places"),
        (Axes(), "along one axis"),
        (nn.ModuleList([nn.Conv2d(3, 4, 1)]), "called with its input"),
        (nn.ReLU(), "called with its input"),
        (nn.Conv2d(3, 6, 3, groups=3), "in one group"),
        (Pointwise(4, 6, groups=2), "in one group"),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, nn.Module) else "",
)
def test_what_would_guess_or_be_another_function_is_refused(net: nn.Module, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        adapt_input(net)


def test_a_layer_with_hooks_is_refused() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1))
    net[0].register_forward_hook(lambda *_: None)
    with pytest.raises(UsageError, match="without hooks"):
        adapt_input(net)


@pytest.mark.parametrize("mix", [torch.ones(1, 3), torch.ones(3), torch.ones(3, 0), [[1.0]]])
def test_a_mix_of_another_shape_is_refused(mix: object) -> None:
    with pytest.raises(UsageError, match=r"wanted \(3, C_new\)"):
        adapt_input(nn.Conv2d(3, 4, 1), mix)
