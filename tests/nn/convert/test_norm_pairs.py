"""Which norms can be fused, in blocks of ours and of others."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from onebyone.errors import UsageError
from onebyone.nn.bottleneck import Bottleneck
from onebyone.nn.convert.norm import fuse_norms
from onebyone.nn.convert.norm_pairs import graphs, norm_pairs
from onebyone.nn.inverted import InvertedResidual
from onebyone.nn.points import PointNetClassifier
from onebyone.nn.pointwise import Pointwise


def settled(module: nn.Module) -> nn.Module:
    """In float64 and eval mode, with the statistics of a trained network."""
    torch.manual_seed(0)
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
            nn.init.uniform_(part.weight, 0.5, 2)
            nn.init.normal_(part.bias)
    return module.eval().double()


def norms(module: nn.Module) -> list[str]:
    kinds = nn.modules.batchnorm._BatchNorm
    return [name for name, part in module.named_modules() if isinstance(part, kinds)]


def equal(net: nn.Module, fused: nn.Module, x: Tensor) -> bool:
    """Whether the outputs differ by what float64 rounds: 2⁻²⁹ of what float32 does, 16 at most.

    Rounding errors are proportional to the unit roundoff, to first order; 16 as docs/numerics.md.
    """
    with torch.no_grad():
        exact, noisy, y = net(x.double()), copy.deepcopy(net).float()(x), fused(x.double())
    if isinstance(exact, tuple):
        exact, noisy, y = exact[0], noisy[0], y[0]
    return bool((y - exact).abs().max() <= 16 * 2.0**-29 * (noisy - exact).abs().max())


@pytest.mark.parametrize(
    ("block", "left"),
    [
        (Bottleneck(8, 4, 16, 2), []),
        (Bottleneck(8, 4, 16, preactivation=True), ["bn1"]),
        (InvertedResidual(8, 8, 2, squeeze_excite=2), []),
    ],
)
def test_blocks_of_ours_lose_each_norm_after_a_convolution(block, left: list[str]) -> None:
    net = settled(nn.Sequential(block))
    fused = fuse_norms(net)
    assert norms(fused) == [f"0.{name}" for name in left]
    assert equal(net, fused, torch.randn(2, 8, 9, 11))


def test_blocks_of_ours_that_look_at_sizes_have_one_graph() -> None:
    net = settled(nn.Sequential(PointNetClassifier(5)))
    assert len(graphs(net)) == 1
    fused = fuse_norms(net)
    # What stays are the norms after linear layers, of one vector a cloud.
    left = norms(fused)
    assert 0 < len(left) < len(norms(net)) / 2
    assert all("head" in name for name in left)
    assert equal(net, fused, torch.randn(2, 3, 50))


class Checked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(Pointwise(3, 4), nn.BatchNorm2d(4))

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] != 3:
            raise ValueError
        return self.inner(x)


def test_a_block_of_others_that_looks_at_sizes_is_refused() -> None:
    """Nobody knows whether it calls its parts as wholes."""
    with pytest.raises(UsageError, match="got Checked, whose forward cannot be traced"):
        norm_pairs(Checked().eval())
    assert norm_pairs(Checked()) == []


def test_pairs_are_the_modules_themselves() -> None:
    net = nn.Sequential(nn.Sequential(Pointwise(3, 4), nn.BatchNorm2d(4)), nn.ReLU()).eval()
    (pair,) = norm_pairs(net)
    assert pair == (net[0][0], net[0][1])
