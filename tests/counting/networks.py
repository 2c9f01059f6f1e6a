"""What the conventions are compared on with the tools themselves: layers and architectures."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["NETWORKS"]


class Attention(nn.Module):
    """Tokens attend to themselves, by the fused operator or by two products."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.fused = fused

    def forward(self, x: Tensor) -> Tensor:
        if self.fused:
            return nn.functional.scaled_dot_product_attention(x, x, x)
        return torch.matmul(nn.functional.softmax(torch.matmul(x, x.transpose(-1, -2)), -1), x)


class Interpolate(nn.Module):
    """A resize by the function, as most decoders call it."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.mode = mode

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.interpolate(x, scale_factor=2, mode=self.mode)


class Logits(nn.Module):
    """A `transformers` model reduced to its logits."""

    def __init__(self, name: str, task: str, **options: Any) -> None:
        super().__init__()
        import transformers

        config = getattr(transformers, f"{name}Config")(**options)
        self.model = getattr(transformers, f"{name}For{task}")(config)

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.model(pixel_values=image).logits
        return logits


def pytorchcv(family: str, name: str) -> nn.Module:
    """One of pytorchcv's classifiers, for images of 224×224."""
    network: nn.Module = getattr(import_module(f"pytorchcv.models.{family}"), name)()
    return network


def vit_tiny(attention: str) -> nn.Module:
    """ViT-Ti/16."""
    return Logits(
        *("ViT", "ImageClassification"),
        hidden_size=192,
        num_attention_heads=3,
        intermediate_size=768,
        attn_implementation=attention,
    )


Shape = tuple[int, ...]
_MAPS, _TOKENS = (1, 6, 10, 14), (1, 17, 6)

NETWORKS: dict[str, tuple[Callable[[], nn.Module], Shape]] = {
    "conv": (lambda: nn.Conv2d(6, 8, 3), _MAPS),
    "depthwise": (lambda: nn.Conv2d(6, 6, 3, groups=6, bias=False), _MAPS),
    "transposed": (lambda: nn.ConvTranspose2d(6, 4, 2, stride=2), _MAPS),
    "linear": (lambda: nn.Linear(6, 9), _TOKENS),
    "attention": (lambda: Attention(fused=False), (1, 2, 17, 6)),
    "fused attention": (lambda: Attention(fused=True), (1, 2, 17, 6)),
    "batch norm": (lambda: nn.BatchNorm2d(6), _MAPS),
    "group norm": (lambda: nn.GroupNorm(2, 6), _MAPS),
    "instance norm": (lambda: nn.InstanceNorm2d(6, affine=True), _MAPS),
    "layer norm": (lambda: nn.LayerNorm(6), _TOKENS),
    "relu": (nn.ReLU, _MAPS),
    "relu6": (nn.ReLU6, _MAPS),
    "gelu": (nn.GELU, _MAPS),
    "silu": (nn.SiLU, _MAPS),
    "elu": (nn.ELU, _MAPS),
    "prelu": (nn.PReLU, _MAPS),
    "leaky relu": (nn.LeakyReLU, _MAPS),
    "sigmoid": (nn.Sigmoid, _MAPS),
    "max pool": (lambda: nn.MaxPool2d(2), _MAPS),
    "average pool": (lambda: nn.AvgPool2d(2), _MAPS),
    "global average pool": (lambda: nn.AdaptiveAvgPool2d(1), _MAPS),
    "adaptive average pool": (lambda: nn.AdaptiveAvgPool2d((5, 7)), _MAPS),
    "bilinear": (lambda: Interpolate("bilinear"), _MAPS),
    "nearest": (lambda: Interpolate("nearest"), _MAPS),
    "upsample": (lambda: nn.Upsample(scale_factor=2, mode="bilinear"), _MAPS),
    "resnet50": (lambda: pytorchcv("resnet", "resnet50"), (1, 3, 224, 224)),
    "mobilenetv2": (lambda: pytorchcv("mobilenetv2", "mobilenetv2_w1"), (1, 3, 224, 224)),
    "vgg16": (lambda: pytorchcv("vgg", "vgg16"), (1, 3, 224, 224)),
    "densenet121": (lambda: pytorchcv("densenet", "densenet121"), (1, 3, 224, 224)),
    "vit-tiny": (lambda: vit_tiny("eager"), (1, 3, 224, 224)),
    "vit-tiny, fused": (lambda: vit_tiny("sdpa"), (1, 3, 224, 224)),
    "segformer-b0": (
        lambda: Logits("Segformer", "SemanticSegmentation", num_labels=150),
        (1, 3, 256, 256),
    ),
}
"""Each with the shape of its input, one image."""
