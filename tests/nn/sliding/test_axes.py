"""Signals and volumes; means over one axis; channels flattened last; several results."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations, prune
from torch.nn.utils.weight_norm import weight_norm

from onebyone.errors import UsageError
from onebyone.nn.class_maps import ClassMaps
from onebyone.nn.pointwise import Pointwise
from onebyone.nn.sliding.fully_convolutional import fully_convolutional
from onebyone.scan.network import load
from tests.nn.sliding.networks import answers, check_slides, images, whole_numbers
from tests.scan.slid import check_tiles, run


class Net(nn.Module):
    """Layers before, and a head that is told how to go from a map to scores."""

    def __init__(self, body: nn.Module, head: Callable[[Any, Tensor], Any], **layers: Any) -> None:
        super().__init__()
        self.body, self.head = body, head
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x: Tensor) -> Any:
        return self.head(self, self.body(x))


def signal() -> nn.Module:
    """A keyword spotter: strides, dilations, a norm, a pool."""
    return nn.Sequential(
        nn.Conv1d(2, 3, 5, stride=2), nn.BatchNorm1d(3), nn.ReLU(),
        nn.Conv1d(3, 4, 3, dilation=2), nn.MaxPool1d(2),
    )  # fmt: skip


def volume() -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(1, 3, (2, 3, 1), stride=(1, 2, 1)), nn.BatchNorm3d(3), nn.ReLU(),
        nn.AvgPool3d((1, 1, 2)),
    )  # fmt: skip


def picture() -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 3, (3, 2), stride=(1, 2)), nn.ReLU())


# Signals (2, 23) become (4, 3); volumes (1, 3, 7, 5) become (3, 2, 3, 2).
SIGNALS: dict[str, nn.Module] = {
    "flattened": nn.Sequential(
        signal(), nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 3)
    ),
    "maximum": nn.Sequential(signal(), nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(4, 3)),
    "sum": Net(signal(), lambda net, x: net.fc(x.sum(-1)), fc=nn.Linear(4, 3)),
    "values of max": Net(signal(), lambda net, x: net.fc(torch.max(x, 2)[0]), fc=nn.Linear(4, 3)),
    "last": Net(signal(), lambda net, x: net.fc(x.transpose(1, 2).flatten(1)), fc=nn.Linear(12, 3)),
    "tokens": Net(
        signal(),
        lambda net, x: net.fc(net.inner(x.transpose(1, 2)).amax(1)),
        inner=nn.Linear(4, 6),
        fc=nn.Linear(6, 3),
    ),
    "norm of features": nn.Sequential(
        signal(), nn.Flatten(), nn.Linear(12, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)
    ),
    "functional": Net(
        signal(),
        lambda net, x: functional.linear(x.flatten(1), net.fc.weight, net.fc.bias),
        fc=nn.Linear(12, 3),
    ),
    "a constant": Net(
        signal(),
        lambda net, x: net.fc(x.amax(2)) * net.scale,
        fc=nn.Linear(4, 3),
        scale=nn.Parameter(torch.zeros(3)),
    ),
    "padding taken away": Net(
        nn.Sequential(nn.ConstantPad1d(2, 1.0), nn.ConstantPad1d(-2, 0.0), signal()),
        lambda net, x: net.fc(functional.max_pool1d(x, x.shape[2]).squeeze(2)),
        fc=nn.Linear(4, 3),
    ),
    "pointwise": nn.Sequential(signal(), Pointwise(4, 5, stride=2), nn.Flatten(), nn.Linear(10, 3)),
}


@pytest.mark.parametrize("name", SIGNALS)
def test_signals(name: str) -> None:
    sliding = check_slides(whole_numbers(SIGNALS[name]), (2, 23), (19,), (1 + 8,))
    assert sliding.geometry.size == (23,)
    assert sliding.geometry.stride in ((4,), (8,))


VOLUMES: dict[str, nn.Module] = {
    "flattened": nn.Sequential(
        volume(), nn.Flatten(), nn.Linear(36, 5), nn.ReLU(), nn.Linear(5, 3)
    ),
    "maximum": nn.Sequential(volume(), nn.AdaptiveMaxPool3d(1), nn.Flatten(), nn.Linear(3, 3)),
    "sum": Net(volume(), lambda net, x: net.fc(x.sum((2, 3, 4))), fc=nn.Linear(3, 3)),
    "last": Net(
        volume(), lambda net, x: net.fc(x.permute(0, 2, 3, 4, 1).flatten(1)), fc=nn.Linear(36, 4)
    ),
    "depth first, then a plane": Net(
        volume(),
        lambda net, x: net.fc(net.plane(x.sum(2)).amax((2, 3))),
        plane=nn.Conv2d(3, 4, (2, 1)),
        fc=nn.Linear(4, 3),
    ),
    "plane, then depth": Net(
        volume(),
        lambda net, x: net.fc(net.line(x.amax((3, 4))).flatten(1)),
        line=nn.Conv1d(3, 4, 2),
        fc=nn.Linear(4, 3),
    ),
    "norm of features": nn.Sequential(
        volume(), nn.Flatten(), nn.Linear(36, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)
    ),
}


@pytest.mark.parametrize("name", VOLUMES)
def test_volumes(name: str) -> None:
    sliding = check_slides(whole_numbers(VOLUMES[name]), (1, 3, 7, 5), (2, 5, 3), (0, 1, 4))
    assert sliding.geometry.stride == (1, 2, 2)


def test_class_maps_of_signals_and_volumes() -> None:
    for body, shape, more in ((signal(), (2, 30), (9,)), (volume(), (1, 3, 5, 5), (2, 3, 2))):
        channels = next(m for m in reversed([*body.modules()]) if hasattr(m, "out_channels"))
        model = nn.Sequential(body, ClassMaps(channels.out_channels, 5))
        sliding = fully_convolutional(whole_numbers(model), shape)
        image = images(2, shape[0], *(n + k for n, k in zip(shape[1:], more, strict=True)))
        found, wanted = sliding(image), answers(model, sliding, image)
        # A mean of at most 8 integers, then a sum of 4 products: fewer than 32 roundings, of
        # numbers below 10⁶; a wrong window is off by parts of an integer.
        assert (found - wanted).abs().max() <= 2 * 32 * 2**-53 * 1e6
        assert found.unique().numel() > found.shape[1]


# Pictures (2, 6, 9) become (3, 4, 4).
PICTURES: dict[str, nn.Module] = {
    "rows, then columns": Net(
        picture(), lambda net, x: net.fc(x.mean(2).amax(2)), fc=nn.Linear(3, 4)
    ),
    "columns, then rows": Net(
        picture(), lambda net, x: net.fc(x.mean(-1).amax(-1)), fc=nn.Linear(3, 4)
    ),
    "both of one axis": Net(
        picture(),
        lambda net, x: (lambda y: net.fc(torch.max(y, dim=2)[0] + torch.mean(y, dim=2)))(
            torch.mean(x, dim=3)
        ),
        fc=nn.Linear(3, 4),
    ),
    "kept at one": Net(
        picture(),
        lambda net, x: net.fc(x.mean(3, keepdim=True).amax(2, True).flatten(1)),
        fc=nn.Linear(3, 4),
    ),
    "rows, flattened": Net(
        picture(), lambda net, x: net.fc(x.mean(2).flatten(1)), fc=nn.Linear(12, 4)
    ),
    "columns, flattened": Net(
        picture(), lambda net, x: net.fc(x.mean(3).flatten(1)), fc=nn.Linear(12, 4)
    ),
    "a signal behind": Net(
        picture(),
        lambda net, x: net.fc(net.bn(net.conv(x.mean(2))).relu().flatten(1)),
        conv=nn.Conv1d(3, 5, 2, stride=2),
        bn=nn.BatchNorm1d(5),
        fc=nn.Linear(10, 4),
    ),
    "features last behind": Net(
        picture(),
        lambda net, x: net.fc(net.inner(x.mean(3).transpose(1, 2)).relu().amax(1)),
        inner=nn.Linear(3, 5),
        fc=nn.Linear(5, 4),
    ),
    "a constant behind": Net(
        picture(),
        lambda net, x: net.fc((x.mean(3) * net.scale).amax(2)),
        fc=nn.Linear(3, 4),
        scale=nn.Parameter(torch.zeros(3, 1)),
    ),
    "squeezed": Net(
        nn.Sequential(picture(), nn.Conv2d(3, 5, (4, 1))),
        lambda net, x: net.fc(net.conv(x.squeeze(2)).flatten(1)),
        conv=nn.Conv1d(5, 2, 3),
        fc=nn.Linear(4, 4),
    ),
    "channels last": Net(
        picture(), lambda net, x: net.fc(x.permute(0, 2, 3, 1).flatten(1)), fc=nn.Linear(48, 4)
    ),
    "channels last, in rows": Net(
        picture(),
        lambda net, x: net.fc(x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, 3).flatten(1)),
        fc=nn.Linear(48, 4),
    ),
    "channels in the middle": Net(
        picture(), lambda net, x: net.fc(x.transpose(1, 2).flatten(1)), fc=nn.Linear(48, 4)
    ),
    "width first": Net(
        picture(), lambda net, x: net.fc(x.transpose(2, 3).flatten(1)), fc=nn.Linear(48, 4)
    ),
    "width first, a function": Net(
        picture(),
        lambda net, x: functional.linear(x.permute(0, 3, 1, 2).flatten(1), net.fc.weight),
        fc=nn.Linear(48, 4),
    ),
    "tokens": Net(
        picture(), lambda net, x: net.fc(x.flatten(2).transpose(1, 2).mean(1)), fc=nn.Linear(3, 4)
    ),
    "tokens, a layer each": Net(
        picture(),
        lambda net, x: net.fc(net.inner(x.flatten(2).transpose(1, 2)).relu().amax(1)),
        inner=nn.Linear(3, 5),
        fc=nn.Linear(5, 4),
    ),
    "tokens, flattened": Net(
        picture(),
        lambda net, x: net.fc(x.flatten(2).transpose(1, 2).flatten(1)),
        fc=nn.Linear(48, 4),
    ),
    "mean of channels last": Net(
        picture(), lambda net, x: net.fc(x.permute(0, 2, 3, 1).mean((1, 2))), fc=nn.Linear(3, 4)
    ),
    "one axis of channels last": Net(
        picture(), lambda net, x: net.fc(x.permute(0, 2, 3, 1).mean(1).amax(1)), fc=nn.Linear(3, 4)
    ),
}


@pytest.mark.parametrize("name", PICTURES)
def test_pictures(name: str) -> None:
    check_slides(whole_numbers(PICTURES[name]), (2, 6, 8), (5, 7), (0, 4))


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated")
def test_layers_that_are_pruned_or_normed_are_stored() -> None:
    """Every way in which PyTorch computes a weight when it is asked for it."""
    for computed in (
        lambda layer: prune.l1_unstructured(layer, "weight", 0.5),
        lambda layer: prune.ln_structured(layer, "weight", 0.5, n=2, dim=0),
        weight_norm,
        parametrizations.weight_norm,
    ):
        layers = whole_numbers(nn.Sequential(picture(), nn.Flatten(), nn.Linear(48, 4)), seed=2)
        computed(layers[0][0])
        computed(layers[2])
        before = list(layers.state_dict())
        sliding = fully_convolutional(layers, (2, 6, 8))
        assert list(layers.state_dict()) == before
        assert set(sliding.state_dict()) == {
            "network.0.0.weight", "network.0.0.bias", "network.2.weight", "network.2.bias"
        }  # fmt: skip
        image = images(2, 2, 11, 15)
        found, wanted = sliding(image), answers(layers, sliding, image)
        # Weights of at most 2 (a norm keeps them, up to two roundings): 12 products of at most 8
        # each, then 48 of these; every product and sum rounds once, on either side.
        bound = 2 * (12 + 2 + 48 + 2) * 2.0**-53 * (48 * (12 * 8 + 2) * 2 + 2) * 1.01
        assert (found - wanted).abs().max() <= bound
        assert found.unique().numel() > 4


class Several(nn.Module):
    """Scores of two kinds, at different strides, in a tuple or by name."""

    def __init__(self, named: bool) -> None:
        super().__init__()
        self.body, self.named, self.late = picture(), named, nn.Conv2d(3, 4, 2, stride=2)
        self.age, self.kind = nn.Linear(3, 2), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Any:
        x = self.body(x)
        age, kind = self.age(x.amax((2, 3))), self.kind(self.late(x).flatten(1))
        return {"age": age, "kind": [kind, None]} if self.named else (age, kind)


@pytest.mark.parametrize("named", [False, True])
def test_several_results(named: bool, tmp_path: Path) -> None:
    model = whole_numbers(Several(named))
    sliding = check_slides(model, (2, 6, 8), (6, 9))
    assert [g.stride for g in sliding.geometries] == [(1, 2), (2, 4)]
    assert sliding.describe().count("stride") == 2
    if named:
        assert sliding(images(1, 2, 6, 8))["kind"][1] is None
        return
    sliding.float().export(tmp_path / "s.onnx")
    proto = onnx.load(tmp_path / "s.onnx")
    assert [output.name for output in proto.graph.output] == ["maps", "maps_1"]
    image = images(2, 2, 15, 22).float()
    with torch.no_grad():
        for k, maps in enumerate(sliding(image)):
            assert (run(proto, image.numpy(), k) == maps.numpy()).all()


EXPORTED = {
    "signal": (SIGNALS["flattened"], (2, 23), (61,)),
    "signal, features last": (SIGNALS["tokens"], (2, 23), (61,)),
    "signal, summed": (SIGNALS["sum"], (2, 23), (61,)),
    "volume": (VOLUMES["flattened"], (1, 3, 7, 5), (9, 17, 12)),
    "volume, summed": (VOLUMES["sum"], (1, 3, 7, 5), (9, 17, 12)),
    "volume, axis by axis": (VOLUMES["plane, then depth"], (1, 3, 7, 5), (9, 17, 12)),
    "rows, then columns": (PICTURES["rows, then columns"], (2, 6, 8), (17, 22)),
    "a signal behind": (PICTURES["a signal behind"], (2, 6, 8), (17, 22)),
    "channels last": (PICTURES["channels last"], (2, 6, 8), (17, 22)),
}


@pytest.mark.parametrize("name", EXPORTED)
def test_exported_files_say_the_same_and_can_be_tiled(name: str, tmp_path: Path) -> None:
    model, shape, larger = EXPORTED[name]
    sliding = fully_convolutional(whole_numbers(model).float(), shape)
    sliding.export(
        tmp_path / "s.onnx", classes=["a", "b", "c", "d", "e"][: _classes(sliding, shape)]
    )
    proto, network = onnx.load(tmp_path / "s.onnx"), load(tmp_path / "s.onnx")
    assert [axis.phases for axis in network.axes] == [a.phases for a in sliding.geometry.axes]
    assert network.crops
    told = {each.key: json.loads(each.value) for each in proto.metadata_props}
    assert told["onebyone.stride"] == list(sliding.geometry.stride)
    assert told["onebyone.size"] == list(shape[1:])
    image = images(2, shape[0], *larger).float()
    with torch.no_grad():
        assert (run(proto, image.numpy()) == sliding(image).numpy()).all()
    check_tiles(network, larger, 3)
    model.double()


def _classes(sliding: Any, shape: tuple[int, ...]) -> int:
    return sliding(torch.zeros(1, *shape)).shape[1]


def test_a_divisor_that_exporters_drop_is_refused(tmp_path: Path) -> None:
    for pool in (nn.AvgPool2d(2, divisor_override=1), _Halved()):
        layers = nn.Sequential(nn.Conv2d(2, 3, 3), pool, nn.Flatten(), nn.Linear(12, 4))
        sliding = check_slides(whole_numbers(layers), (2, 6, 6), (5, 7))
        with pytest.raises(UsageError, match=r"divisor_override, which .* drops: scale") as caught:
            sliding.export(tmp_path / "s.onnx")
        assert "\n" not in str(caught.value)
        assert not list(tmp_path.iterdir())


class _Halved(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return functional.avg_pool2d(x, 2, divisor_override=2)


REFUSED: dict[str, tuple[nn.Module, str]] = {
    "places of a maximum": (
        Net(
            picture(),
            lambda net, x: net.fc(torch.max(x.mean(3), 2)[1].double()),
            fc=nn.Linear(3, 4),
        ),
        r"node max_1 \(max\) .* indices of a maximum",
    ),
    "a gate of one axis": (
        Net(
            picture(), lambda net, x: net.fc((x * x.mean(3, True)).amax((2, 3))), fc=nn.Linear(3, 4)
        ),
        r"node mul .*branches meet",
    ),
    "deviation over one axis": (
        Net(picture(), lambda net, x: net.fc(x.std(3).mean(2)), fc=nn.Linear(3, 4)),
        r"node std .* no pool of which the sliding form is known",
    ),
    "a number for each row": (
        Net(
            picture(),
            lambda net, x: net.fc((x.mean(3) * net.scale).amax(2)),
            fc=nn.Linear(3, 4),
            scale=nn.Parameter(torch.zeros(3, 4)),
        ),
        r"node mul .*differs between positions",
    ),
    "a pool of one axis behind": (
        Net(
            picture(),
            lambda net, x: net.fc(functional.max_pool1d(x.mean(3), 2).flatten(1)),
            fc=nn.Linear(6, 4),
        ),
        r"node max_pool1d .* fewer axes than the image has",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_of_one_axis(name: str) -> None:
    model, message = REFUSED[name]
    with pytest.raises(UsageError, match=message) as caught:
        fully_convolutional(whole_numbers(model), (2, 6, 8), accept_approx=True)
    assert "\n" not in str(caught.value)


def test_sizes_by_the_number_of_axes() -> None:
    model = whole_numbers(SIGNALS["flattened"])
    for size in (23, (23,), (2, 23), torch.zeros(3, 2, 23).double()):
        assert fully_convolutional(model, size).geometry.size == (23,)
    for got in ((2, 3, 23), (1, 2, 3, 23)):
        with pytest.raises(UsageError, match="for a model of 1 axes"):
            fully_convolutional(model, got)
    with pytest.raises(UsageError, match="got an image of 22, wanted at least 23"):
        fully_convolutional(model, 23)(images(1, 2, 22))
    volume = whole_numbers(VOLUMES["flattened"])
    assert fully_convolutional(volume, (3, 7, 5)).geometry.size == (3, 7, 5)
    padded = nn.Sequential(nn.Conv1d(1, 2, 3, padding=1), nn.Flatten(), nn.Linear(20, 3))
    with pytest.raises(UsageError, match="the first 1 and last 1 positions; remove"):
        fully_convolutional(padded, 10)
