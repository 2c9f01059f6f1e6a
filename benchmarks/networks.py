"""The networks that the claims are made on, as PyTorch modules with random weights.

SegFormer, ViT and DeiT from `transformers`; DenseNet, HRNet, MobileNetV2, ResNet and ShuffleNetV2
from `pytorchcv`; GoogLeNet of `onebyone.nn`'s blocks; the heads, the YOLO-style neck and LoRA are
defined here. Networks whose branches wait to be fused, or whose filters were pruned, are in
`branches.py`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from importlib import import_module

import torch
from torch import Tensor, nn
from torch.nn import functional

# ---------------------------------------------------------------- parts


def _pytorchcv(family: str, name: str) -> nn.Module:
    # Not by pytorchcv.model_provider: that imports every family, and some want torchvision.
    return getattr(import_module(f"pytorchcv.models.{family}"), name)()


def unit(
    c_in: int, c_out: int, kernel: int = 1, stride: int = 1, activation: nn.Module | None = None
) -> nn.Module:
    """Convolution without bias, batch normalisation, activation (ReLU unless given); NCHW."""
    convolution = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(c_out), activation or nn.ReLU())


silu_unit = functools.partial(unit, activation=nn.SiLU())


class LowRank(nn.Module):
    """LoRA as it is trained, unmerged: y = W x + b + scale · B (A x) (Hu et al. 2021)."""

    def __init__(self, linear: nn.Linear, rank: int, scale: float) -> None:
        super().__init__()
        self.linear = linear
        self.down = nn.Linear(linear.in_features, rank, bias=False)
        self.up = nn.Linear(rank, linear.out_features, bias=False)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) + self.scale * self.up(self.down(x))


class FirstOutput(nn.Module):
    """A model that returns several outputs, reduced to the first."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        return self.model(image)[0]


class HRNetConcat(nn.Module):
    """HRNetV2 with its segmentation head: all branches at the largest size, concat, 1×1, 1×1.

    Sun et al., "High-resolution representations for labeling pixels and regions" (2019).
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        features = _pytorchcv("hrnet", "hrnetv2_w18").features
        self.backbone = nn.Sequential(*list(features.children())[:4])
        channels = 18 + 36 + 72 + 144
        self.mix = nn.Sequential(
            nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels), nn.ReLU()
        )
        self.classify = nn.Conv2d(channels, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        first, *others = self.backbone(image)
        size = first.shape[2:]
        resized = [functional.interpolate(x, size=size, mode="bilinear") for x in others]
        return self.classify(self.mix(torch.cat([first, *resized], dim=1)))


class PSPNet(nn.Module):
    """Pyramid scene parsing whose fuse is a 1×1: pooled branches and input, concat, 1×1 to 512.

    Zhao et al. 2017 fuse by a 3×3; the 1×1 is segmentation_models_pytorch's variant.
    """

    def __init__(self, backbone: nn.Module, channels: int, classes: int) -> None:
        super().__init__()
        from pytorchcv.models.pspnet import PyramidPooling

        self.backbone = backbone
        self.pyramid = PyramidPooling(channels, upscale_out_size=None)
        self.fuse = unit(2 * channels, 512)
        self.classify = nn.Conv2d(512, classes, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        y = self.classify(self.fuse(self.pyramid(self.backbone(image))))
        return functional.interpolate(y, size=image.shape[2:], mode="bilinear", align_corners=True)


class CrossStage(nn.Module):
    """YOLOv5's C3: two 1×1s read the same input, one goes through a bottleneck, concat, 1×1."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        half = c_out // 2
        self.through = silu_unit(c_in, half)
        self.around = silu_unit(c_in, half)
        self.bottleneck = nn.Sequential(silu_unit(half, half), silu_unit(half, half, 3))
        self.join = silu_unit(2 * half, c_out)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.cat([self.bottleneck(self.through(x)), self.around(x)], dim=1)
        return self.join(y)


class YoloNeck(nn.Module):
    """The path aggregation neck of YOLOv5s: down from p5 to p3 by upsample and concat, and back.

    p3 (N, 128, 4h, 4w), p4 (N, 256, 2h, 2w), p5 (N, 512, h, w).
    """

    def __init__(self) -> None:
        super().__init__()
        self.lateral5 = silu_unit(512, 256)
        self.merge4 = CrossStage(512, 256)
        self.lateral4 = silu_unit(256, 128)
        self.merge3 = CrossStage(256, 128)
        self.down3 = silu_unit(128, 128, 3, 2)
        self.out4 = CrossStage(256, 256)
        self.down4 = silu_unit(256, 256, 3, 2)
        self.out5 = CrossStage(512, 512)

    def forward(self, p3: Tensor, p4: Tensor, p5: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        top = self.lateral5(p5)
        middle = self.lateral4(self.merge4(torch.cat([_double(top), p4], dim=1)))
        small = self.merge3(torch.cat([_double(middle), p3], dim=1))
        medium = self.out4(torch.cat([self.down3(small), middle], dim=1))
        return small, medium, self.out5(torch.cat([self.down4(medium), top], dim=1))


def _double(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")


# ---------------------------------------------------------------- weights


def randomise(network: nn.Module) -> None:
    """Give each normalisation an affine, and each batch normalisation statistics, of its own."""
    for module in network.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.LayerNorm)):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.get_buffer("running_mean"), std=0.2)
            nn.init.uniform_(module.get_buffer("running_var"), 0.5, 1.5)


# ---------------------------------------------------------------- builders


def segformer(depths: Sequence[int], widths: Sequence[int], decoder: int) -> nn.Module:
    """SegFormer, sizes of its paper's table 6 (Xie et al. 2021), for the 150 classes of ADE20K."""
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    config = SegformerConfig(
        depths=list(depths), hidden_sizes=list(widths), decoder_hidden_size=decoder, num_labels=150
    )
    return FirstOutput(SegformerForSemanticSegmentation(config))


def classifier(family: str, name: str) -> nn.Module:
    """A classifier of pytorchcv; its 7×7 pool is made global, the same at 224, for other sizes."""
    network = _pytorchcv(family, name)
    network.features.final_pool = nn.AdaptiveAvgPool2d(1)
    return network


def lora_vit(rank: int = 16) -> nn.Module:
    """ViT-S/16 with unmerged LoRA on the query, key and value of all its 12 layers."""
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=384,
        num_attention_heads=6,
        intermediate_size=1536,
        num_labels=1000,
        attn_implementation="eager",
    )
    network = ViTForImageClassification(config)
    for layer in [m for m in network.modules() if hasattr(m, "q_proj")]:
        for part in ("q_proj", "k_proj", "v_proj"):
            setattr(layer, part, LowRank(getattr(layer, part), rank, scale=2.0))
    return FirstOutput(network)


def deit_small() -> nn.Module:
    """DeiT-S/16 (Touvron et al. 2021) with a distillation token, read at its class token alone."""
    from transformers import DeiTConfig, DeiTForImageClassification

    config = DeiTConfig(
        hidden_size=384, num_attention_heads=6, intermediate_size=1536, num_labels=1000
    )
    return FirstOutput(DeiTForImageClassification(config))


def pspnet_shallow() -> nn.Module:
    """Encoder: ResNet-50 up to its second stage (512 channels at stride 8), as in s_m_p."""
    stages = list(_pytorchcv("resnet", "resnet50").features.children())[:3]
    return PSPNet(nn.Sequential(*stages), channels=512, classes=21)


def pspnet_dilated() -> nn.Module:
    """Encoder: all of pytorchcv's dilated ResNet(D)-50 (2048 channels at stride 8)."""
    backbone = _pytorchcv("pspnet", "pspnet_resnetd50b_voc").backbone
    return PSPNet(FirstOutput(backbone), channels=2048, classes=21)


def bottleneck_chain() -> nn.Module:
    """1×1 64→128→64 with no activation between: 2·64·128 MACs a position, 64·64 when composed."""
    return nn.Sequential(nn.Conv2d(64, 128, 1), nn.Conv2d(128, 64, 1))


# Channels of the 1×1; of the 3×3's reduction and itself; of the 5×5's; of the 1×1 after the pool.
# Szegedy et al. 2014, table 1; None is a max pooling that halves height and width.
_INCEPTIONS = (
    (64, (96, 128), (16, 32), 32),
    (128, (128, 192), (32, 96), 64),
    None,
    (192, (96, 208), (16, 48), 64),
    (160, (112, 224), (24, 64), 64),
    (128, (128, 256), (24, 64), 64),
    (112, (144, 288), (32, 64), 64),
    (256, (160, 320), (32, 128), 128),
    None,
    (256, (160, 320), (32, 128), 128),
    (384, (192, 384), (48, 128), 128),
)


def googlenet() -> nn.Module:
    """GoogLeNet with batch normalisation, of nine inception blocks, for 1000 classes."""
    stem = (unit(3, 64, 7, 2), _halve(), unit(64, 64), unit(64, 192, 3), _halve())
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1024, 1000))
    return nn.Sequential(*stem, *_inceptions(192), *head)


def _inceptions(channels: int) -> Iterator[nn.Module]:
    from onebyone.nn.inception import InceptionBlock

    for widths in _INCEPTIONS:
        if widths is None:
            yield _halve()
        else:
            block = InceptionBlock(channels, *widths)
            channels = block.out_channels
            yield block


def _halve() -> nn.Module:
    return nn.MaxPool2d(3, stride=2, ceil_mode=True)
