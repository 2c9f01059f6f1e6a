"""Real architectures against PyTorch's own counter, and its parameters: equal to the digit.

Both counters see tensors without numbers, so that size costs nothing. Nothing is exported here;
`tests/graph/test_count_architectures.py` compares with the counts of exported files.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from onebyone.nn.count import count
from tests.quick import slow_but

# Fused attention on a CPU has MACs that PyTorch's counter knows under the names of other devices.
FUSED = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: (
        lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v)
    )
}
Example = dict[str, Tensor] | tuple[Tensor, ...]


@contextmanager
def quiet() -> Iterator[None]:
    logging.disable(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)


def pytorchcv(family: str, name: str, size: int = 224) -> tuple[nn.Module, Example]:
    network = getattr(import_module(f"pytorchcv.models.{family}"), name)()
    return network, (torch.empty(2, 3, size, size),)


def transformer(name: str, example: Example, **options: object) -> tuple[nn.Module, Example]:
    """The model of that name with the sizes of its configuration's defaults, but `options`."""
    import transformers

    config = getattr(transformers, f"{name}Config")(**options)
    return getattr(transformers, f"{name}Model")(config), example


def tokens(length: int = 17) -> Tensor:
    return torch.zeros(2, length, dtype=torch.long)


ARCHITECTURES: dict[str, Callable[[], tuple[nn.Module, Example]]] = {
    "inceptionv3": lambda: pytorchcv("inceptionv3", "inceptionv3", 299),
    "mobilenetv3": lambda: pytorchcv("mobilenetv3", "mobilenetv3_large_w1"),
    "ghostnet": lambda: pytorchcv("ghostnet", "ghostnet"),
    "seresnet50": lambda: pytorchcv("seresnet", "seresnet50"),
    "shufflenet": lambda: pytorchcv("shufflenet", "shufflenet_g3_w1"),
    "vgg16": lambda: pytorchcv("vgg", "vgg16"),
    "bert": lambda: transformer("Bert", {"input_ids": tokens()}, num_hidden_layers=2),
    "gpt2": lambda: transformer("GPT2", {"input_ids": tokens()}, n_layer=2),
    "t5": lambda: transformer(
        "T5", {"input_ids": tokens(), "decoder_input_ids": tokens(5)}, num_layers=2
    ),
    "swin": lambda: transformer("Swin", {"pixel_values": torch.empty(2, 3, 224, 224)}),
    "mobilevit": lambda: transformer("MobileViT", {"pixel_values": torch.empty(2, 3, 256, 256)}),
    "llama": lambda: transformer(
        "Llama",
        {"input_ids": tokens()},
        num_hidden_layers=2,
        hidden_size=256,
        intermediate_size=384,
        num_attention_heads=8,
        num_key_value_heads=2,
    ),
}


def flops(network: nn.Module, example: Example) -> int:
    with FlopCounterMode(display=False, custom_mapping=FUSED) as counter:
        network(**example) if isinstance(example, dict) else network(*example)
    return int(counter.get_total_flops())


@pytest.mark.parametrize("name", slow_but("ghostnet", "t5", of=tuple(ARCHITECTURES)))
def test_agrees_with_pytorch(name: str) -> None:
    with quiet():
        network, example = ARCHITECTURES[name]()
        network.eval()
        with FakeTensorMode(allow_non_fake_inputs=True):
            expected = flops(network, example)
        counted = count(network, example)
    unused = [row for row in counted.uncounted if row.op == "parameter"]
    assert counted.flops == expected > 0
    assert counted.tree().macs == counted.macs
    idle = sum(int(row.reason.split()[2].replace(",", "")) for row in unused)
    assert counted.parameters + idle == sum(p.numel() for p in network.parameters())
