"""The real architectures that the claims are made on, and their export to ONNX.

    python benchmarks/models.py --list
    python benchmarks/models.py --export segformer-b0 --exporter dynamo --dynamic -o b0.onnx

Each architecture is one row of `ARCHITECTURES`: how it is built, the shape it is counted and timed
at, which axes can be dynamic, and where an exporter itself cannot follow; `claims.py` has what is
claimed for it.
Weights are random (fixed seed); normalisations get statistics and affines that are not trivial, so
that a rewrite which forgot one of them would be seen.

The networks themselves are in `networks.py` and the files beside it (`_SOURCES`). Needs
`torch`, `transformers` and `pytorchcv`.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
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
from branches import mobileone_s0, prune_filters, repvgg_a0
from channels_last import keras_resnet50
from claims import CLAIMS
from decoders import (
    EsrganTail,
    VaeDecoder,
    unet_mobilenetv2,
    unet_resnet50,
    unetplusplus_resnet50,
)
from detectors import d_fine, rt_detr, yolo11, yolov8
from networks import (
    HRNetConcat,
    YoloNeck,
    bottleneck_chain,
    classifier,
    deit_small,
    googlenet,
    lora_vit,
    pspnet_dilated,
    pspnet_shallow,
    randomise,
    segformer,
)
from points import DGCNN
from repvit import repvit_m1
from torch import nn

SEED = 20261121
EXPORTERS = ("dynamo", "torchscript")
AXES = {0: "batch", 2: "height", 3: "width"}
TORCHSCRIPT_OPSET = 17
DEFAULT_CACHE = Path(tempfile.gettempdir()) / "onebyone-benchmarks"

# ---------------------------------------------------------------- the table


@dataclass(frozen=True)
class Architecture:
    """One row: `inputs` are the names and shapes of its images, whose MACs and times are told.

    `free` are the axes exported as dynamic; `limits` names, by exporter, the fewer axes that this
    exporter (not onebyone) can leave free. `note` says why, wherever not all three are. `finish` is
    done to the network once its weights are drawn.
    """

    name: str
    build: Callable[[], nn.Module]
    inputs: Mapping[str, tuple[int, ...]]
    free: tuple[str, ...] = ("batch", "height", "width")
    limits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    note: str = ""
    finish: Callable[[nn.Module], object] = nn.Module.eval

    def free_for(self, exporter: str) -> tuple[str, ...]:
        """The axes that `exporter` leaves free in a dynamic model."""
        return self.limits.get(exporter, self.free)


def _image(size: int) -> dict[str, tuple[int, ...]]:
    return {"image": (1, 3, size, size)}


_POOL_LIMIT = {"torchscript": ("batch",)}
_POOL_NOTE = (
    "torchscript has no adaptive pool of an unknown height and width; "
    "dynamo writes the windows of the exported size, so its file is the network only there"
)
_UNET_NOTE = "height and width have to be multiples of 32"
_ENCODED_NOTE = "its encoder's positions are for one height and width"
_B2_WIDTHS = (64, 128, 320, 512)

_ROWS = (
    Architecture(
        "segformer-b0", lambda: segformer((2, 2, 2, 2), (32, 64, 160, 256), 256), _image(512)
    ),
    Architecture("segformer-b2", lambda: segformer((3, 4, 6, 3), _B2_WIDTHS, 768), _image(512)),
    Architecture("segformer-b5", lambda: segformer((3, 6, 40, 3), _B2_WIDTHS, 768), _image(512)),
    Architecture("densenet121", lambda: classifier("densenet", "densenet121"), _image(224)),
    Architecture("hrnet-w18", lambda: HRNetConcat(19), _image(512)),
    Architecture(
        "pspnet",
        pspnet_shallow,
        _image(480),
        limits=_POOL_LIMIT,
        note=_POOL_NOTE,
    ),
    Architecture(
        "pspnet-dilated",
        pspnet_dilated,
        _image(480),
        limits=_POOL_LIMIT,
        note=_POOL_NOTE,
    ),
    Architecture(
        "yolo-neck",
        YoloNeck,
        {"p3": (1, 128, 80, 80), "p4": (1, 256, 40, 40), "p5": (1, 512, 20, 20)},
    ),
    Architecture(
        "lora-vit",
        lora_vit,
        _image(224),
        free=("batch",),
        note="its position embeddings are for one height and width",
    ),
    Architecture(
        "deit-small",
        deit_small,
        _image(224),
        free=("batch",),
        note="its position embeddings are for one height and width",
    ),
    Architecture("chain-64-128-64", bottleneck_chain, {"image": (1, 64, 56, 48)}),
    Architecture("mobilenetv2", lambda: classifier("mobilenetv2", "mobilenetv2_w1"), _image(224)),
    # With its strides in the 3×3s ("v1.5") nothing can be saved; in the first 1×1s it can.
    Architecture("resnet50", lambda: classifier("resnet", "resnet50b"), _image(224)),
    Architecture("resnet50-v1", lambda: classifier("resnet", "resnet50"), _image(224)),
    Architecture("mobileone-s0", mobileone_s0, _image(224)),
    Architecture("repvgg-a0", repvgg_a0, _image(224)),
    Architecture("repvit-m1", repvit_m1, _image(224)),
    Architecture(
        "shufflenetv2", lambda: classifier("shufflenetv2", "shufflenetv2_w1"), _image(224)
    ),
    Architecture("googlenet", googlenet, _image(224)),
    Architecture(
        "dgcnn",
        DGCNN,
        {"points": (1, 3, 1024)},
        free=("batch", "height"),
        note="its second axis of positions are the points",
    ),
    Architecture(
        "resnet50-pruned",
        lambda: classifier("resnet", "resnet50b"),
        _image(224),
        finish=lambda network: prune_filters(network, 0.3),
    ),
    Architecture("unet-mobilenetv2", unet_mobilenetv2, _image(256), note=_UNET_NOTE),
    Architecture("unet-resnet50", unet_resnet50, _image(256), note=_UNET_NOTE),
    Architecture("unet++-resnet50", unetplusplus_resnet50, _image(256), note=_UNET_NOTE),
    Architecture("vae-decoder", VaeDecoder, {"latent": (1, 4, 32, 32)}),
    Architecture("esrgan-tail", EsrganTail, {"features": (1, 64, 64, 64)}),
    Architecture("yolov8n", yolov8, _image(640), note=_UNET_NOTE),
    Architecture("yolo11n", yolo11, _image(640), note=_UNET_NOTE),
    Architecture("rt-detr", rt_detr, _image(640), free=("batch",), note=_ENCODED_NOTE),
    Architecture(
        "d-fine",
        d_fine,
        _image(640),
        free=("batch",),
        note=f"{_ENCODED_NOTE}; dynamo (torch 2.13) cannot export it",
    ),
    Architecture(
        "keras-resnet50",
        keras_resnet50,
        {"image": (1, 224, 224, 3)},
        free=("batch",),
        note="its channels are its last axis",
    ),
)
ARCHITECTURES = {row.name: row for row in _ROWS}

# ---------------------------------------------------------------- building and exporting


def network(row: Architecture) -> nn.Module:
    """The row's network in evaluation mode, with the same weights at each call."""
    torch.manual_seed(SEED)
    with quiet():
        built = row.build()
    randomise(built)
    row.finish(built)
    return built.eval()


def export(name: str, exporter: str, dynamic: bool, folder: str | os.PathLike[str]) -> Path:
    """Export a row to `folder`, once: an existing file of the same sources and torch is kept."""
    row = ARCHITECTURES[name]
    kind = "dynamic" if dynamic else "fixed"
    version = torch.__version__.split("+")[0]
    path = Path(folder) / f"{name}-{exporter}-{kind}-torch{version}-{_fingerprint()}.onnx"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".partial")
        export_row(row, exporter, dynamic, beside)
        os.replace(beside, path)
    return path


_SOURCES = (
    "models.py",
    "networks.py",
    "branches.py",
    "channels_last.py",
    "decoders.py",
    "detectors.py",
    "points.py",
    "repvit.py",
)


@functools.cache
def _fingerprint() -> str:
    """Of the sources that make the networks: what was exported from others is not used again."""
    here = Path(__file__).parent
    sources = (here / name for name in _SOURCES)
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:8]


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
        claim = CLAIMS[row.name]
        table.add_row(row.name, shapes, _axes_text(row), claim.text, claim.time, row.note)
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
