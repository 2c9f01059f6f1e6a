"""Networks with filters of zeros keep what those do not allow to go, to the last MAC."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from onebyone.cost.profile import Profile
from onebyone.optimize import optimize
from tests.quick import slow_but

ANY_WIDTH = Profile(channels=1)
torch = pytest.importorskip("torch")

# Sides of images, odd ones where the network takes them; small, so that running is quick.
COUNTED = {"resnet50": 33, "mobilenetv2": 33, "densenet121": 64, "c2f": 40, "unet": 28, "vit": 24}


@pytest.fixture(scope="module")
def pruned() -> Iterator[ModuleType]:
    sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
    before = set(sys.modules)
    yield import_module("pruned")
    sys.path.pop(0)
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None) or ""
        if "benchmarks" in file:
            del sys.modules[name]


def test_every_count_is_compared(pruned: ModuleType) -> None:
    counted = {name for name, row in pruned.NETWORKS.items() if row.count is not None}
    assert counted == {*COUNTED, "vgg16"}


@pytest.mark.parametrize("name", slow_but("mobilenetv2", "c2f", "unet", "vit", of=list(COUNTED)))
def test_what_is_left_is_what_the_zeros_allow(
    name: str, pruned: ModuleType, tmp_path: Path
) -> None:
    network, x = pruned.export(name, tmp_path / "model.onnx", "torchscript", COUNTED[name])
    report = optimize(
        tmp_path / "model.onnx", only=["prune"], profile=ANY_WIDTH, verify=False
    ).report
    assert report.after.macs == pruned.NETWORKS[name].count(network, x)
    assert report.after.macs < 0.8 * report.before.macs


@pytest.mark.parametrize("exporter", slow_but("torchscript", of=("torchscript", "dynamo")))
def test_a_narrow_vgg_shrinks_through_its_flatten(
    exporter: str, pruned: ModuleType, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    x = torch.zeros(1, 3, 64, 64)
    network = pruned.zeroed(pruned.vgg16(64, narrower=16), x)
    with pruned.quiet():
        pruned.write(network, x, tmp_path / "model.onnx", exporter)
    report = optimize(tmp_path / "model.onnx", only=["prune"], profile=ANY_WIDTH).report
    assert report.after.macs == pruned.zeros.chain(network, x) < report.before.macs / 1.5
    assert report.certificate is not None
    assert report.certificate.passed
