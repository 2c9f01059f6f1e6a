"""The geometry of backbones that others wrote, beside what their outputs are seen to depend on.

What depends on a pixel is no number if that pixel is none, whatever the weights are: so NaN is put
into the image on one side of a window, and into its first and last pixel.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from importlib import import_module
from typing import Any

import pytest

import onebyone
from onebyone.algebra.geometry import Axis
from tests.quick import slow_but

torch = pytest.importorskip("torch")
from torch import Tensor, nn  # noqa: E402


class Last(nn.Module):
    """A network of which one result is taken."""

    def __init__(self, network: nn.Module, take: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.network, self.take = network, take

    def forward(self, x: Tensor) -> Tensor:
        return self.take(self.network, x)


def pytorchcv(family: str, name: str) -> nn.Module:
    module = pytest.importorskip(f"pytorchcv.models.{family}")
    return nn.Sequential(*list(getattr(module, name)().features.children())[:-1])


def transformers(name: str, **options: Any) -> nn.Module:
    library = pytest.importorskip("transformers")
    network = getattr(library, f"{name}Model")(getattr(library, f"{name}Config")(**options))
    return Last(network, lambda network, x: network(x).last_hidden_state)


def speech() -> nn.Module:
    """The convolutions of wav2vec 2.0, with layer norms."""
    library = pytest.importorskip("transformers")
    inner = import_module("transformers.models.wav2vec2.modeling_wav2vec2")
    config = library.Wav2Vec2Config(feat_extract_norm="layer", conv_dim=(8,) * 7, conv_bias=True)
    return Last(inner.Wav2Vec2FeatureEncoder(config), lambda network, x: network(x[:, 0]))


def codec() -> nn.Module:
    library = pytest.importorskip("transformers")
    config = library.DacConfig(
        encoder_hidden_size=4, downsampling_ratios=[2, 4], decoder_hidden_size=16, hidden_size=8
    )
    return library.DacModel(config).encoder


def vocoder() -> nn.Module:
    """HiFi-GAN: from frames to samples."""
    library = pytest.importorskip("transformers")
    config = library.SpeechT5HifiGanConfig(
        model_in_dim=4, upsample_initial_channel=16, upsample_rates=[4, 4],
        upsample_kernel_sizes=[8, 8], normalize_before=False,
    )  # fmt: skip
    return Last(library.SpeechT5HifiGan(config), lambda net, x: net(x.transpose(1, 2)).unsqueeze(1))


def monai(name: str, *arguments: Any, **options: Any) -> nn.Module:
    return getattr(pytest.importorskip("monai.networks.nets"), name)(*arguments, **options)


STAGES: dict[str, Any] = {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 2, 1]}
BACKBONES: dict[
    str, tuple[Callable[[], nn.Module], tuple[int, ...], list[Fraction | int], list[int]]
] = {
    "ShuffleNetV2": (
        lambda: pytorchcv("shufflenetv2", "shufflenetv2_wd2"),
        (3, 193, 97),
        [32],
        [527],
    ),
    "ResNet-10": (lambda: pytorchcv("resnet", "resnet10"), (3, 193, 97), [32], [195]),
    "ResNet": (
        lambda: transformers("ResNet", embedding_size=8, layer_type="basic", **STAGES),
        (3, 193, 97),
        [32],
        [259],
    ),
    "ConvNeXt": (lambda: transformers("ConvNext", **STAGES), (3, 193, 97), [32], [488]),
    "wav2vec 2.0": (speech, (1, 4000), [320], [400]),
    "DAC": (codec, (1, 1024), [8], [274]),
    "HiFi-GAN": (vocoder, (4, 60), [Fraction(1, 16)], [47]),
    "U-Net of volumes": (
        lambda: monai("UNet", 3, 1, 2, (4, 8, 8), (2, 2), norm="batch"),
        (1, 24, 40, 20),
        [1],
        [19],
    ),
    "U-Net of signals": (
        lambda: monai("UNet", 1, 2, 3, (4, 8, 8), (2, 4), norm="batch"),
        (2, 256),
        [1],
        [31],
    ),
}


def depends(network: nn.Module, image: Tensor, poisoned: range, along: int) -> list[bool]:
    """Which positions along an axis depend on any of these pixels."""
    image = image.clone()
    image.movedim(2 + along, 0)[poisoned.start : poisoned.stop] = torch.nan
    with torch.no_grad():
        none = network(image).isnan().any(1)[0].movedim(along, 0)
    found: list[bool] = none.flatten(1).any(1).tolist() if none.ndim > 1 else none.tolist()
    return found


def check(network: nn.Module, image: Tensor, axis: Axis, along: int, positions: list[int]) -> None:
    n = image.shape[2 + along]
    for i in positions:
        block, phase = divmod(i, axis.up)
        own = axis.phases[phase]
        first, last = block * axis.stride + own.first, block * axis.stride + own.last
        assert not depends(network, image, range(max(0, first)), along)[i]
        assert not depends(network, image, range(min(n, last + 1), n), along)[i]
        # Of what sees padding the window may end there.
        if block >= own.start and block * axis.stride + own.end <= n:
            assert depends(network, image, range(first, first + 1), along)[i]
            assert depends(network, image, range(last, last + 1), along)[i]


@pytest.mark.parametrize(
    "case",
    slow_but(
        *(f"{name}, old exporter" for name in ("ResNet", "DAC", "U-Net of signals")),
        "ResNet, new exporter",
        of={
            f"{name}, {exporter}": (name, exporter == "new exporter")
            for name in BACKBONES
            for exporter in ("old exporter", "new exporter")
        },
    ),
)
@pytest.mark.filterwarnings("ignore")
def test_what_the_outputs_depend_on(case: tuple[str, bool]) -> None:
    name, dynamo = case
    make, shape, strides, fields = BACKBONES[name]
    torch.manual_seed(0)
    network = make().double().eval()
    image = torch.randn(1, *shape, dtype=torch.float64)
    found = onebyone.geometry(network, image, export={"dynamo": dynamo})
    with torch.no_grad():
        maps = network(image)
    assert found.tiles
    for along, axis in enumerate(found.outputs[0].axes):
        assert axis is not None
        count = maps.shape[2 + along]
        assert axis.size(shape[1 + along]) == count
        assert ([axis.step], [axis.receptive_field]) == (strides, fields)
        middle = [count // 2] if along else [0, count // 2, count // 2 + 1, count - 1]
        check(network, image, axis, along, [i for i in middle if i < count])


WHOLE = {
    "EfficientNet": (lambda: pytorchcv("efficientnet", "efficientnet_b0"), "GlobalAveragePool"),
    "ConvNeXt V2": (lambda: transformers("ConvNextV2", **STAGES), "ReduceL2"),
}


@pytest.mark.parametrize("name", slow_but("ConvNeXt V2", of=list(WHOLE)))
@pytest.mark.filterwarnings("ignore")
def test_what_is_said_to_look_at_all_of_the_image_does(name: str) -> None:
    make, operator = WHOLE[name]
    torch.manual_seed(0)
    network, image = make().double().eval(), torch.randn(1, 3, 193, 97, dtype=torch.float64)
    found = onebyone.geometry(network, image, export={"dynamo": False})
    assert not found.tiles
    assert found.reasons[0].startswith(f"{operator} ")
    assert "it looks at all positions" in found.reasons[0]
    assert all(depends(network, image, range(1), 0))
