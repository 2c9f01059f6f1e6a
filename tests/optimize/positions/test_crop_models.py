"""demand on transformers as they are exported: one token of the last block, MAC by MAC."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from onebyone.graph.write import to_proto
from onebyone.optimize import optimize
from onebyone.verify.verify import verify

from ..exact import COUNTING

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

WIDTH, HEADS, HIDDEN = 24, 3, 40
SIZES = {"hidden_size": WIDTH, "num_attention_heads": HEADS, "intermediate_size": HIDDEN}
SIZES |= {"num_hidden_layers": 2, "num_labels": 5}


@dataclass(frozen=True)
class Kind:
    """A network, its input, the axes that are free, and how many tokens it reads one of.

    `others` are further shapes that a free export has to be right for.
    """

    build: Callable[[str], torch.nn.Module]
    example: Callable[[], torch.Tensor]
    free: dict[int, str]
    tokens: int
    others: tuple[tuple[int, ...], ...]


class Logits(torch.nn.Module):  # type: ignore[misc]
    """The logits alone."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(x).logits


def _vision(name: str) -> Callable[[str], torch.nn.Module]:
    def build(attention: str) -> torch.nn.Module:
        config = getattr(transformers, f"{name}Config")(
            **SIZES, image_size=48, patch_size=16, attn_implementation=attention
        )
        return getattr(transformers, f"{name}ForImageClassification")(config)

    return build


def _bert(attention: str) -> torch.nn.Module:
    config = transformers.BertConfig(
        **SIZES, vocab_size=50, max_position_embeddings=20, attn_implementation=attention
    )
    return transformers.BertForSequenceClassification(config)


def _image() -> torch.Tensor:
    return torch.randn(2, 3, 48, 48)


_IMAGES = ((1, 3, 48, 48), (3, 3, 48, 48))
KINDS = {
    "ViT": Kind(_vision("ViT"), _image, {0: "batch"}, 3 * 3 + 1, _IMAGES),
    "DeiT": Kind(_vision("DeiT"), _image, {0: "batch"}, 3 * 3 + 2, _IMAGES),
    "BERT": Kind(
        _bert,
        lambda: torch.randint(0, 50, (2, 11)),
        {0: "batch", 1: "length"},
        11,
        ((1, 1), (3, 20), (1, 2)),
    ),
}


def exported(kind: Kind, exporter: str, attention: str, free: bool, path: Path) -> Path:
    """A network with random weights, all of them far from zero, in a file."""
    torch.manual_seed(20261121)
    network = Logits(kind.build(attention)).eval()
    axes = kind.free if free else {}
    options: dict[str, object] = {"dynamo": False, "opset_version": 17, "dynamic_axes": {"x": axes}}
    if exporter == "dynamo":
        shapes = (dict.fromkeys(axes, torch.export.Dim.DYNAMIC),) if axes else None
        options = {"dynamo": True, "external_data": False, "dynamic_shapes": shapes}
        options["verbose"] = False
    logging.disable(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        for parameter in network.parameters():
            parameter.copy_(0.2 * torch.randn_like(parameter))
        torch.onnx.export(network, (kind.example(),), path, input_names=["x"], **options)
    logging.disable(logging.NOTSET)
    return path


def saved(tokens: int) -> int:
    """Of two samples: all tokens but one, in the last block, but for their keys and values."""
    projections, mlp = 2 * WIDTH * WIDTH, 2 * WIDTH * HIDDEN
    attention = 2 * tokens * WIDTH  # a row of scores, and the values summed by it, in all heads
    return 2 * (tokens - 1) * (projections + mlp + attention)


@pytest.mark.parametrize(
    ("name", "exporter", "attention", "free"),
    [
        pytest.param("ViT", "dynamo", "eager", False, marks=pytest.mark.slow),
        pytest.param("ViT", "dynamo", "sdpa", True, marks=pytest.mark.slow),
        ("ViT", "torchscript", "eager", True),
        ("DeiT", "torchscript", "sdpa", False),
        pytest.param("BERT", "dynamo", "eager", True, marks=pytest.mark.slow),
        ("BERT", "torchscript", "sdpa", True),
    ],
)
def test_one_token_is_read_and_one_is_computed(
    name: str, exporter: str, attention: str, free: bool, tmp_path: Path
) -> None:
    kind = KINDS[name]
    path = exported(kind, exporter, attention, free, tmp_path / "model.onnx")
    shape = tuple(kind.example().shape)
    result = optimize(path, only=["demand"], shapes={"x": shape}, profile=COUNTING)
    assert result.report.before.macs - result.report.after.macs == saved(kind.tokens)
    assert result.report.certificate is not None
    assert result.report.certificate.passed
    again = optimize(
        result.model, only=["demand"], shapes={"x": shape}, profile=COUNTING, verify=False
    )
    assert again.report.laws == ()
    for other in kind.others if free else ():
        assert verify(path, to_proto(result.model), shapes={"x": other}).passed
