"""Chunks are files of Zarr, and a damaged one is not taken for whole."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onebyone.errors import UsageError
from onebyone.scan.place import Place
from onebyone.scan.scan import scan
from onebyone.scan.targets import create
from tests.scan.networks import C_IN, network, pixels, whole


def _flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize("damage", [
    lambda content: content[: len(content) // 2],
    lambda content: content[:-1],
    lambda content: _flipped(content, max(content.find(b"NUMPY"), 9)),
    lambda content: bytes(len(content)),
    lambda content: b"",
])  # fmt: skip
@pytest.mark.parametrize("part", ["0/c/0/1/2", "onebyone/done/1.2.npz"])
def test_a_damaged_file_of_a_chunk_is_not_taken_for_whole(
    part: str, damage: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    """As a power cut leaves them: the marker, or the chunk behind it, is not what was written."""
    model, image, path = network(), pixels(C_IN, 61, 47), tmp_path / "maps.zarr"
    scan(model, image, path, tile=8, scale=1)
    whole_bytes = (path / part).read_bytes()
    (path / part).write_bytes(damage(whole_bytes))
    done = scan(model, image, path, tile=8, scale=1)
    assert done.chunks == 1
    assert (path / part).read_bytes() == whole_bytes
    assert (done.array()[:] == whole(model, image)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int64, np.uint8, np.bool_])
def test_a_chunk_is_the_file_that_zarr_would_write(dtype: Any, tmp_path: Path) -> None:
    path, sizes, side = str(tmp_path / "maps.zarr"), (61, 47), (16, 32)
    maps = pixels(3, *sizes, dtype=dtype)
    maps[:, 16:32, :32] = np.nan if maps.dtype.kind == "f" else 0
    target = create(
        path, maps.shape, side, maps.dtype.str, names=(), place=Place((1.0, 1.0), (0.0, 0.0)),
        said={}, model=b"", certificate={},
    )  # fmt: skip
    for i, j in np.ndindex(4, 2):
        target.write((i, j), maps[:, 16 * i : 16 * i + 16, 32 * j : 32 * j + 32])
    files = {file: file.read_bytes() for file in Path(path, "0", "c").rglob("*") if file.is_file()}
    assert len(files) == 7  # one holds nothing
    np.testing.assert_array_equal(target.array()[:], maps)
    shutil.rmtree(Path(path, "0", "c"))
    target.array()[:] = maps
    assert files == {file: file.read_bytes() for file in files}


def test_what_a_copy_of_a_target_lacks_is_done_again(tmp_path: Path) -> None:
    model, image, path = network(), pixels(C_IN, 61, 47), tmp_path / "maps.zarr"
    mask = np.ones((61, 47))
    mask[:30] = 0  # whole chunks of it have no file, and lack nothing
    options: dict[str, Any] = {"tile": 4, "scale": 1, "mask": mask}
    wanted = scan(model, image, path, **options).array()[:]
    chunk, markers = path / "0" / "c" / "0" / "3" / "2", path / "onebyone" / "done"
    assert chunk.exists()
    assert not (path / "0" / "c" / "0" / "0" / "0").exists()
    assert scan(model, image, path, **options).chunks == 0
    chunk.unlink()
    (markers / "3.1.npz").write_bytes(b"")
    (markers / "notes.npz").write_bytes(b"not of a scan")
    done = scan(model, image, path, **options)
    assert done.chunks == 2
    np.testing.assert_array_equal(done.array()[:], wanted)


@pytest.mark.parametrize("part", ["onebyone/model.onnx", "onebyone/done", "onebyone", "0"])
def test_a_target_without_a_part_of_it_is_refused(part: str, tmp_path: Path) -> None:
    model, image, path = network(), pixels(C_IN, 61, 47), tmp_path / "maps.zarr"
    scan(model, image, path, tile=8, scale=1)
    (path / part).rename(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="is gone: remove"):
        scan(model, image, path, tile=8, scale=1)
