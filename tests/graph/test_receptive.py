"""The geometry of whole models: known receptive fields, and every pixel that moves an output."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import onnx
import pytest

import onebyone
from onebyone.cli import run
from onebyone.errors import UsageError
from onebyone.graph.receptive import ModelGeometry, geometry
from tests.commands import documented, keys
from tests.scan.slid import Build, image
from tests.scan.slid import run as engine
from tests.scan.test_network import MADE, chain, resized_to_the_image, squeezed, u_net


def residual_network(b: Build, counts: tuple[int, ...], deep: bool) -> str:
    """A ResNet of one channel: 7×7/2, a pool 3/2, and stages that stride in their first 3×3."""
    one = {"pads": [1] * 4}
    x = b.conv("x", 2, 1, (7, 7), strides=[2, 2], pads=[3] * 4)
    x = b.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], **one)
    for stage, blocks in enumerate(counts):
        for block in range(blocks):
            strides = [2 if stage and not block else 1] * 2
            y = b.conv(x, 1, 1, (1, 1)) if deep else x
            y = b.op("Relu", b.conv(y, 1, 1, (3, 3), strides=strides, **one))
            y = b.conv(y, 1, 1, (1, 1)) if deep else b.conv(y, 1, 1, (3, 3), **one)
            if strides != [1, 1]:
                x = b.conv(x, 1, 1, (1, 1), strides=strides)
            x = b.op("Relu", b.op("Add", y, x))
    return b.op("Flatten", b.op("GlobalAveragePool", x))


@pytest.mark.parametrize(
    ("counts", "deep", "field"),
    [((2, 2, 2, 2), False, 435), ((3, 4, 6, 3), False, 899), ((3, 4, 6, 3), True, 427)],
)
def test_known_receptive_fields(counts: tuple[int, ...], deep: bool, field: int) -> None:
    """Of ResNet-18, 34 and 50, as Araujo et al. have them (Distill, 2019; 50 with its strides in
    the 3×3s, as here, has 427)."""
    b = Build()
    found = geometry(b.model(residual_network(b, counts, deep), sizes=(224, 192)))
    assert found.outputs[0].axes == (None, None)
    assert found.features is not None
    for axis in found.features.axes:
        assert axis is not None
        assert (axis.stride, axis.receptive_field, axis.period) == (32, field, 32)
        assert axis.size(224) == 7
    assert found.tiles
    assert not found.crops
    assert [reason.split(":")[0] for reason in found.reasons] == ["GlobalAveragePool n_v" + str(
        len(b.nodes) - 2)]  # fmt: skip


@pytest.mark.parametrize("make", [chain, u_net, resized_to_the_image, *list(MADE)[:3]])
def test_no_pixel_outside_the_window_moves_an_output(make: Callable[[Build], str]) -> None:
    """And the first and the last pixel of a window move some output of its phase."""
    b = Build()
    model = b.model(make(b))
    height = geometry(model).outputs[0].axes[0]
    assert height is not None
    sizes = (48, 24)
    x = image(2, sizes)
    before = engine(model, x)
    moved = np.zeros((before.shape[2], sizes[0]), bool)
    for row in range(sizes[0]):
        for change in (5, -7, 23):
            other = x.copy()
            other[:, :, row] += change
            moved[:, row] |= (engine(model, other) != before).any(axis=(0, 1, 3))
    reached: set[tuple[int, int]] = set()
    for output in range(len(moved)):
        block, number = divmod(output, height.up)
        phase, rows = height.phases[number], np.flatnonzero(moved[output])
        first, last = (block * height.stride + end for end in (phase.first, phase.last))
        assert len(rows)
        assert max(first, 0) <= rows.min() <= rows.max() <= last
        reached |= {(number, int(row) - block * height.stride) for row in rows}
    # And no less: of the phase that sees most at each end.
    assert min(row for _, row in reached) == min(phase.first for phase in height.phases)
    assert max(row for _, row in reached) == max(phase.last for phase in height.phases)


def test_a_module_and_its_file_agree() -> None:
    import torch

    module = torch.nn.Sequential(
        torch.nn.Conv1d(3, 4, 5, stride=3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool1d(2)
    )
    found = onebyone.geometry(module, torch.zeros(1, 3, 41), export={"dynamo": False})
    (axis,) = found.outputs[0].axes
    assert axis is not None
    assert (axis.stride, axis.receptive_field, axis.offset, axis.border) == (6, 8, -1, (1, 1))
    assert [layer.operator for layer in found.layers] == ["Conv", "MaxPool"]
    with pytest.raises(UsageError, match="got an example and no module"):
        onebyone.geometry("model.onnx", torch.zeros(1))


def test_a_model_without_positions() -> None:
    b = Build()
    found = geometry(b.model(b.op("InstanceNormalization", "x", b.weight(2), b.weight(2))))
    assert (found.features, found.maps, found.tiles, found.crops) == (None, (), False, False)
    assert repr(found) == "<ModelGeometry: no value has the positions of x>"
    assert "no value has the positions of x" in str(found)


@pytest.mark.parametrize("make", [chain, u_net, squeezed])
def test_the_command(
    make: Callable[[Build], str], tmp_path: object, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    b, path = Build(), f"{tmp_path}/m.onnx"
    onnx.save(b.model(make(b)), path)
    assert run(["geometry", path, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert keys(told) <= documented()
    assert told == geometry(path).to_dict()
    monkeypatch.setenv("COLUMNS", "80")
    assert run(["geometry", path, "--layers"]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert [value in shown for value in told["reasons"]] == [True] * len(told["reasons"])
    assert ("v0" in shown) == any(layer["name"] == "v0" for layer in told["layers"])
    assert f"tiles   {'yes' if told['tiles'] else 'no'}" in shown
    assert ("images  of a multiple of 4 pixels" in shown) == (make is u_net)
    assert run(["geometry", path]) == 0
    assert "layers" not in capsys.readouterr().out


def test_several_inputs_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    b = Build()
    model = b.model(b.op("Concat", b.conv("x", 2, 3, (3, 3)), "z", axis=1))
    model.graph.input.append(onnx.helper.make_tensor_value_info("z", 1, ["n", 4, "h", "w"]))
    with pytest.raises(UsageError, match="got inputs x of rank 4, z of rank 4, wanted one of rank"):
        geometry(model)
    found = geometry(model, "x")
    assert isinstance(found, ModelGeometry)
    assert found.reasons == ("Concat n_v1: it is given numbers for each position",)
