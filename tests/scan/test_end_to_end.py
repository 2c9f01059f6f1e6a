"""From a module to the maps on disk: a signal, a picture and a volume, by command and by function.

Each position of the maps is the classifier's answer on its crop, by `==`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from onebyone.cli import run
from onebyone.scan.scan import scan
from onebyone.scan.targets import Target

torch = pytest.importorskip("torch")
from onebyone.nn.sliding.fully_convolutional import fully_convolutional  # noqa: E402
from tests.nn.sliding.networks import answers, whole_numbers  # noqa: E402
from tests.nn.sliding.test_axes import PICTURES, SIGNALS, VOLUMES  # noqa: E402

CASES: dict[str, tuple[Any, tuple[int, ...], tuple[int, ...]]] = {
    "signal": (SIGNALS["flattened"], (2, 23), (513,)),
    "signal, features last": (SIGNALS["tokens"], (2, 23), (513,)),
    "picture, axis by axis": (PICTURES["both of one axis"], (2, 6, 8), (41, 30)),
    "picture, channels last": (PICTURES["channels last"], (2, 6, 8), (41, 30)),
    "volume": (VOLUMES["flattened"], (1, 3, 7, 5), (9, 21, 14)),
    "volume, axis by axis": (VOLUMES["plane, then depth"], (1, 3, 7, 5), (9, 21, 14)),
}


@pytest.mark.parametrize("name", CASES)
def test_a_module_becomes_maps(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module, shape, sizes = CASES[name]
    sliding = fully_convolutional(whole_numbers(module), shape)
    pixels = np.random.default_rng(4).integers(0, 9, (shape[0], *sizes)).astype(np.int16)
    with torch.no_grad():
        wanted = answers(module, sliding, torch.from_numpy(pixels)[None].double())[0].numpy()
    sliding.float().export(tmp_path / "model.onnx")
    np.save(tmp_path / "image.npy", pixels)
    monkeypatch.chdir(tmp_path)
    command = ["scan", "model.onnx", "image.npy", "-o", "maps.zarr", "--scale", "1", "--tile", "3"]
    assert run([*command, "--workers", "2"]) == 0
    assert "exact" not in capsys.readouterr().err
    found = Target(str(tmp_path / "maps.zarr")).array()
    assert (found[:] == wanted).all()
    assert found.chunks == (wanted.shape[0], *[3] * len(sizes))

    stored = zarr.create_array(
        tmp_path / "image.zarr", shape=pixels.shape, chunks=(1, *[7] * len(sizes)),
        dtype=pixels.dtype, zarr_format=2,
    )  # fmt: skip
    stored[:] = pixels
    done = scan("model.onnx", "image.zarr", "again.zarr", scale=1, tile=3)
    assert (done.array()[:] == wanted).all()
