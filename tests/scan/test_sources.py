"""Every kind of image that a scan reads, of every type of pixel that it holds, in odd sizes.

Each row is a source; its maps in tiles equal those of the whole image at once, by `==`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import onnx
import pytest
import tifffile
import zarr
from PIL import Image

from onebyone.algebra.weights import Array
from onebyone.scan.scan import scan
from onebyone.scan.sources import opened
from tests.quick import slow_but
from tests.scan.networks import C_IN, network, pixels, whole
from tests.scan.test_kinds import drawn, model

Save = Callable[[Path, Array], Any]
"""An image (C, *sizes) as what is given to a scan."""

NETWORK = network((1, 2, 1, 2))
INTEGERS, ALL = ("uint8", "uint16", "int16"), ("uint8", "uint16", "int16", "float32", "float64")


def last(image: Array) -> Array:
    return np.moveaxis(image, 0, -1)


def in_zarr(version: int, chunk: int = 20, channels_last: bool = False, **options: Any) -> Save:
    def save(folder: Path, image: Array) -> Path:
        image = last(image) if channels_last else image
        chunks = tuple(min(n, chunk) for n in image.shape)
        zarr.create_array(
            folder / "image.zarr", data=image, chunks=chunks, zarr_format=version, **options
        )
        return folder / "image.zarr"

    return save


def in_ome_zarr(version: int) -> Save:
    """Two levels, of which the second is the image, and the first twice as large."""

    def save(folder: Path, image: Array) -> Path:
        group = zarr.open_group(folder / "image.ome.zarr", mode="w", zarr_format=version)
        large = image.repeat(2, -1).repeat(2, -2) + 1
        for name, data in (("0", large), ("1", image)):
            group.create_array(name, data=data[None, :, None], chunks=(1, 1, 1, 20, 30))
        axes = [{"name": name} for name in "tczyx"]
        datasets = [
            {
                "path": name,
                "coordinateTransformations": [{"type": "scale", "scale": [1, 1, 1, n, n]}],
            }
            for name, n in (("0", 1.0), ("1", 2.0))
        ]
        scales = [{"version": "0.4", "axes": axes, "datasets": datasets}]
        group.attrs.update(
            {"ome": {"version": "0.5", "multiscales": scales}} if version == 3
            else {"multiscales": scales}
        )  # fmt: skip
        return folder / "image.ome.zarr"

    return save


def in_tiff(planes: bool = False, **options: Any) -> Save:
    def save(folder: Path, image: Array) -> Path:
        kind = {"planarconfig": "separate" if planes else "contig", "photometric": "rgb"}
        given = image if planes else last(image)
        tifffile.imwrite(folder / "image.tif", given, **kind, **options)
        return folder / "image.tif"

    return save


def in_ome_tiff(folder: Path, image: Array) -> Path:
    tifffile.imwrite(
        folder / "image.ome.tif", image, ome=True, tile=(16, 32), metadata={"axes": "CYX"}
    )
    return folder / "image.ome.tif"


def in_pyramid(folder: Path, image: Array) -> Path:
    """A tiled TIFF whose second level is the image."""
    with tifffile.TiffWriter(folder / "image.tif", bigtiff=True) as file:
        options: dict[str, Any] = {"photometric": "rgb", "tile": (32, 16)}
        large = last(image.repeat(2, -1).repeat(2, -2) + 1)
        file.write(large, subifds=1, **options)
        file.write(last(image), subfiletype=1, **options)
    return folder / "image.tif"


def in_npy(order: str) -> Save:
    def save(folder: Path, image: Array) -> Path:
        np.save(folder / "image.npy", np.asarray(image, order=order))  # type: ignore[call-overload]
        return folder / "image.npy"

    return save


def in_png(folder: Path, image: Array) -> Path:
    Image.fromarray(last(image)).save(folder / "image.png")
    return folder / "image.png"


def in_dask(folder: Path, image: Array) -> Any:
    return dask.array.from_array(last(image), chunks=(17, 10, 2))


def lazily(folder: Path, image: Array) -> Any:
    """Of Zarr, and computed from it when it is read."""
    return dask.array.from_zarr(in_zarr(3)(folder, image - 1)) + 1


SOURCES: dict[str, tuple[Save, tuple[str, ...], int]] = {
    "Zarr 2": (in_zarr(2), ALL, 0),
    "Zarr 2, channels last": (in_zarr(2, channels_last=True), ALL, 0),
    "Zarr 3": (in_zarr(3), ALL, 0),
    "Zarr 3, not compressed": (in_zarr(3, 7, compressors=None), ALL, 0),
    "Zarr 3, shards": (in_zarr(3, 3, shards=(3, 21, 24)), ALL, 0),
    "OME-Zarr 0.4, second level": (in_ome_zarr(2), ALL, 1),
    "OME-Zarr 0.5, second level": (in_ome_zarr(3), ALL, 1),
    "TIFF in strips": (in_tiff(rowsperstrip=3), ALL, 0),
    "TIFF, tiled": (in_tiff(tile=(16, 32)), ALL, 0),
    "TIFF, planes": (in_tiff(planes=True, tile=(16, 32)), ALL, 0),
    "TIFF, LZW with a predictor": (
        in_tiff(compression="lzw", predictor=True, tile=(32, 16)), INTEGERS, 0
    ),
    "BigTIFF, deflated": (in_tiff(bigtiff=True, compression="zlib", tile=(32, 16)), ALL, 0),
    "TIFF, other byte order": (in_tiff(byteorder=">", tile=(16, 16)), ALL, 0),
    "BigTIFF, second level": (in_pyramid, ALL, 1),
    "OME-TIFF": (in_ome_tiff, ALL, 0),
    "npy": (in_npy("C"), ALL, 0),
    "npy, Fortran's order": (in_npy("F"), ALL, 0),
    "PNG": (in_png, ("uint8",), 0),
    "NumPy": (lambda _, image: image, ALL, 0),
    "Dask": (in_dask, ALL, 0),
    "Dask, computed": (lazily, ALL, 0),
}  # fmt: skip


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_of_every_type(name: str, tmp_path: Path) -> None:
    save, types, level = SOURCES[name]
    for kind in types:
        folder = tmp_path / kind
        folder.mkdir()
        image = pixels(C_IN, 61, 47, dtype=kind) + 1
        found = opened(save(folder, image), spatial=2, channels=C_IN, level=level)
        assert (found.sizes, np.dtype(found.dtype).newbyteorder("=")) == ((61, 47), image.dtype)
        for rows, columns in (
            (range(61), range(47)),
            (range(13, 38), range(5, 46)),
            (range(60, 61), range(1)),
        ):
            part = image[:, rows.start : rows.stop, columns.start : columns.stop]
            assert (found.read((rows, columns)) == part).all(), kind


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_is_scanned(name: str, tmp_path: Path) -> None:
    save, types, level = SOURCES[name]
    image = pixels(C_IN, 61, 47, dtype=types[len(types) // 2]) + 1
    given = save(tmp_path, image)
    done = scan(NETWORK, given, tmp_path / "maps.zarr", tile=17, scale=1, level=level, workers=1)
    assert (done.array()[:] == whole(NETWORK, image)).all()


def signals() -> onnx.ModelProto:
    return model(
        """g (float[N, 2, L] x) => (float[N, 3, l] y) {
        a = Conv <strides = [3], pads = [2, 1]> (x, A)
        y = Relu (a) }""",
        A=drawn(3, 2, 5),
    )


def volumes() -> onnx.ModelProto:
    return model(
        """g (float[N, 2, D, H, W] x) => (float[N, 3, d, h, w] y) {
        a = Conv <strides = [1, 2, 1], pads = [1, 0, 1, 0, 1, 1]> (x, A)
        y = Relu (a) }""",
        A=drawn(3, 2, 3, 3, 2),
    )


OTHERS: dict[str, Save] = {
    "Zarr 2": in_zarr(2, 6),
    "Zarr 3": in_zarr(3, 6),
    "Zarr, channels last": in_zarr(3, 6, channels_last=True),
    "npy": in_npy("C"),
    "npy, channels last": lambda folder, image: in_npy("C")(folder, last(image)),
    "Dask": lambda _, image: dask.array.from_array(image, chunks=5),
}


@pytest.mark.parametrize("name", slow_but("npy", of=OTHERS.keys()))
def test_signals_and_volumes(name: str, tmp_path: Path) -> None:
    for made, sizes in ((signals(), (401,)), (volumes(), (9, 22, 13))):
        folder = tmp_path / str(len(sizes))
        folder.mkdir()
        image = pixels(2, *sizes, dtype=np.int16)
        given = OTHERS[name](folder, image)
        done = scan(made, given, folder / "maps.zarr", tile=5, scale=1, workers=1)
        assert (done.array()[:] == whole(made, image)).all()


def in_ome_volume(folder: Path, image: Array) -> Path:
    group = zarr.open_group(folder / "image.ome.zarr", mode="w", zarr_format=2)
    group.create_array("s0", data=image, chunks=(1, 4, 8, 8))
    axes = [{"name": name} for name in "czyx"]
    steps = [{"type": "scale", "scale": [1, 2.0, 0.5, 0.25]}]
    datasets = [{"path": "s0", "coordinateTransformations": steps}]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]
    return folder / "image.ome.zarr"


def in_stack(folder: Path, image: Array) -> Path:
    tifffile.imwrite(
        folder / "image.ome.tif", image, ome=True, tile=(16, 16), metadata={"axes": "CZYX"}
    )
    return folder / "image.ome.tif"


@pytest.mark.parametrize(
    "save", slow_but("OME-Zarr", of={"OME-Zarr": in_ome_volume, "OME-TIFF": in_stack})
)
def test_volumes_of_microscopes(save: Save, tmp_path: Path) -> None:
    image = pixels(2, 9, 22, 13, dtype=np.uint16)
    done = scan(volumes(), save(tmp_path, image), tmp_path / "maps.zarr", tile=5, scale=1)
    assert (done.array()[:] == whole(volumes(), image)).all()
