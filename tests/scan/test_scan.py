"""Tiled equals the whole image at once, from every source, however often it was ended before."""

from __future__ import annotations

import os
import signal
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import onnx
import onnx.parser
import pytest
import tifffile
import zarr
from PIL import Image

import onebyone
from onebyone.algebra.weights import Array
from onebyone.errors import UnreadableModel, UsageError
from onebyone.scan import schedule, tiles
from onebyone.scan.scan import scan
from onebyone.scan.targets import Target
from tests.graphs.text import model as text_model
from tests.quick import slow_but_pairs
from tests.scan.networks import C_IN, network, pixels, whole

PADS = [(0, 0, 0, 0), (1, 2, 1, 2), (2, 0, 0, 3)]


@pytest.mark.parametrize(
    ("tile", "size", "pads"), slow_but_pairs([1, 4, 7, 100], [(61, 47), (40, 40), (7, 90)], PADS)
)
def test_tiles_give_what_the_whole_image_gives(
    pads: tuple[int, int, int, int], size: tuple[int, int], tile: int, tmp_path: Path
) -> None:
    if tile == 1:
        size = size[0] // 3 + 5, size[1] // 3
    model, image = network(pads), pixels(C_IN, *size)
    done = scan(model, image, tmp_path / "maps.zarr", tile=tile, scale=1, workers=1)
    assert (done.array()[:] == whole(model, image)).all()


@pytest.mark.parametrize("pads", PADS)
def test_parts_give_what_the_whole_image_gives(
    pads: tuple[int, int, int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks of 8×8 outputs in parts, down to one."""
    model, image, path = network(pads), pixels(C_IN, 61, 47), tmp_path / "maps.zarr"
    mask = pixels(1, 61, 47) > 2
    wanted = scan(model, image, tmp_path / "whole.zarr", tile=8, scale=1, mask=mask).array()[:]
    monkeypatch.setattr(tiles, "MOST_ACTIVATIONS", 0)
    monkeypatch.setattr(tiles, "MOST_MACS", 1000)
    done = scan(model, image, path, tile=8, scale=1, mask=mask)
    assert Target(done.folder).said["part"] == [1, 1]
    np.testing.assert_array_equal(done.array()[:], wanted)


def test_the_smallest_image_is_one_position(tmp_path: Path) -> None:
    model, image = network(), pixels(C_IN, 5, 6)
    done = scan(model, image, tmp_path / "maps.zarr", scale=1)
    assert done.array().shape == (4, 1, 1)
    assert (done.array()[:] == whole(model, image)).all()


def _zarr(version: int) -> Callable[[Path, Array], Any]:
    def save(folder: Path, image: Array) -> Path:
        array = zarr.create_array(
            folder / "image.zarr", shape=image.shape, chunks=(1, 16, 9), dtype=image.dtype,
            zarr_format=version,
        )  # fmt: skip
        array[:] = image
        return folder / "image.zarr"

    return save


def _ome(folder: Path, image: Array) -> Path:
    group = zarr.open_group(folder / "image.ome.zarr", mode="w", zarr_format=2)
    shape = (1, image.shape[0], 1, *image.shape[1:])
    array = group.create_array("s0", shape=shape, chunks=(1, 1, 1, 20, 20), dtype=image.dtype)
    array[:] = image.reshape(shape)
    axes = [{"name": name} for name in "tczyx"]
    steps = [{"type": "scale", "scale": [1, 1, 1, 0.5, 0.25]}]
    datasets = [{"path": "s0", "coordinateTransformations": steps}]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]
    return folder / "image.ome.zarr"


def _tiff(**options: Any) -> Callable[[Path, Array], Any]:
    def save(folder: Path, image: Array) -> Path:
        tifffile.imwrite(folder / "image.tif", np.moveaxis(image, 0, -1), **options)
        return folder / "image.tif"

    return save


def _ome_tiff(folder: Path, image: Array) -> Path:
    path = folder / "image.ome.tif"
    metadata = {"axes": "CYX", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5}
    tifffile.imwrite(path, image, ome=True, tile=(16, 32), metadata=metadata)
    return path


def _npy(folder: Path, image: Array) -> Path:
    np.save(folder / "image.npy", np.moveaxis(image, 0, -1))
    return folder / "image.npy"


def _png(folder: Path, image: Array) -> Path:
    Image.fromarray(np.moveaxis(image, 0, -1)).save(folder / "image.png")
    return folder / "image.png"


SOURCES: dict[str, Callable[[Path, Array], Any]] = {
    "zarr 2": _zarr(2),
    "zarr 3": _zarr(3),
    "OME-Zarr": _ome,
    "tiled TIFF": _tiff(tile=(16, 32), photometric="rgb"),
    "TIFF in strips": _tiff(rowsperstrip=3, photometric="rgb"),
    "BigTIFF, compressed": _tiff(bigtiff=True, compression="lzw", tile=(32, 16), photometric="rgb"),
    "OME-TIFF": _ome_tiff,
    "npy": _npy,
    "PNG": _png,
    "NumPy": lambda _, image: image,
    "Dask": lambda _, image: dask.array.from_array(image, chunks=(3, 17, 10)),
}


@pytest.mark.parametrize(
    ("source", "pads"),
    [
        pytest.param(source, pads, marks=[] if k % 2 == turn else [pytest.mark.slow])
        for k, source in enumerate(SOURCES)
        for turn, pads in enumerate(PADS[:2])
    ],
)
def test_every_source(source: str, pads: tuple[int, int, int, int], tmp_path: Path) -> None:
    model, image = network(pads), pixels(C_IN, 61, 47)
    given = SOURCES[source](tmp_path, image)
    done = scan(model, given, tmp_path / "maps.zarr", tile=8, scale=1)
    assert (done.array()[:] == whole(model, image)).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32, np.float64])
def test_every_type_of_pixel(dtype: Any, tmp_path: Path) -> None:
    model, image = network(), pixels(C_IN, 31, 29, dtype=dtype)
    done = scan(model, image, tmp_path / "maps.zarr", tile=5, scale=2, mean=[1, 2, 3], std=[4])
    given = (image / 2 - np.array([1, 2, 3])[:, None, None]) / 4
    assert (done.array()[:] == whole(model, given)).all()


def test_jpeg_is_read_as_its_decoder_has_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "image.jpg"
    Image.fromarray(rng.integers(0, 256, (40, 33, 3), dtype=np.uint8)).save(path)
    with Image.open(path) as picture:
        image = np.moveaxis(np.asarray(picture), -1, 0)
    done = scan(network(), path, tmp_path / "maps.zarr", tile=6, scale=1)
    assert (done.array()[:] == whole(network(), image)).all()


def test_classes_are_kept_in_the_order_that_was_asked_for(tmp_path: Path) -> None:
    model, image = network(), pixels(C_IN, 31, 29)
    done = scan(model, image, tmp_path / "maps.zarr", tile=5, scale=1, classes=[2, 0])
    assert (done.array()[:] == whole(model, image)[[2, 0]]).all()


def test_a_mask_leaves_out_what_it_covers_and_nothing_else(tmp_path: Path) -> None:
    model, image = network(strides=(1, 1)), pixels(C_IN, 64, 48)
    mask = np.zeros((32, 24), np.uint8)
    mask[5:11, 3:20] = 1
    done = scan(model, image, tmp_path / "maps.zarr", tile=4, scale=1, mask=mask)
    maps, wanted = done.array()[:], whole(model, image)
    # Position (i, j): its window of 4×6 pixels starts at (2i, 2j).
    rows = (np.arange(maps.shape[1]) * 2 + 1.5 + 0.5) // 2
    columns = (np.arange(maps.shape[2]) * 2 + 2.5 + 0.5) // 2
    kept = mask[np.ix_(rows.astype(int), columns.astype(int))] != 0
    assert 0 < kept.sum() < kept.size
    assert np.isnan(maps[:, ~kept]).all()
    assert (maps[:, kept] == wanted[:, kept]).all()


def test_a_run_goes_on_where_it_was(tmp_path: Path) -> None:
    model, image, path = network(), pixels(C_IN, 61, 47), tmp_path / "maps.zarr"
    first = scan(model, image, path, tile=8, scale=1)
    marker = path / "onebyone" / "done" / "1.2.npz"
    marker.unlink()
    # As if it had been ended while it wrote: what is there is not taken for a chunk.
    (path / "0" / "c" / "0" / "1" / "2").write_bytes(b"half")
    done = scan(model, image, path, scale=1)
    assert (first.chunks, done.chunks) == (first.chunks, 1)
    assert (done.array()[:] == whole(model, image)).all()


def test_a_target_belongs_to_one_scan(tmp_path: Path) -> None:
    model, image, path = network(), pixels(C_IN, 61, 47), tmp_path / "maps.zarr"
    scan(model, image, path, tile=8, scale=1)
    before = _content(path)
    for other, options, why in [
        (network((1, 2, 1, 2)), {"scale": 1}, "model"),
        (model, {"scale": 2}, "values"),
        (model, {"scale": 1, "tile": 9}, "tile"),
        (model, {"scale": 1, "classes": [0]}, "classes"),
        (model, {"scale": 1, "mask": np.ones((61, 47))}, "mask"),
    ]:
        with pytest.raises(UsageError, match=f"belongs to another scan: its {why}"):
            scan(other, image, path, **options)
    with pytest.raises(UsageError, match="let it resume"):
        scan(model, image, path, scale=1, resume=False)
    assert _content(path) == before


def test_an_image_that_was_changed_is_another_one(tmp_path: Path) -> None:
    model, image = network(), pixels(C_IN, 61, 47)
    file = _npy(tmp_path, image)
    scan(model, file, tmp_path / "maps.zarr", tile=8, scale=1)
    assert scan(model, file, tmp_path / "maps.zarr", scale=1).chunks == 0
    _npy(tmp_path, image + 1)
    with pytest.raises(UsageError, match="belongs to another scan: its image"):
        scan(model, file, tmp_path / "maps.zarr", scale=1)


def test_a_zarr_whose_pixels_were_changed_in_place_is_another_one(tmp_path: Path) -> None:
    model, image = network(), pixels(C_IN, 61, 47)
    group = zarr.open_group(tmp_path / "group.zarr", mode="w", zarr_format=3)
    stored = group.create_array("x", shape=image.shape, chunks=(C_IN, 32, 32), dtype=image.dtype)
    stored[:] = image
    file, path = tmp_path / "group.zarr" / "x", tmp_path / "group.zarr" / "maps.zarr"
    scan(model, file, path, tile=8, scale=1)
    # What is written beside the image, the maps for one, is no change of it.
    assert scan(model, file, path, scale=1).chunks == 0
    stored[:, 40:, 40:] = 0
    with pytest.raises(UsageError, match=r'its image is \{"modified": \d+\}, wanted'):
        scan(model, file, path, scale=1)


@pytest.mark.parametrize(
    "given",
    [
        np.asarray,
        lambda image: dask.array.from_array(image, chunks=(C_IN, 16, 16)),
        lambda image: zarr.array(image, chunks=(C_IN, 16, 16)),
    ],
    ids=["numpy", "dask", "zarr"],
)
def test_another_array_is_another_image(given: Callable[[Array], Any], tmp_path: Path) -> None:
    """Of the same sizes: its maps are not those that are there."""
    model, image, path = network(), pixels(C_IN, 61, 47), tmp_path / "maps.zarr"
    scan(model, given(image), path, tile=8, scale=1)
    assert scan(model, given(image.copy()), path, scale=1).chunks == 0
    image[0, 60, 46] += 1
    with pytest.raises(UsageError, match=r'another scan: its image is \{"digest"'):
        scan(model, given(image), path, scale=1)


def test_a_name_that_looks_like_an_address_is_a_name(tmp_path: Path) -> None:
    model, image = network(), pixels(C_IN, 61, 47)
    file = tmp_path / "image::1.zarr"
    stored = zarr.open_array(
        zarr.storage.LocalStore(file), mode="w", shape=image.shape, dtype=image.dtype
    )
    stored[:] = image
    done = scan(model, file, tmp_path / "maps::1.zarr", tile=8, scale=1)
    assert (done.array()[:] == whole(model, image)).all()


def test_threads_and_a_cluster_give_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of six chunks Dask knows four at once."""
    import distributed

    monkeypatch.setattr(schedule, "_WINDOW", 4)
    model, image = network((1, 2, 1, 2)), pixels(C_IN, 61, 47)
    a, b = tmp_path / "a" / "maps.zarr", tmp_path / "b" / "maps.zarr"
    a.parent.mkdir()
    b.parent.mkdir()
    scan(model, image, a, tile=8, scale=1, workers=2)
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        scan(model, image, b, tile=8, scale=1, client=client)
    assert _content(a) == _content(b)


def test_coordinates_are_carried(tmp_path: Path) -> None:
    image = pixels(C_IN, 61, 47)
    done = scan(network(), _ome_tiff(tmp_path, image), tmp_path / "maps.zarr", tile=8, scale=1)
    scales = zarr.open_group(done.folder, mode="r").attrs["ome"]["multiscales"][0]
    steps = scales["datasets"][0]["coordinateTransformations"]
    # Windows of 5×6 pixels, 4 and 2 apart: their first middle is pixel (2, 2.5).
    assert steps[0]["scale"] == [1, 4 * 0.5, 2 * 0.25]
    assert steps[1]["translation"] == [0, 2 * 0.5, 2.5 * 0.25]
    assert [axis.get("unit") for axis in scales["axes"]] == [None, "micrometer", "micrometer"]


def test_a_tiff_holds_the_same_maps(tmp_path: Path) -> None:
    model, image = network(), pixels(C_IN, 261, 147)
    done = scan(model, image, tmp_path / "maps.tif", tile=32, scale=1)
    maps = tifffile.imread(tmp_path / "maps.tif")
    assert (np.moveaxis(maps, -1, 0) == whole(model, image)).all()
    assert (done.array()[:] == whole(model, image)).all()
    with pytest.raises(UsageError, match="is there"):
        scan(model, image, tmp_path / "maps.tif", tile=32, scale=1)


def test_the_certificate_and_a_preview_are_beside(tmp_path: Path) -> None:
    done = scan(network(), pixels(C_IN, 61, 47), tmp_path / "maps.zarr", tile=8, scale=1)
    target = Target(done.folder)
    assert '"passed": true' in target.certificate.read_text()
    with Image.open(target.preview) as picture:
        assert picture.size == done.array().shape[:0:-1]
    assert target.said["schema"] == 1


def test_bad_input_is_told_before_anything_is_written(tmp_path: Path) -> None:
    model, image, path = network(), pixels(C_IN, 61, 47), tmp_path / "maps.zarr"
    for given, options, error, why in [
        (image, {}, UsageError, "say --scale"),
        (image[:2], {"scale": 1}, UsageError, "wanted 3 channels|2×61×47"),
        (image, {"scale": 0}, UsageError, "above 0"),
        (image, {"scale": 1, "mean": [1, 2]}, UsageError, "wanted 1 or 3"),
        (image, {"scale": 1, "classes": ["cat"]}, UsageError, "wanted 0 to 3"),
        (image, {"scale": 1, "memory": "1kB"}, UsageError, "give more with --memory"),
        (image, {"scale": 1, "memory": "much"}, UsageError, "wanted bytes"),
        (image, {"scale": 1, "tile": 0}, UsageError, "got --tile 0, wanted 1 or more outputs"),
        (image, {"scale": 1, "workers": 0}, UsageError, "wanted 1 or more"),
        (image[:, :4], {"scale": 1}, UsageError, r"smaller than .*wanted \(5, 6\) or more"),
        (tmp_path / "no.tif", {"scale": 1}, UnreadableModel, "no such file"),
        (tmp_path, {"scale": 1}, UnreadableModel, "not of Zarr"),
        ([1, 2], {"scale": 1}, UsageError, "wanted an image"),
        (image.astype(complex), {"scale": 1}, UnreadableModel, "holds complex"),
    ]:
        with pytest.raises(error, match=why):
            scan(model, given, path, **options)
        assert not list(tmp_path.iterdir())


def test_a_size_that_the_network_cannot_take_is_told_before_anything_is_written(
    tmp_path: Path,
) -> None:
    halved = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 17]> g (float[1, 3, H, W] x) => (float[1, 12, h, w] y)
        { y = SpaceToDepth<blocksize = 2>(x) }"""
    )
    with pytest.raises(UsageError, match="61 pixels along an axis, wanted a multiple of 2"):
        scan(halved, pixels(C_IN, 61, 48), tmp_path / "maps.zarr", tile=8, scale=1)
    assert not list(tmp_path.iterdir())


def test_what_is_no_number_ends_the_scan_and_a_mended_image_is_another_one(
    tmp_path: Path,
) -> None:
    model, image = network(), pixels(C_IN, 61, 47, dtype=np.float32)
    broken = image.copy()
    broken[1, 40, 30] = np.nan
    path = tmp_path / "maps.zarr"
    with pytest.raises(UnreadableModel, match="NaN"):
        scan(model, broken, path, tile=8, workers=1)
    with pytest.raises(UsageError, match="belongs to another scan"):
        scan(model, image, path, tile=8)
    done = scan(model, image, tmp_path / "mended.zarr", tile=8)
    assert (done.array()[:] == whole(model, image)).all()


@pytest.mark.parametrize("cut", [0.9, 0.2])
def test_a_source_that_ends_early(cut: float, tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (C_IN, 261, 147)).astype(np.uint8)
    for save in (_npy, _tiff(tile=(16, 32), photometric="rgb"), _png):
        path = save(tmp_path, image)
        path.write_bytes(path.read_bytes()[: int(cut * path.stat().st_size)])
        with pytest.raises(UnreadableModel, match=r"ends early|cannot read"):
            scan(network(), path, tmp_path / "maps.zarr", scale=1)
        assert not (tmp_path / "maps.zarr").exists()


def test_a_full_disk_is_told_and_what_was_done_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, image, path = network(), pixels(C_IN, 61, 47), tmp_path / "maps.zarr"
    write, room = Target.write, iter(range(3))

    def full(self: Target, index: Any, chunk: Array) -> Array:
        if next(room, None) is None:
            from onebyone.graph.files import cannot_write

            raise cannot_write(self.path, OSError(28, "No space left on device"))
        return write(self, index, chunk)

    monkeypatch.setattr(Target, "write", full)
    with pytest.raises(UsageError, match=r"No space left on device.*3 of"):
        scan(model, image, path, tile=8, scale=1, workers=1)
    monkeypatch.undo()
    done = scan(model, image, path, scale=1)
    assert (done.array()[:] == whole(model, image)).all()


def test_maps_of_an_image_that_leaves_nothing_inside_are_no_maps(tmp_path: Path) -> None:
    """Of no rows a transposed convolution makes some: the engine's sizes and ours differ there."""
    body = "a = Conv(x, w) b = Slice(a, two, last, axis) y = ConvTranspose(b, v)"
    constants = {"two": 2, "last": -2, "axis": 2}
    model = text_model(
        body,
        "float[1,1,H,W] x",
        "float[1,1,h,w] y",
        {"w": (1, 1, 1, 1), "v": (1, 1, 4, 1), **{k: np.array([n]) for k, n in constants.items()}},
    )
    image = np.ones((1, 3, 3), np.float32)
    with pytest.raises((UnreadableModel, UsageError), match=r"larger image|smaller than"):
        scan(model, image, tmp_path / "maps.zarr", scale=1)
    large = np.arange(27, dtype=np.float32).reshape(1, 9, 3)
    done = scan(model, large, tmp_path / "large.zarr", scale=1)
    assert (done.array()[:] == whole(model, large)).all()


def test_an_image_that_leaves_a_layer_without_positions_is_refused_first(tmp_path: Path) -> None:
    """Behind a 5×4 of no padding, one with so much that it would have positions of nothing."""
    model = text_model(
        "a = Conv(x, w) y = Conv<pads = [2, 2, 2, 2]>(a, v)",
        "float[1,1,H,W] x",
        "float[1,1,h,w] y",
        {"w": (1, 1, 5, 4), "v": (1, 1, 3, 3)},
    )
    small, path = pixels(1, 4, 9), tmp_path / "maps.zarr"
    with pytest.raises(UsageError, match=r"sizes \(4, 9\), .*wanted \(5, 4\) or more"):
        scan(model, small, path, scale=1)
    assert not list(tmp_path.iterdir())
    image = pixels(1, 5, 4)
    done = scan(model, image, path, scale=1)
    assert (done.array()[:] == whole(model, image)).all()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_process_can_be_forked_after_a_scan(tmp_path: Path) -> None:
    """What a thread keeps is taken down in the new process, where a session's threads are not."""
    scan(network(), pixels(C_IN, 61, 47), tmp_path / "maps.zarr", scale=1, workers=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside other threads
        child = os.fork()
    if not child:
        os._exit(0)
    until = time.monotonic() + 60
    while (ended := os.waitpid(child, os.WNOHANG))[0] != child and time.monotonic() < until:
        time.sleep(0.01)
    if ended[0] != child:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert ended == (child, 0)


def test_the_package_is_the_function() -> None:
    assert onebyone.scan.__wrapped__ is scan


def _content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
