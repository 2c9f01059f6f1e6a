"""Forty exports beside those of the README, of 22 families, listed before they were run.

Real architectures with small configurations and random weights: what is asked of them is which
nodes an exporter writes, not how long they take.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from models import SEED, TORCHSCRIPT_OPSET, quiet
from networks import randomise
from torch import Tensor, nn

__all__ = ["FAMILIES", "FURTHER", "Family", "export_further"]


class _First(nn.Module):
    """A model of transformers called with one tensor, giving the first of what it returns."""

    def __init__(self, model: nn.Module, argument: str, options: Mapping[str, Any]) -> None:
        super().__init__()
        self.model, self.argument, self.options = model, argument, dict(options)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.model(**{self.argument: x}, return_dict=False, **self.options)[0]
        return found


@dataclass(frozen=True)
class Family:
    """A network and the shape of its one input; `words`: integers below this number."""

    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    words: int = 0


def _transformers(
    model: str, config: str, argument: str, sizes: Mapping[str, Any], **options: Any
) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import transformers

        settings = getattr(transformers, config)(**sizes)
        return _First(getattr(transformers, model)(settings), argument, options)

    return build


def _whisper_encoder() -> nn.Module:
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    config = WhisperConfig(
        d_model=64, encoder_layers=2, encoder_attention_heads=4, encoder_ffn_dim=128,
        max_source_positions=50,
    )  # fmt: skip
    return _First(WhisperEncoder(config), "input_features", {})


def _pytorchcv(family: str, name: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        network: nn.Module = getattr(import_module(f"pytorchcv.models.{family}"), name)()
        return network

    return build


_NARROW = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
           "intermediate_size": 128}  # fmt: skip
_WORDS = {**_NARROW, "vocab_size": 100, "max_position_embeddings": 64}
_IDS, _PIXELS = "input_ids", "pixel_values"

FAMILIES: dict[str, Family] = {
    "albert": Family(_transformers("AlbertModel", "AlbertConfig", _IDS,
        {**_WORDS, "embedding_size": 32}), (1, 24), 100),
    "bert": Family(_transformers("BertModel", "BertConfig", _IDS, _WORDS), (1, 24), 100),
    "clip-vision": Family(_transformers("CLIPVisionModel", "CLIPVisionConfig", _PIXELS,
        {**_NARROW, "image_size": 56, "patch_size": 14}), (1, 3, 56, 56)),
    "convnext": Family(_transformers("ConvNextModel", "ConvNextConfig", _PIXELS,
        {"hidden_sizes": [16, 24, 32, 40], "depths": [1, 1, 2, 1]}), (1, 3, 64, 96)),
    "dpt": Family(_transformers("DPTForDepthEstimation", "DPTConfig", _PIXELS,
        {**_NARROW, "num_hidden_layers": 4, "image_size": 64, "backbone_out_indices": [0, 1, 2, 3],
         "neck_hidden_sizes": [16, 24, 32, 40], "fusion_hidden_size": 24}), (1, 3, 64, 64)),
    "gpt2": Family(_transformers("GPT2Model", "GPT2Config", _IDS,
        {"n_embd": 64, "n_layer": 2, "n_head": 4, "vocab_size": 100, "n_positions": 64},
        use_cache=False), (1, 24), 100),
    "llama": Family(_transformers("LlamaModel", "LlamaConfig", _IDS,
        {**_WORDS, "num_key_value_heads": 2}, use_cache=False), (1, 24), 100),
    "mobilevit": Family(_transformers("MobileViTModel", "MobileViTConfig", _PIXELS,
        {"hidden_sizes": [24, 32, 40], "neck_hidden_sizes": [8, 8, 16, 24, 32, 40, 64],
         "image_size": 64}), (1, 3, 64, 64)),
    "swin": Family(_transformers("SwinModel", "SwinConfig", _PIXELS,
        {"embed_dim": 24, "depths": [2, 2], "num_heads": [2, 4], "image_size": 56}),
        (1, 3, 56, 56)),
    "t5-encoder": Family(_transformers("T5EncoderModel", "T5Config", _IDS,
        {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4,
         "vocab_size": 100}), (1, 24), 100),
    "wav2vec2": Family(_transformers("Wav2Vec2Model", "Wav2Vec2Config", "input_values",
        {**_NARROW, "conv_dim": [32] * 7, "num_conv_pos_embeddings": 16,
         "num_conv_pos_embedding_groups": 4}), (1, 4000)),
    "whisper-encoder": Family(_whisper_encoder, (1, 80, 100)),
    "dpn": Family(_pytorchcv("dpn", "dpn68"), (1, 3, 224, 224)),
    "efficientnet": Family(_pytorchcv("efficientnet", "efficientnet_b0"), (1, 3, 224, 224)),
    "ghostnet": Family(_pytorchcv("ghostnet", "ghostnet"), (1, 3, 224, 224)),
    "inceptionv3": Family(_pytorchcv("inceptionv3", "inceptionv3"), (1, 3, 299, 299)),
    "mobilenetv3": Family(_pytorchcv("mobilenetv3", "mobilenetv3_small_w7d20"), (1, 3, 224, 224)),
    "resnext": Family(_pytorchcv("resnext", "resnext14_16x4d"), (1, 3, 224, 224)),
    "seresnet": Family(_pytorchcv("seresnet", "seresnet10"), (1, 3, 224, 224)),
    # In the place of gpt2 and llama, whose masks PyTorch's older exporter cannot write.
    "squeezenet": Family(_pytorchcv("squeezenet", "squeezenet_v1_1"), (1, 3, 224, 224)),
    "xception": Family(_pytorchcv("xception", "xception"), (1, 3, 299, 299)),
    "shufflenet": Family(_pytorchcv("shufflenet", "shufflenet_g3_wd4"), (1, 3, 224, 224)),
}  # fmt: skip

_FREE = {"bert", "convnext", "dpt", "ghostnet", "gpt2", "mobilevit", "shufflenet", "swin"}
_ONLY = {
    "gpt2": "dynamo",
    "llama": "dynamo",
    "squeezenet": "torchscript",
    "xception": "torchscript",
}
FURTHER = tuple(
    (name, exporter, name in _FREE)
    for name in FAMILIES
    for exporter in ("torchscript", "dynamo")
    if _ONLY.get(name, exporter) == exporter
)
"""(name, exporter, whether the batch is free): forty."""


def export_further(name: str, exporter: str, free: bool, path: Path) -> None:
    """Write one of `FURTHER` to `path`."""
    row = FAMILIES[name]
    torch.manual_seed(SEED)
    with torch.no_grad(), quiet():
        network = row.build()
        randomise(network)
        shape = (2, *row.shape[1:]) if free else row.shape
        x = torch.randint(0, row.words, shape) if row.words else torch.randn(shape)
        options: dict[str, Any] = {"dynamo": False, "opset_version": TORCHSCRIPT_OPSET}
        options["dynamic_axes"] = {"x": {0: "batch"}} if free else None
        if exporter == "dynamo":
            dims = ({0: torch.export.Dim.DYNAMIC},) if free else None
            options = {"dynamo": True, "external_data": False, "dynamic_shapes": dims}
        names = {"input_names": ["x"], "output_names": ["y"]}
        torch.onnx.export(network.eval(), (x,), str(path), **names, **options)
