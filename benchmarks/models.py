"""The real architectures that the claims are made on, and their export to ONNX.

    python benchmarks/models.py --list
    python benchmarks/models.py --export segformer-b0 --exporter dynamo --dynamic -o b0.onnx

Each architecture is one row of `ARCHITECTURES`: how it is built, the shape it is counted and timed
at, which axes can be dynamic, what is claimed for it, and where an exporter itself cannot follow.
Weights are random (fixed seed); normalisations get statistics and affines that are not trivial, so
that a rewrite which forgot one of them would be seen.

The networks themselves are in `networks.py`. Needs `torch`, `transformers` and `pytorchcv`.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from networks import (
    HRNetConcat,
    YoloNeck,
    bottleneck_chain,
    classifier,
    lora_vit,
    pspnet_dilated,
    pspnet_shallow,
    segformer,
)
from torch import nn

SEED = 20261121
EXPORTERS = ("dynamo", "torchscript")
AXES = {0: "batch", 2: "height", 3: "width"}
TORCHSCRIPT_OPSET = 17
DEFAULT_CACHE = Path(tempfile.gettempdir()) / "onebyone-benchmarks"

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
    with quiet():
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
    with torch.no_grad(), quiet():
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
def quiet() -> Iterator[None]:
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
