"""The networks of examples/architectures.py give pytorchcv's outputs, bit by bit.

The same operators run on the same weights in the same order, so that no bound is needed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

torch = pytest.importorskip("torch")

NAMES = ["ResNet-50", "ResNet-50 v1.5", "MobileNetV2", "SqueezeNet 1.0", "SqueezeNet 1.1"]
# Published: 25.6 M, 3.5 M (with 1,000 biases more at the end), 1.25 M and 1.24 M.
PARAMETERS = dict(
    zip(NAMES, (25_557_032, 25_557_032, 3_503_872, 1_248_424, 1_235_496), strict=True)
)


@pytest.fixture
def examples(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "examples")
    yield import_module("architectures")
    sys.modules.pop("architectures")


def test_every_network_is_tried(examples: ModuleType) -> None:
    assert list(examples.NETWORKS) == NAMES


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_the_same_outputs_with_their_weights_and_they_with_ours(
    name: str, examples: ModuleType
) -> None:
    torch.manual_seed(1)
    ours, theirs = examples.pair(name)
    assert examples.parameters(ours) == examples.parameters(theirs) == PARAMETERS[name]
    x = torch.randn(examples.SHAPE)
    wanted = theirs(x)
    assert wanted.std() > 0
    assert wanted.isfinite().all()
    assert torch.equal(ours(x), wanted)
    # And back: other weights, drawn for ours, into theirs.
    for parameter in ours.parameters():
        parameter.mul_(1 + torch.rand(parameter.shape) / 8)
    examples.load(theirs, examples.randomise(ours, seed=1))
    y = theirs(x)
    assert not torch.equal(y, wanted)
    assert torch.equal(ours(x), y)


@pytest.mark.parametrize("pair", [("resnet", "resnet18"), ("mobilenetv2", "mobilenetv2b_w3d4")])
def test_another_architecture_is_refused(pair: tuple[str, str], examples: ModuleType) -> None:
    ours = examples.mobilenet_v2()
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    with pytest.raises(ValueError, match=r"two architectures|zip"):
        examples.load(ours, examples.pytorchcv(*pair))
    assert all(torch.equal(value, before[name]) for name, value in ours.state_dict().items())


def test_resnet_has_torchvisions_names(examples: ModuleType) -> None:
    names = [name for name in examples.resnet50().state_dict() if "num_batches" not in name]
    # 53 convolutions, as many norms with four vectors, and the classifier's two.
    assert len(names) == 53 + 53 * 4 + 2
    assert {"conv1.weight", "bn1.running_var", "fc.bias"} < set(names)
    assert {"layer1.0.downsample.1.bias", "layer4.2.conv3.weight"} < set(names)


def test_the_table_is_printed(examples: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    examples.main()
    shown = capsys.readouterr().out
    rows = [line for line in shown.splitlines() if any(f" {name} " in line for name in NAMES)]
    assert len(rows) == len(NAMES)
    assert all(line.rstrip(" │").endswith(" 0") for line in rows)
