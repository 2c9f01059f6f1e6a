"""Maps as a TIFF: the numbers, the tiles, the place in the world, and what is none of them.

tifffile reads them, which is not what places them; where rasterio is installed, GDAL does, too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tifffile
from onnx import TensorProto, helper, numpy_helper

from onebyone.algebra.weights import Array
from onebyone.scan import tiff as written
from onebyone.scan.scan import scan
from tests.scan.networks import C_IN, network, pixels, whole

KEYS = (1, 1, 0, 1, 1024, 0, 1, 1)
SCALE, TIE = (10.0, 20.0, 0.0), (2.0, 1.0, 0.0, 5000.0, 8000.0, 0.0)


def classes_of(kind: str) -> onnx.ModelProto:
    """Maps in float32, or the same as whole numbers of 0 to 255."""
    model = network()
    if kind == "float32":
        return model
    low, high = (numpy_helper.from_array(np.float32(n), f"n{n}") for n in (0, 255))
    model.graph.initializer.extend([low, high])
    model.graph.node.append(helper.make_node("Clip", ["y", "n0", "n255"], ["z"]))
    model.graph.node.append(helper.make_node("Cast", ["z"], ["u"], to=TensorProto.UINT8))
    output: Any = model.graph.output[0]
    output.name, output.type.tensor_type.elem_type = "u", TensorProto.UINT8
    return model


def geotiff(path: Path, image: Array, keys: bool = True) -> Path:
    tags = [(33550, 12, 3, SCALE, True), (33922, 12, 6, TIE, True)]
    tags += [(34735, 3, len(KEYS), KEYS, True)] * keys
    pixels = np.moveaxis(image, 0, -1)
    tifffile.imwrite(path, pixels, photometric="rgb", tile=(32, 16), extratags=tags)
    return path


@pytest.mark.parametrize("tile", [5, 16, 48, 100])
@pytest.mark.parametrize("kind", ["float32", "uint8"])
def test_all_classes_in_tiles_that_do_not_fit(kind: str, tile: int, tmp_path: Path) -> None:
    model, image = classes_of(kind), pixels(C_IN, 261, 147)
    wanted = whole(model, image)
    assert len(np.unique(wanted)) > 20
    source = geotiff(tmp_path / "image.tif", image)
    scan(model, source, tmp_path / "maps.tif", tile=tile, scale=1)
    with tifffile.TiffFile(tmp_path / "maps.tif") as tiff:
        page = tiff.pages[0]
        assert page.is_tiled
        assert page.tilelength % 16 == page.tilewidth % 16 == 0
        assert (page.dtype, page.shape) == (kind, (*wanted.shape[1:], len(wanted)))
        assert (np.moveaxis(page.asarray(), -1, 0) == wanted).all()


@pytest.mark.parametrize("size", [(1030, 530), (80, 70)])
def test_overviews_are_of_every_second_position(size: tuple[int, int], tmp_path: Path) -> None:
    model, image = network(), pixels(C_IN, *size)
    wanted = np.moveaxis(whole(model, image), 0, -1)
    scan(model, image, tmp_path / "maps.tif", tile=64, scale=1)
    with tifffile.TiffFile(tmp_path / "maps.tif") as tiff:
        pages = list(tiff.pages)
        assert [page.subfiletype for page in pages] == [0] + [1] * (len(pages) - 1)
        for level, page in enumerate(pages):
            every = 2**level
            assert (page.asarray() == wanted[::every, ::every]).all()
            single = all(n <= 64 for n in page.shape[:2])
            assert single == (page is pages[-1])


@pytest.mark.parametrize("keys", [True, False])
def test_the_place_is_that_of_the_positions(keys: bool, tmp_path: Path) -> None:
    source = geotiff(tmp_path / "image.tif", pixels(C_IN, 61, 47), keys)
    scan(network(), source, tmp_path / "maps.tif", tile=16, scale=1)
    with tifffile.TiffFile(tmp_path / "maps.tif") as tiff:
        tags = {tag.code: tag.value for tag in tiff.pages[0].tags}
    # Pixel (1, 2) has its corner at the tie; windows of 5×6 pixels are 4 and 2 apart, so position
    # (0, 0) is as large as 4×2 pixels around (2.5, 3).
    left, top = 5000 + (3 - 1 - 2) * 10.0, 8000 - (2.5 - 2 - 1) * 20.0
    assert tags[33550] == (2 * 10.0, 4 * 20.0, 0.0)
    assert tags[33922] == (0, 0, 0, left, top, 0)
    assert (34735 in tags) == keys
    assert 42113 not in tags
    try:
        import rasterio  # type: ignore[import-not-found]
    except ImportError:
        return
    with rasterio.open(tmp_path / "maps.tif") as gdal:
        assert gdal.transform[:6] == (20.0, 0, left, 0, -80.0, top)
        assert (gdal.read() == whole(network(), pixels(C_IN, 61, 47))).all()


def test_sizes_of_pixels_that_are_lengths_are_a_resolution(tmp_path: Path) -> None:
    image = pixels(C_IN, 61, 47)
    metadata = {"axes": "CYX", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5}
    tifffile.imwrite(tmp_path / "image.ome.tif", image, ome=True, metadata=metadata)
    scan(network(), tmp_path / "image.ome.tif", tmp_path / "maps.tif", tile=16, scale=1)
    with tifffile.TiffFile(tmp_path / "maps.tif") as tiff:
        tags = tiff.pages[0].tags
        across, down = (tags[name].value for name in ("XResolution", "YResolution"))
    # Positions of 2·0.25 and 4·0.5 µm: so many in a centimetre.
    assert (across[0] / across[1], down[0] / down[1]) == (20_000, 5_000)
    assert 33550 not in tags


@pytest.mark.parametrize(("kind", "none"), [("float32", "nan"), ("uint8", "0")])
def test_what_a_mask_leaves_out_is_no_data(kind: str, none: str, tmp_path: Path) -> None:
    model, image = classes_of(kind), pixels(C_IN, 61, 47)
    mask = np.ones((61, 47), np.uint8)
    mask[:30] = 0
    done = scan(model, image, tmp_path / "maps.tif", tile=8, scale=1, mask=mask)
    with tifffile.TiffFile(tmp_path / "maps.tif") as tiff:
        page = tiff.pages[0]
        found = np.moveaxis(page.asarray(), -1, 0)
        assert page.tags[42113].value == none
    np.testing.assert_array_equal(found, done.array()[:])
    left_out = np.isnan(found) if kind == "float32" else found == 0
    assert left_out[:, :6].all()
    assert (found[:, 8:] == whole(model, image)[:, 8:]).all()


def test_ended_while_it_is_written_it_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, image, path = network(), pixels(C_IN, 261, 147), tmp_path / "maps.tif"

    tiles = written._tiles
    monkeypatch.setattr(written, "_tiles", lambda *given: _until(tiles(*given), 2))
    with pytest.raises(KeyboardInterrupt):
        scan(model, image, path, tile=16, scale=1)
    assert not path.exists()
    monkeypatch.undo()
    # As kill -9 would leave it, which nothing tidies up.
    (tmp_path / "maps.tif.0123abcd.tmp").write_bytes(b"half")
    done = scan(model, image, path, tile=16, scale=1)
    assert done.chunks == 0
    assert (np.moveaxis(tifffile.imread(path), -1, 0) == whole(model, image)).all()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["maps.tif", "maps.tif.zarr"]


def _until(tiles: Any, count: int) -> Any:
    for _ in range(count):
        yield next(tiles)
    raise KeyboardInterrupt
