"""Networks that upsample by copies and convolve: U-Nets, UNet++, an autoencoder's decoder, and the
tail of a super-resolution network.

Encoders come from `pytorchcv`. Widths are those of segmentation_models_pytorch (`smp`), of Stable
Diffusion's autoencoder as `diffusers` has it, and of ESRGAN (Wang et al. 2018, arXiv:1809.00219).
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["EsrganTail", "VaeDecoder", "unet_mobilenetv2", "unet_resnet50", "unetplusplus_resnet50"]

_DECODER = (256, 128, 64, 32, 16)  # channels, from the coarsest on


def _double(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")


def _unit(c_in: int, c_out: int) -> nn.Module:
    convolution = nn.Conv2d(c_in, c_out, 3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(c_out), nn.ReLU())


class Merge(nn.Module):
    """Upsample, concatenate with what is as large, and two 3×3s."""

    def __init__(self, c_in: int, c_skip: int, c_out: int) -> None:
        super().__init__()
        self.first, self.second = _unit(c_in + c_skip, c_out), _unit(c_out, c_out)

    def forward(self, x: Tensor, *skips: Tensor) -> Tensor:
        x = _double(x)
        if skips:
            x = torch.cat([x, *skips], dim=1)
        return self.second(self.first(x))


class MobileNetEncoder(nn.Module):
    """MobileNetV2 (Sandler et al. 2018): maps at strides 2 to 32, the coarsest first."""

    widths = (1280, 96, 32, 24, 16)

    def __init__(self) -> None:
        super().__init__()
        model = import_module("pytorchcv.models.mobilenetv2").mobilenetv2_w1()
        first, *stages, last, _ = model.features.children()
        self.parts = nn.ModuleList([nn.Sequential(first, stages[0]), *stages[1:4]])
        self.parts.append(nn.Sequential(*stages[4:], last))

    def forward(self, x: Tensor) -> list[Tensor]:
        return _each(self.parts, x)


class ResNetEncoder(nn.Module):
    """ResNet-50 (He et al. 2015), strides in its 3×3s: maps at strides 2 to 32, coarsest first."""

    widths = (2048, 1024, 512, 256, 64)

    def __init__(self) -> None:
        super().__init__()
        model = import_module("pytorchcv.models.resnet").resnet50b()
        first, *stages, _ = model.features.children()
        self.parts = nn.ModuleList([first.conv, nn.Sequential(first.pool, stages[0]), *stages[1:]])

    def forward(self, x: Tensor) -> list[Tensor]:
        return _each(self.parts, x)


def _each(parts: nn.ModuleList, x: Tensor) -> list[Tensor]:
    maps: list[Tensor] = []
    for part in parts:
        x = part(x)
        maps.insert(0, x)
    return maps


class UNet(nn.Module):
    """Ronneberger et al. 2015, with the encoder and the widths of smp; one class."""

    def __init__(self, encoder: nn.Module, widths: Sequence[int]) -> None:
        super().__init__()
        self.encoder = encoder
        into, skips = (widths[0], *_DECODER[:-1]), (*widths[1:], 0)
        self.blocks = nn.ModuleList(map(Merge, into, skips, _DECODER))
        self.head = nn.Conv2d(_DECODER[-1], 1, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        x, *skips = self.encoder(image)
        *blocks, last = self.blocks
        for block, skip in zip(blocks, skips, strict=True):
            x = block(x, skip)
        return self.head(last(x))


class UNetPlusPlus(nn.Module):
    """Zhou et al. 2018: between encoder and decoder a triangle of nodes, with the widths of smp.

    Node (d, l) upsamples what is to its left, node (d, l − 1) or the encoder's map d, and joins it
    with the nodes below it, (d + 1, l) to (l, l), and the encoder's map l + 1.
    """

    def __init__(self, encoder: nn.Module, widths: Sequence[int]) -> None:
        super().__init__()
        self.encoder = encoder
        self.nodes = nn.ModuleDict()
        for level in range(4):
            skip = widths[level + 1]
            for depth in range(level + 1):
                left, out = widths[level], skip
                if depth == 0:
                    left, out = (widths[0], *_DECODER)[level], _DECODER[level]
                self.nodes[f"{depth} {level}"] = Merge(left, skip * (level + 1 - depth), out)
        self.last = Merge(_DECODER[3], 0, _DECODER[4])
        self.head = nn.Conv2d(_DECODER[4], 1, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        maps = self.encoder(image)
        made: dict[tuple[int, int], Tensor] = {}
        for level in range(4):
            for depth in range(level, -1, -1):
                left = maps[depth] if depth == level else made[depth, level - 1]
                below = [made[row, level] for row in range(depth + 1, level + 1)]
                node = self.nodes[f"{depth} {level}"]
                made[depth, level] = node(left, *below, maps[level + 1])
        return self.head(self.last(made[0, 3]))


def unet_mobilenetv2() -> nn.Module:
    """A U-Net on MobileNetV2."""
    return UNet(MobileNetEncoder(), MobileNetEncoder.widths)


def unet_resnet50() -> nn.Module:
    """A U-Net on ResNet-50."""
    return UNet(ResNetEncoder(), ResNetEncoder.widths)


def unetplusplus_resnet50() -> nn.Module:
    """A UNet++ on ResNet-50."""
    return UNetPlusPlus(ResNetEncoder(), ResNetEncoder.widths)


# ---------------------------------------------------------------- an autoencoder's decoder


def _norm(channels: int) -> nn.Module:
    return nn.GroupNorm(32, channels, eps=1e-6)


class Residual(nn.Module):
    """Twice a normalisation, SiLU and a 3×3, beside the identity or a 1×1."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            _norm(c_in), nn.SiLU(), nn.Conv2d(c_in, c_out, 3, padding=1),
            _norm(c_out), nn.SiLU(), nn.Conv2d(c_out, c_out, 3, padding=1),
        )  # fmt: skip
        self.shortcut = nn.Identity() if c_in == c_out else nn.Conv2d(c_in, c_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.branch(x)


class Attention(nn.Module):
    """One head over all positions, beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = _norm(channels)
        self.query, self.key = nn.Linear(channels, channels), nn.Linear(channels, channels)
        self.value, self.out = nn.Linear(channels, channels), nn.Linear(channels, channels)
        self.scale = channels**-0.5

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        scores = self.query(tokens) @ self.key(tokens).transpose(1, 2) * self.scale
        mixed = self.out(scores.softmax(dim=-1) @ self.value(tokens))
        return x + mixed.transpose(1, 2).reshape(x.shape)


class Upsample(nn.Module):
    """Doubled, then a 3×3."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.convolution(_double(x))


class VaeDecoder(nn.Sequential):
    """The decoder of Stable Diffusion's autoencoder (Rombach et al. 2022), 4 latent channels."""

    def __init__(self, widths: Sequence[int] = (512, 512, 256, 128)) -> None:
        top = widths[0]
        parts = [nn.Conv2d(4, 4, 1), nn.Conv2d(4, top, 3, padding=1)]
        parts += [Residual(top, top), Attention(top), Residual(top, top)]
        for c_in, c_out in zip((top, *widths[:-1]), widths, strict=True):
            parts += [Residual(c_in, c_out), Residual(c_out, c_out), Residual(c_out, c_out)]
            parts += [Upsample(c_out)]
        last = widths[-1]
        parts[-1:] = [_norm(last), nn.SiLU(), nn.Conv2d(last, 3, 3, padding=1)]
        super().__init__(*parts)


class EsrganTail(nn.Sequential):
    """What ESRGAN does behind its residual blocks: twice doubled, of 64 channels."""

    def __init__(self, channels: int = 64) -> None:
        relu = nn.LeakyReLU(0.2)
        double = (Upsample(channels), relu, Upsample(channels), relu)
        last = (nn.Conv2d(channels, channels, 3, padding=1), relu)
        super().__init__(*double, *last, nn.Conv2d(channels, 3, 3, padding=1))
