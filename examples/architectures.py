"""ResNet-50, MobileNetV2 and SqueezeNet from onebyone's blocks, against pytorchcv's.

    python examples/architectures.py

builds each of both, gives both the same random weights and statistics, and prints how many
parameters they have and by how much the outputs differ.

Source: He et al., "Deep Residual Learning for Image Recognition", 2015, arXiv:1512.03385; Sandler
et al., "MobileNetV2", 2018, arXiv:1801.04381; Iandola et al., "SqueezeNet", 2016, arXiv:1602.07360.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Literal

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from onebyone.nn.bottleneck import Bottleneck
from onebyone.nn.fire import FireBlock
from onebyone.nn.inverted import InvertedResidual
from onebyone.nn.pointwise import Pointwise

# Odd, not square, and large enough for five halvings.
SHAPE = (2, 3, 97, 71)
# ResNet-50: blocks and channels in the middle of each stage. MobileNetV2: expansion, channels,
# blocks, stride of each stage. SqueezeNet: the fire blocks between two poolings, by their outputs.
RESNET = ((3, 64), (4, 128), (6, 256), (3, 512))
MOBILENET = (
    *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)),
    *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
)
SQUEEZENET = {
    "1.0": (7, 96, ((128, 128, 256), (256, 384, 384, 512), (512,))),
    "1.1": (3, 64, ((128, 128), (256, 256), (384, 384, 512, 512))),
}


def resnet50(classes: int = 1000, stride_in: Literal["conv1", "conv2"] = "conv2") -> nn.Sequential:
    """v1.5 (stride in "conv2") or as published ("conv1"); the state dict is torchvision's."""
    parts: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=nn.Conv2d(3, 64, 7, 2, 3, bias=False),
        bn1=nn.BatchNorm2d(64),
        relu=nn.ReLU(),
        maxpool=nn.MaxPool2d(3, 2, 1),
    )
    width = 64
    for stage, (blocks, middle) in enumerate(RESNET, 1):
        layer = parts[f"layer{stage}"] = nn.Sequential()
        for block in range(blocks):
            stride = 2 if stage > 1 and block == 0 else 1
            layer.append(Bottleneck(width, middle, 4 * middle, stride, stride_in=stride_in))
            width = 4 * middle
    parts |= {"avgpool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}
    parts["fc"] = Pointwise(width, classes, channel_dim=-1)
    return nn.Sequential(parts)


def mobilenet_v2(classes: int = 1000) -> nn.Sequential:
    """Width 1.0; as in pytorchcv's "mobilenetv2b_w1" the last 1×1 has no bias."""
    layers = normalised(nn.Conv2d(3, 32, 3, 2, 1, bias=False), 32)
    width = 32
    for expansion, channels, blocks, first in MOBILENET:
        for block in range(blocks):
            stride = first if block == 0 else 1
            layers.append(
                InvertedResidual(width, channels, expansion, stride=stride, activation=nn.ReLU6)
            )
            width = channels
    layers += normalised(Pointwise(width, 1280, bias=False), 1280)
    head = (nn.AdaptiveAvgPool2d(1), Pointwise(1280, classes, bias=False), nn.Flatten())
    return nn.Sequential(*layers, *head)


def normalised(layer: nn.Module, channels: int) -> list[nn.Module]:
    """A convolution of MobileNetV2 with what follows it."""
    return [layer, nn.BatchNorm2d(channels), nn.ReLU6()]


def squeezenet(classes: int = 1000, version: Literal["1.0", "1.1"] = "1.1") -> nn.Sequential:
    """The published network, or version 1.1 with fewer products."""
    kernel, width, stages = SQUEEZENET[version]
    layers: list[nn.Module] = [nn.Conv2d(3, width, kernel, 2), nn.ReLU()]
    for stage in stages:
        layers.append(nn.MaxPool2d(3, 2, ceil_mode=True))
        for channels in stage:
            layers.append(FireBlock(width, channels // 8, channels // 2, channels // 2))
            width = channels
    head = (nn.Dropout(), Pointwise(width, classes), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    return nn.Sequential(*layers, *head, nn.Flatten())


def load(ours: nn.Module, theirs: nn.Module) -> None:
    """Copy the weights and statistics of `theirs` into `ours`; either may be either.

    They are matched by their order, which here is that of the layers in both, and must agree in
    the last part of their names and in shape, but for axes of size one.

    Raises:
        ValueError: they do not fit; `ours` is then as it was.
    """
    source, target = theirs.state_dict(), ours.state_dict()
    pairs = list(zip(target.items(), source.items(), strict=True))
    for (name, wanted), (other, got) in pairs:
        if name.split(".")[-1] != other.split(".")[-1] or squeezed(wanted) != squeezed(got):
            raise ValueError(
                f"got {other} {tuple(got.shape)}, wanted {name} {tuple(wanted.shape)}: "
                "these are two architectures"
            )
    ours.load_state_dict({name: got.reshape(wanted.shape) for (name, wanted), (_, got) in pairs})


def squeezed(weight: Tensor) -> tuple[int, ...]:
    """A shape without the axes of size one at its end."""
    shape = tuple(weight.shape)
    while shape[-1:] == (1,):
        shape = shape[:-1]
    return shape


def randomise(network: nn.Module, seed: int = 0) -> nn.Module:
    """Draw the affine part and the statistics of each norm, which start as an identity."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for spread in (module.weight, module.running_var):
                nn.init.uniform_(spread, 0.5, 1.5, generator)
            for centre in (module.bias, module.running_mean):
                nn.init.normal_(centre, 0.0, 0.1, generator)
    return network


def pytorchcv(family: str, name: str) -> nn.Module:
    """One of pytorchcv's classifiers, with a last pooling that takes any size of image."""
    # Not by pytorchcv.model_provider, which would need torchvision.
    network: nn.Module = getattr(import_module(f"pytorchcv.models.{family}"), name)()
    for part in (network.features, network.output):
        if hasattr(part, "final_pool"):
            part.final_pool = nn.AdaptiveAvgPool2d(1)
    return network


# Ours, pytorchcv's family and name.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], str, str]] = {
    "ResNet-50": (partial(resnet50, stride_in="conv1"), "resnet", "resnet50"),
    "ResNet-50 v1.5": (resnet50, "resnet", "resnet50b"),
    "MobileNetV2": (mobilenet_v2, "mobilenetv2", "mobilenetv2b_w1"),
    "SqueezeNet 1.0": (partial(squeezenet, version="1.0"), "squeezenet", "squeezenet_v1_0"),
    "SqueezeNet 1.1": (squeezenet, "squeezenet", "squeezenet_v1_1"),
}


def pair(name: str) -> tuple[nn.Module, nn.Module]:
    """Our network and theirs, in evaluation, both with the weights drawn for theirs."""
    build, family, published = NETWORKS[name]
    ours, theirs = build().eval(), randomise(pytorchcv(family, published)).eval()
    load(ours, theirs)
    return ours, theirs


def parameters(network: nn.Module) -> int:
    """How many numbers are learned."""
    return sum(parameter.numel() for parameter in network.parameters())


@torch.no_grad()
def main() -> None:
    """Print the table."""
    table = Table(title="the same weights in both, on an input " + "×".join(map(str, SHAPE)))
    table.add_column("network", no_wrap=True)
    for column in ("parameters", "pytorchcv's", "largest output", "difference"):
        table.add_column(column, justify="right", no_wrap=True)
    for name in NETWORKS:
        torch.manual_seed(0)
        ours, theirs = pair(name)
        x = torch.randn(SHAPE)
        y, wanted = ours(x), theirs(x)
        sizes = (f"{parameters(network):,}" for network in (ours, theirs))
        difference = (y - wanted).abs().max()
        table.add_row(name, *sizes, f"{wanted.abs().max():.3g}", f"{difference:.3g}")
    Console().print(table)


if __name__ == "__main__":
    main()
