"""The real architectures that the claims are made on, and their export to ONNX.

    python benchmarks/models.py --list
    python benchmarks/models.py --export segformer-b0 --exporter dynamo --dynamic -o b0.onnx

Each architecture is one row of `ARCHITECTURES`: how it is built, the shape it is counted and timed
at, which axes can be dynamic, what is claimed for it, and where an exporter itself cannot follow.
Weights are random (fixed seed); normalisations get statistics and affines that are not trivial, so
that a rewrite which forgot one of them would be seen.

Definitions: SegFormer and ViT from `transformers`; DenseNet, HRNet, MobileNetV2 and ResNet from
`pytorchcv`; the heads, the YOLO-style neck and LoRA are defined here. Needs those and `torch`.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

SEED = 20261121
EXPORTERS = ("dynamo", "torchscript")
AXES = {0: "batch", 2: "height", 3: "width"}
TORCHSCRIPT_OPSET = 17
DEFAULT_CACHE = Path(tempfile.gettempdir()) / "onebyone-benchmarks"

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


# ---------------------------------------------------------------- the table


@dataclass(frozen=True)
class Claim:
    """What `onebyone optimize` is claimed to reach on a row.

    `share` is the least fraction of the MACs that is saved, `macs` the least number of them;
    `onnxruntime` and `openvino` are the least ratios of the original's time to the optimised one's
    (more than it, not equal, where `faster`), None where no time is claimed. `seconds` is the most
    that the tool itself takes; where it is given, the tool's memory is claimed too.
    """

    text: str
    share: float = 0.0
    macs: int = 0
    onnxruntime: float | None = None
    openvino: float | None = None
    faster: bool = False
    seconds: float | None = None

    def met(self, before: int, after: int) -> bool:
        """Whether MACs `before` and `after` keep the claim; a share to a tenth of a percent.

        >>> Claim("a quarter", share=0.25).met(400, 300), Claim("all 150", macs=150).met(400, 300)
        (True, False)
        """
        return round(1 - after / before, 3) >= self.share and before - after >= self.macs

    def ratio_met(self, engine: str, ratio: float) -> bool | None:
        """Whether a time ratio on "onnxruntime" or "openvino" keeps it; None: none is claimed."""
        least = {"onnxruntime": self.onnxruntime, "openvino": self.openvino}[engine]
        if least is None:
            return None
        return ratio > least if self.faster else ratio >= least


@dataclass(frozen=True)
class Architecture:
    """One row: `inputs` are the names and NCHW shapes that its MACs and times are taken at.

    `free` are the axes exported as dynamic; `limits` names, by exporter, the fewer axes that this
    exporter (not onebyone) can leave free. `note` says why, wherever not all three are.
    """

    name: str
    build: Callable[[], nn.Module]
    inputs: Mapping[str, tuple[int, ...]]
    claim: Claim
    free: tuple[str, ...] = ("batch", "height", "width")
    limits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    note: str = ""

    def free_for(self, exporter: str) -> tuple[str, ...]:
        """The axes that `exporter` leaves free in a dynamic model."""
        return self.limits.get(exporter, self.free)


def _image(size: int) -> dict[str, tuple[int, ...]]:
    return {"image": (1, 3, size, size)}


_NOTHING = Claim("0", onnxruntime=0.98, openvino=0.98)
_POOL_LIMIT = {"torchscript": ("batch",)}
_POOL_NOTE = (
    "torchscript has no adaptive pool of an unknown height and width; "
    "dynamo writes the windows of the exported size, so its file is the network only there"
)
_B2_WIDTHS = (64, 128, 320, 512)

# 12 layers × (query, key, value) × (A and B), each 384×16, on 196 patches and the class token.
_LORA_MACS = 12 * 3 * 2 * 197 * 384 * 16

# Four branches of 512 channels meet the 512 of the fuse on 60×60 positions; g×g would do.
_PYRAMID_UPSAMPLED = 512 * 512 * sum(60 * 60 - g * g for g in (1, 2, 3, 6))

# The two upsampled maps meet both 1×1s of a C3: 256→2·128 at 40×40 and 128→2·64 at 80×80.
_NECK_UPSAMPLED = 256 * 256 * 40 * 40 + 128 * 128 * 80 * 80

_ROWS = (
    Architecture(
        "segformer-b0",
        lambda: segformer((2, 2, 2, 2), (32, 64, 160, 256), 256),
        _image(512),
        Claim("51%", 0.51, onnxruntime=1.7, openvino=1.7),
    ),
    Architecture(
        "segformer-b2",
        lambda: segformer((3, 4, 6, 3), _B2_WIDTHS, 768),
        _image(512),
        Claim("62%", 0.62, onnxruntime=2.2, openvino=2.2),
    ),
    Architecture(
        "segformer-b5",
        lambda: segformer((3, 6, 40, 3), _B2_WIDTHS, 768),
        _image(512),
        Claim("34.7%", 0.347, seconds=40.0),
    ),
    Architecture(
        "densenet121",
        lambda: classifier("densenet", "densenet121"),
        _image(224),
        Claim("8.2%", 0.082, onnxruntime=1.0, openvino=1.0, faster=True, seconds=10.0),
    ),
    Architecture(
        "hrnet-w18",
        lambda: HRNetConcat(19),
        _image(512),
        Claim("5.6%", 0.056, onnxruntime=1.0, openvino=1.0, faster=True),
    ),
    Architecture(
        "pspnet",
        pspnet_shallow,
        _image(480),
        Claim("9%", 0.09, onnxruntime=1.0, openvino=1.0, faster=True),
        limits=_POOL_LIMIT,
        note=_POOL_NOTE,
    ),
    Architecture(
        "pspnet-dilated",
        pspnet_dilated,
        _image(480),
        Claim("upsampled half of the fuse (3.7%)", macs=_PYRAMID_UPSAMPLED),
        limits=_POOL_LIMIT,
        note=_POOL_NOTE,
    ),
    Architecture(
        "yolo-neck",
        YoloNeck,
        {"p3": (1, 128, 80, 80), "p4": (1, 256, 40, 40), "p5": (1, 512, 20, 20)},
        Claim("upsampled part's 1×1 at a quarter", macs=_NECK_UPSAMPLED * 3 // 4),
    ),
    Architecture(
        "lora-vit",
        lora_vit,
        _image(224),
        Claim("all LoRA MACs", macs=_LORA_MACS),
        free=("batch",),
        note="its position embeddings are for one height and width",
    ),
    Architecture(
        "chain-64-128-64", bottleneck_chain, {"image": (1, 64, 56, 48)}, Claim("4× to 1×", 0.75)
    ),
    Architecture(
        "mobilenetv2", lambda: classifier("mobilenetv2", "mobilenetv2_w1"), _image(224), _NOTHING
    ),
    Architecture("resnet50", lambda: classifier("resnet", "resnet50"), _image(224), _NOTHING),
)
ARCHITECTURES = {row.name: row for row in _ROWS}

# ---------------------------------------------------------------- building and exporting


def randomise(network: nn.Module) -> None:
    """Give each normalisation an affine, and each batch normalisation statistics, of its own."""
    for module in network.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.LayerNorm)):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.get_buffer("running_mean"), std=0.2)
            nn.init.uniform_(module.get_buffer("running_var"), 0.5, 1.5)


def network(row: Architecture) -> nn.Module:
    """The row's network in evaluation mode, with the same weights at each call."""
    torch.manual_seed(SEED)
    with _quiet():
        built = row.build()
    randomise(built)
    return built.eval()


def export(name: str, exporter: str, dynamic: bool, folder: str | os.PathLike[str]) -> Path:
    """Export a row to `folder`, once: an existing file of the same torch is kept."""
    row = ARCHITECTURES[name]
    kind = "dynamic" if dynamic else "fixed"
    path = Path(folder) / f"{name}-{exporter}-{kind}-torch{torch.__version__.split('+')[0]}.onnx"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".partial")
        export_row(row, exporter, dynamic, beside)
        os.replace(beside, path)
    return path


def export_row(row: Architecture, exporter: str, dynamic: bool, path: Path) -> None:
    """Write one row to `path`; with `dynamic`, its axes `free_for(exporter)` are symbolic there."""
    free = row.free_for(exporter) if dynamic else ()
    axes = {axis: label for axis, label in AXES.items() if label in free}
    options = _dynamo_options if exporter == "dynamo" else _torchscript_options
    # torch.export takes a batch of one for a constant.
    batch = 2 if free and exporter == "dynamo" else 1
    tensors = tuple(torch.randn(batch, *shape[1:]) for shape in row.inputs.values())
    built = network(row)
    with torch.no_grad(), _quiet():
        names = list(row.inputs)
        torch.onnx.export(built, tensors, str(path), input_names=names, **options(names, axes))
    _require_symbolic(row, axes, path)


def _dynamo_options(names: Sequence[str], axes: Mapping[int, str]) -> dict[str, Any]:
    free = dict.fromkeys(axes, torch.export.Dim.DYNAMIC)
    shapes = tuple(free for _ in names) if axes else None
    return {"dynamo": True, "verbose": False, "external_data": False, "dynamic_shapes": shapes}


def _torchscript_options(names: Sequence[str], axes: Mapping[int, str]) -> dict[str, Any]:
    free = {name: {axis: f"{name}_{label}" for axis, label in axes.items()} for name in names}
    return {"dynamo": False, "opset_version": TORCHSCRIPT_OPSET, "dynamic_axes": free or None}


def _require_symbolic(row: Architecture, axes: Mapping[int, str], path: Path) -> None:
    """Raise RuntimeError where the exporter quietly fixed an axis that it was to leave free."""
    import onnx

    for value in onnx.load(path, load_external_data=False).graph.input:
        for axis, label in axes.items():
            if value.type.tensor_type.shape.dim[axis].HasField("dim_value"):
                raise RuntimeError(f"{row.name}: the exporter fixed the {label} of {value.name}")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporters' warnings and logs, which are about themselves."""
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


# ---------------------------------------------------------------- command line


def _axes_text(row: Architecture) -> str:
    limited = [f"{exporter}: {', '.join(free)}" for exporter, free in row.limits.items()]
    return "; ".join([", ".join(row.free), *limited])


def _list() -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("model", "inputs", "dynamic axes", "MACs saved, claimed", "time, claimed", "note")
    for row in ARCHITECTURES.values():
        shapes = ", ".join(f"{n} {'×'.join(map(str, s))}" for n, s in row.inputs.items())
        time = "" if row.claim.onnxruntime is None else f"≥ {row.claim.onnxruntime}×"
        table.add_row(row.name, shapes, _axes_text(row), row.claim.text, time, row.note)
    Console().print(table)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description="The benchmarks' architectures.")
    parser.add_argument("--list", action="store_true", help="print the table of architectures")
    parser.add_argument("--export", choices=sorted(ARCHITECTURES), metavar="NAME")
    parser.add_argument("--exporter", choices=EXPORTERS, default="dynamo")
    parser.add_argument("--dynamic", action="store_true", help="leave the row's free axes symbolic")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    if options.export is None:
        _list()
        return 0
    if options.output is None:
        parser.error("--export needs -o FILE")
    export_row(ARCHITECTURES[options.export], options.exporter, options.dynamic, options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
