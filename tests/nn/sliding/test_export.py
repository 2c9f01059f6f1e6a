"""An exported network that slides: the file gives the same maps, and says where it looks."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

from onebyone.errors import UsageError
from onebyone.nn.sliding.fully_convolutional import FullyConvolutional, fully_convolutional
from onebyone.scan.network import load
from tests.nn.sliding.networks import whole_numbers
from tests.scan.slid import check_tiles, run


def flattened() -> FullyConvolutional:
    layers = nn.Sequential(
        nn.Conv2d(2, 3, (5, 3), stride=(1, 2)), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 3 * 2, 7), nn.ReLU(), nn.Linear(7, 5),
    )  # fmt: skip
    return fully_convolutional(whole_numbers(layers).float(), (2, 14, 17))


def pooled(padding: int) -> FullyConvolutional:
    layers = nn.Sequential(
        nn.Conv2d(2, 3, 3, stride=2, padding=padding), nn.AdaptiveMaxPool2d(1), nn.Flatten(),
        nn.Linear(3, 5),
    )  # fmt: skip
    return fully_convolutional(whole_numbers(layers).float(), (2, 9, 13), accept_approx=True)


@pytest.mark.parametrize("padding", [None, 0, 1])
def test_the_file_gives_the_maps_and_says_where_they_look(
    padding: int | None, tmp_path: Path
) -> None:
    sliding = flattened() if padding is None else pooled(padding)
    sliding.export(tmp_path / "s.onnx", classes=["a", "b", "c", "d", "e"])
    proto, network = onnx.load(tmp_path / "s.onnx"), load(tmp_path / "s.onnx")
    # Two ways to the same geometry: by the rules for modules, and by the rows of operators.
    axes = sliding.geometry.axes
    assert [axis.phases for axis in network.axes] == [axis.phases for axis in axes]
    told = {each.key: json.loads(each.value) for each in proto.metadata_props}
    assert told["onebyone.stride"] == list(sliding.geometry.stride)
    assert told["onebyone.window"] == list(sliding.geometry.receptive_field)
    assert told["onebyone.offset"] == list(sliding.geometry.offset)
    assert told["onebyone.size"] == list(sliding.geometry.size)
    assert told["onebyone.halo"] == [list(axis.border) for axis in axes]
    assert told["onebyone.crops"] == network.crops == sliding.exact == (padding != 1)
    assert told["onebyone.tiles"] == network.tiles
    assert len(told["onebyone.reasons"]) == (padding == 1)
    assert network.classes == ("a", "b", "c", "d", "e")
    x = torch.randint(-2, 3, (2, 2, 30, 41)).float()
    assert (run(proto, x.numpy()) == sliding(x).detach().numpy()).all()
    check_tiles(network, (40, 33), 6)


def test_names_and_places_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="got 2 names of classes for 5 maps, wanted one each"):
        flattened().export(tmp_path / "s.onnx", classes=["a", "b"])
    with pytest.raises(UsageError, match=r"cannot write .*: No such file or directory; choose"):
        flattened().export(tmp_path / "nowhere" / "s.onnx")
