"""Real architectures, exported to ONNX, against PyTorch's own counter: equal to the digit.

The weights are random, since exporters merge equal ones. The exporters are kept from folding: a
BatchNormalization that is multiplied into its convolution leaves other parameters (one test shows
the difference, to the digit), a class token that is expanded to the batch leaves more of them.
Attention is run and exported as the two products that it consists of: the fused kernel that a
build without CUDA takes is unknown to PyTorch's counter.

The module itself, counted without a file, has the same figures.

PyTorch counts no bias additions and knows no pointwise share; the oracle for these is a hook on
each Conv2d and Linear.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest

from onebyone.graph.count import count
from tests.quick import slow_but

torch = pytest.importorskip("torch")

from onebyone.nn.count import count as count_module  # noqa: E402 - needs torch


@dataclass(frozen=True)
class Row:
    """An architecture, the shape of its image, and the exporter."""

    name: str
    build: Callable[[str], torch.nn.Module]
    shape: tuple[int, ...] = (2, 3, 64, 96)
    dynamo: bool = False

    def __str__(self) -> str:
        return f"{self.name}-{'dynamo' if self.dynamo else 'torchscript'}"


class Logits(torch.nn.Module):
    """A `transformers` model reduced to its logits."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.model(pixel_values=image).logits


def pytorchcv(name: str) -> torch.nn.Module:
    """A classifier whose last pooling takes any size: the originals want 224×224."""
    # Not by pytorchcv.model_provider: that imports every model, and some want torchvision.
    family = re.sub(r"\d\d+$", "", name.split("_")[0])
    network = getattr(import_module(f"pytorchcv.models.{family}"), name)()
    for part in (network.features, network.output):
        if hasattr(part, "final_pool"):
            part.final_pool = torch.nn.AdaptiveAvgPool2d(1)
    return network


def segformer_b0(_name: str) -> torch.nn.Module:
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    return Logits(
        SegformerForSemanticSegmentation(
            SegformerConfig(num_labels=150, attn_implementation="eager")
        )
    )


def vit_tiny(name: str) -> torch.nn.Module:
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=192,
        num_hidden_layers=2 if name.endswith("two layers") else 12,
        num_attention_heads=3,
        intermediate_size=768,
        image_size=(64, 96),
        attn_implementation="eager",
    )
    return Logits(ViTForImageClassification(config))


def convnext_tiny(_name: str) -> torch.nn.Module:
    from transformers import ConvNextConfig, ConvNextForImageClassification

    return Logits(ConvNextForImageClassification(ConvNextConfig(num_labels=10)))


ROWS = [
    Row("resnet50", pytorchcv),
    Row("resnext50_32x4d", pytorchcv),
    Row("mobilenetv2_w1", pytorchcv),
    Row("densenet121", pytorchcv),
    Row("squeezenet_v1_1", pytorchcv),
    Row("shufflenetv2_w1", pytorchcv),
    Row("efficientnet_b0", pytorchcv),
    Row("hrnet_w18_small_v1", pytorchcv),
    Row("bninception", pytorchcv),
    Row("segformer-b0", segformer_b0),
    Row("segformer-b0", segformer_b0, dynamo=True),
    Row("vit-tiny", vit_tiny, dynamo=True),
    Row("vit-tiny, two layers", vit_tiny, dynamo=True),
    Row("convnext-tiny", convnext_tiny, (1, 3, 64, 32)),
]


def export(network: torch.nn.Module, image: torch.Tensor, path: Path, **options: object) -> None:
    torch.onnx.export(network, (image,), path, **options)


FIGURES = ("parameters", "buffers", "macs", "pointwise_macs", "bias_adds", "weight_bytes")
PLAIN = {"dynamo": False, "training": torch.onnx.TrainingMode.PRESERVE, "opset_version": 17}
FOLDED = {"dynamo": False, "opset_version": 17}
DYNAMO = {"dynamo": True, "optimize": False, "external_data": False, "verbose": False}


@contextmanager
def quiet() -> Iterator[None]:
    """Without gradients, and without what the libraries say about themselves."""
    logging.disable(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)


def random_network(row: Row) -> torch.nn.Module:
    torch.manual_seed(0)
    network = row.build(row.name).eval()
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5)
    return network


def parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def normalised_channels(network: torch.nn.Module) -> int:
    """Channels of all batch normalisations: each has a scale and a shift, a mean and a variance."""
    found = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    return sum(module.num_features for module in found)


def hooked(network: torch.nn.Module, image: torch.Tensor) -> tuple[int, int]:
    """MACs of the 1×1 convolutions and linear layers, and the bias additions of all layers."""
    seen: list[tuple[int, int]] = []

    def hook(module: torch.nn.Module, _inputs: object, output: torch.Tensor) -> None:
        mixes_space = isinstance(module, torch.nn.Conv2d) and module.kernel_size != (1, 1)
        macs = 0 if mixes_space else output.numel() * module.weight[0].numel()
        seen.append((macs, 0 if module.bias is None else output.numel()))

    kinds = (torch.nn.Conv2d, torch.nn.Linear)
    hooks = [m.register_forward_hook(hook) for m in network.modules() if isinstance(m, kinds)]
    network(image)
    for handle in hooks:
        handle.remove()
    return sum(macs for macs, _ in seen), sum(adds for _, adds in seen)


def flops(network: torch.nn.Module, image: torch.Tensor) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        network(image)
    return counter.get_total_flops()


NAMED = {str(row): row for row in ROWS}


@pytest.mark.parametrize(
    "row", slow_but("mobilenetv2_w1-torchscript", "vit-tiny, two layers-dynamo", of=NAMED)
)
def test_agrees_with_pytorch(row: Row, tmp_path: Path) -> None:
    with quiet():
        network, image = random_network(row), torch.rand(row.shape)
        export(network, image, tmp_path / "model.onnx", **(DYNAMO if row.dynamo else PLAIN))
        counted = count(tmp_path / "model.onnx")
        assert counted.parameters == parameters(network)
        assert counted.buffers == 2 * normalised_channels(network)
        assert 2 * counted.macs == counted.flops == flops(network, image)
        assert (counted.pointwise_macs, counted.bias_adds) == hooked(network, image)
        of_module = count_module(network, image)
    assert not [row for row in counted.uncounted if "unknown" in row.reason]
    for figure in FIGURES:
        assert getattr(of_module, figure) == getattr(counted, figure), figure
    if row.build is pytorchcv:  # of others, exporters take GELUs apart
        totals = [[by.total for by in each.conventions()] for each in (of_module, counted)]
        assert totals[0] == totals[1]


def test_folded_normalisation_leaves_a_bias_in_the_place_of_scale_and_shift(tmp_path: Path) -> None:
    with quiet():
        row = Row("mobilenetv2_w1", pytorchcv)
        network, image = random_network(row), torch.rand(row.shape)
        export(network, image, tmp_path / "model.onnx", **FOLDED)
        counted = count(tmp_path / "model.onnx")
        # Each convolution had no bias: 2·C parameters of its normalisation become C.
        assert counted.parameters == parameters(network) - normalised_channels(network)
        assert (counted.buffers, counted.flops) == (0, flops(network, image))


def test_a_recurrence_agrees_with_pytorch(tmp_path: Path) -> None:
    """PyTorch's counter skips its fused LSTM; its parameters are what there is to compare."""
    with quiet():
        network, sequence = torch.nn.LSTM(3, 5, num_layers=2, bidirectional=True), (7, 2, 3)
        export(network, torch.rand(sequence), tmp_path / "model.onnx", **FOLDED)
    counted = count(tmp_path / "model.onnx")
    weights = sum(p.numel() for name, p in network.named_parameters() if "weight" in name)
    assert counted.parameters == parameters(network)
    assert counted.macs == 7 * 2 * weights
    assert counted.bias_adds == 7 * 2 * (counted.parameters - weights)
    of_module = count_module(network, torch.rand(sequence))
    for figure in FIGURES:
        assert getattr(of_module, figure) == getattr(counted, figure), figure
