"""Networks as they are trained before their branches are fused: RepVGG and MobileOne, and a ResNet
whose filters were pruned to zero but are still there, with a count of what it would need without.

Widths and depths are those of the papers' tables: RepVGG-A0 (Ding et al. 2021, arXiv:2101.03697),
MobileOne-S0 (Vasu et al. 2022, arXiv:2206.04040).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

__all__ = ["mobileone_s0", "prune_filters", "remaining_macs", "repvgg_a0"]


class Branches(nn.Module):
    """Convolutions of one input, each with its batch normalisation, and the identity's, summed.

    Args:
        c_in, c_out, kernel, stride, groups: of the convolutions; padding keeps the size.
        copies: how many K×K branches there are beside each other.
        scale: whether there is a 1×1 branch; the identity's is there where sizes allow it.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        copies: int = 1,
        *,
        scale: bool = True,
    ) -> None:
        super().__init__()
        kernels = [kernel] * copies + [1] * (scale and kernel > 1)
        self.branches = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(c_in, c_out, k, stride, k // 2, groups=groups, bias=False),
                nn.BatchNorm2d(c_out),
            )
            for k in kernels
        )
        self.identity = nn.BatchNorm2d(c_in) if c_in == c_out and stride == 1 else None

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = self.branches[0](x)
        for branch in self.branches[1:]:
            total = total + branch(x)
        if self.identity is not None:
            total = total + self.identity(x)
        return total.relu()


class Classifier(nn.Sequential):
    """Stages, the mean over positions, and a linear layer of 1000 classes."""

    def __init__(self, stages: Iterator[nn.Module], channels: int) -> None:
        head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1000))
        super().__init__(*stages, *head)


def repvgg_a0() -> nn.Module:
    """22 blocks of 3×3 + 1×1 + identity."""
    return Classifier(_repvgg((48, 48, 96, 192, 1280), (1, 2, 4, 14, 1)), 1280)


def _repvgg(widths: tuple[int, ...], depths: tuple[int, ...]) -> Iterator[nn.Module]:
    c_in = 3
    for width, depth in zip(widths, depths, strict=True):
        for k in range(depth):
            yield Branches(c_in, width, 3, stride=2 if k == 0 else 1)
            c_in = width


def mobileone_s0() -> nn.Module:
    """Depthwise and pointwise convolutions in turns, four branches of each beside each other."""
    return Classifier(_mobileone((48, 48, 128, 256, 1024), (0, 2, 8, 10, 1)), 1024)


def _mobileone(widths: tuple[int, ...], depths: tuple[int, ...]) -> Iterator[nn.Module]:
    yield Branches(3, widths[0], 3, stride=2)
    c_in = widths[0]
    for width, depth in zip(widths[1:], depths[1:], strict=True):
        for k in range(depth):
            yield Branches(c_in, c_in, 3, 2 if k == 0 else 1, c_in, copies=4)
            yield Branches(c_in, width, 1, copies=4)
            c_in = width


@torch.no_grad()
def prune_filters(network: nn.Module, share: float) -> None:
    """Zero a share of the filters of every convolution, with all that its normalisation adds.

    Structured pruning as it leaves a network behind: the weights of smallest norm are zero, the
    shapes are what they were.
    """
    for unit in _units(network):
        norms = unit.conv.weight.abs().sum((1, 2, 3))
        dead = norms.argsort()[: int(share * len(norms))]
        for tensor in (unit.conv.weight, unit.bn.weight, unit.bn.bias):
            tensor[dead] = 0


def _units(network: nn.Module) -> list[nn.Module]:
    """A convolution and its normalisation each, as pytorchcv names them."""
    return [m for m in network.modules() if hasattr(m, "conv") and hasattr(m, "bn")]


# ---------------------------------------------------------------- counting what pruning left


@torch.no_grad()
def remaining_macs(network: nn.Module, image: tuple[int, ...], multiple: int = 1) -> int:
    """The MACs of a pruned ResNet of pytorchcv with its zeroed filters taken out, at `image`.

    Counted from the weights alone, for a network with narrower layers and nothing else changed:
    a filter goes if it and its normalisation are zero. The results that a stage adds up must keep
    one width, so there a channel goes only if it is zero in all of them. Widths are rounded up to
    a multiple of `multiple`, if that is at most an eighth more and no more than there was.
    """
    positions = _positions(network, image)
    alive = {unit: _alive(unit) for unit in _units(network)}
    filled = {unit: _filled(channels, multiple) for unit, channels in alive.items()}
    stream = filled[network.features.init_block.conv]
    total = _macs(network.features.init_block.conv, torch.ones(image[1]), stream, positions)
    for stage in _stages(network):
        joined = _filled(_joined(stage, alive), multiple)
        for block in stage:
            total += _block_macs(block, stream, joined, filled, positions)
            stream = joined
    return total + int(stream.sum()) * network.output.out_features


def _stages(network: nn.Module) -> Iterator[nn.Module]:
    return (part for name, part in network.features.named_children() if name.startswith("stage"))


def _alive(unit: nn.Module) -> Tensor:
    """(C_out,): whether a filter gives anything but zero."""
    weights = (unit.conv.weight.flatten(1).abs().sum(1), unit.bn.weight.abs(), unit.bn.bias.abs())
    return sum(weights) > 0


def _filled(alive: Tensor, multiple: int) -> Tensor:
    """As many channels alive as the next multiple, where that is not much more."""
    more = -int(alive.sum()) % multiple
    if 8 * more > alive.sum() or more > (~alive).sum():
        return alive
    dead = torch.nonzero(~alive).flatten()
    return alive.index_fill(0, dead[:more], True)


def _joined(stage: nn.Module, alive: Mapping[nn.Module, Tensor]) -> Tensor:
    """(C,): whether any of what a stage adds up is alive in a channel."""
    added = [block.body.conv3 for block in stage]
    added += [block.identity_conv for block in stage if block.resize_identity]
    return torch.stack([alive[unit] for unit in added]).any(0)


def _block_macs(
    block: nn.Module,
    read: Tensor,
    written: Tensor,
    alive: Mapping[nn.Module, Tensor],
    positions: Mapping[nn.Module, int],
) -> int:
    """A bottleneck's MACs; `read` and `written` are the channels of its input and its output."""
    first, second, third = block.body.conv1, block.body.conv2, block.body.conv3
    widths = [(first, read, alive[first]), (second, alive[first], alive[second])]
    widths.append((third, alive[second], written))
    if block.resize_identity:
        widths.append((block.identity_conv, read, written))
    return sum(_macs(*width, positions) for width in widths)


def _macs(
    unit: nn.Module, read: Tensor, written: Tensor, positions: Mapping[nn.Module, int]
) -> int:
    height, width = unit.conv.kernel_size
    return int(read.sum()) * int(written.sum()) * height * width * positions[unit]


def _positions(network: nn.Module, image: tuple[int, ...]) -> dict[nn.Module, int]:
    """How many positions each convolution computes, seen by running the network."""
    found: dict[nn.Module, int] = {}
    hooks = [
        unit.register_forward_hook(lambda unit, _, y: found.update({unit: y[:, 0].numel()}))
        for unit in _units(network)
    ]
    network(torch.zeros(image))
    for hook in hooks:
        hook.remove()
    return found
