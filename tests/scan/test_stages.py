"""A network that is cut in two gives what it gives whole, and is cut where that pays."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from pathlib import Path

import numpy as np
import onnx
import pytest

from onebyone.graph.count import count
from onebyone.scan import scan as scanning
from onebyone.scan import stages, tiles
from onebyone.scan.cost import Counts
from onebyone.scan.network import fed, load
from onebyone.scan.scan import Options, prepare, scan
from onebyone.scan.stages import Stage, cut, halves, places, stage_at
from onebyone.scan.targets import Target
from onebyone.scan.task import engine
from tests.graphs.text import model as text_model
from tests.scan.networks import pixels, whole
from tests.scan.slid import Build
from tests.scan.test_network import MADE

# Padding, strides, a branch, and a window of some hundred pixels at the end.
DEEP = (
    "a = Conv<pads = [1, 0, 1, 1], strides = [2, 1]>(x, k) b = Relu(a) "
    "c = MaxPool<kernel_shape = [2, 2], strides = [1, 2], pads = [0, 1, 1, 0]>(b) "
    "d = Conv<pads = [1, 1, 1, 1]>(c, l) e = Add(c, d) f = Conv<strides = [2, 2]>(e, l) "
    "g = AveragePool<kernel_shape = [16, 16], strides = [1, 1]>(f) y = Conv(g, m)"
)
WEIGHTS = {"k": (4, 3, 3, 2), "l": (4, 4, 3, 3), "m": (5, 4, 1, 1)}
SIZE = (131, 118)


def deep(*, image: str = "float[1,3,H,W] x", body: str = DEEP) -> onnx.ModelProto:
    return text_model(body, image, "float[1,5,h,w] y", WEIGHTS)


@pytest.fixture
def little_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if hardly anything stayed in it."""
    monkeypatch.setattr(tiles, "MOST_ACTIVATIONS", 8192)
    for module in (scanning, stages):
        monkeypatch.setattr(module, "MOST_ALIVE", 8192)


@pytest.mark.usefixtures("little_cache")
@pytest.mark.parametrize("tile", [7, 100])
def test_two_stages_give_what_the_whole_gives(tile: int, tmp_path: Path) -> None:
    network, image = deep(), pixels(3, *SIZE)
    done = scan(network, image, tmp_path / "maps.zarr", tile=tile, scale=1, workers=1)
    told = Target(done.folder).said["stage"]
    assert told["value"]
    assert (done.array()[:] == whole(network, image)).all()


@pytest.mark.usefixtures("little_cache")
def test_a_scan_goes_on_with_the_stages_that_it_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, image, path = deep(), pixels(3, *SIZE), tmp_path / "maps.zarr"
    first = prepare(network, image, path, Options(tile=5, scale=1, workers=1))
    done = scan(network, image, path, tile=5, scale=1, workers=1)
    for marker in sorted(path.glob("onebyone/done/*.npz"))[::2]:
        marker.unlink()
    monkeypatch.setattr(scanning, "MOST_ALIVE", 1 << 40)
    again = prepare(network, image, path, Options(tile=5, scale=1, workers=1))
    assert again.job.stage == first.job.stage is not None
    assert again.left
    scan(network, image, path, tile=5, scale=1, workers=1)
    assert (done.array()[:] == whole(network, image)).all()


def test_what_fits_the_cache_or_can_be_computed_in_parts_is_not_cut(tmp_path: Path) -> None:
    small = prepare(deep(), pixels(3, *SIZE), tmp_path / "a.zarr", Options(scale=1))
    assert small.job.stage is None
    assert Counts(deep(), 3, 1).activations(small.job.tiling.largest) <= stages.MOST_ALIVE
    narrow = deep(body="a = Conv(x, k) b = Relu(a) c = Conv(b, l) y = Conv(c, m)")
    large = prepare(narrow, pixels(3, 1200, 1300), tmp_path / "b.zarr", Options(scale=1))
    assert large.job.stage is None
    assert large.job.tiling.part


@pytest.mark.usefixtures("little_cache")
def test_it_is_cut_at_the_last_place_whose_halos_are_small() -> None:
    stage = cut(deep(), 3, SIZE)
    assert stage is not None
    parts = halves(deep(), stage.value)
    assert parts is not None
    before, of_all = (count(each, fed(each, 3, SIZE)).macs for each in (parts[0], deep()))
    more = Counts(deep(), 3, 1, stage).macs(SIZE) - of_all
    assert 0 < more <= (tiles.MOST_MACS - 1) * of_all < of_all - before
    # It is none of the values beside which another path leads on, and none of the wide ones.
    assert stage.value in {"a", "b", "c", "e", "f"}
    wide = stage_at(deep(), "g", (2, 2))
    assert wide is not None
    assert Counts(deep(), 3, 1, wide).macs(SIZE) > tiles.MOST_MACS * of_all


def test_in_two_stages_it_takes_less_memory() -> None:
    whole_counts, size = Counts(deep(), 3, 1), (1310, 1180)
    stage = stage_at(deep(), "f", (32, 32))
    assert stage is not None
    staged = Counts(deep(), 3, 1, stage)
    alive, at_once = staged.activations(size), whole_counts.activations(size)
    assert alive is not None
    assert at_once is not None
    between = 4 * prod(axis.size(n) for axis, n in zip(stage.axes, size, strict=True)) * 4
    assert between < alive < at_once / 3
    assert staged.taken(size) < whole_counts.taken(size)


@pytest.mark.usefixtures("little_cache")
def test_before_what_looks_at_all_of_the_image(tmp_path: Path) -> None:
    """Its tiles differ from the whole; in two stages each is what it is at once."""
    squeezed = "p = GlobalAveragePool(g) q = Mul(g, p) y = Conv(q, m)"
    body = DEEP.replace("y = Conv(g, m)", squeezed)
    network, image = deep(body=body), pixels(3, *SIZE)
    assert stage_at(network, "q", (1, 1)) is None
    done = scan(network, image, tmp_path / "maps.zarr", scale=1, accept_approx=True)
    assert Target(done.folder).said["stage"] is not None
    np.testing.assert_allclose(done.array()[:], whole(network, image), rtol=1e-5)


@pytest.mark.parametrize("make", MADE)
def test_cut_at_any_place_it_gives_the_same(make: Callable[[Build], str]) -> None:
    b, rng = Build(), np.random.default_rng(0)
    model = load(b.model(make(b))).model
    content, at = model.SerializeToString(), places(model)
    # The one that asks for the size of the image at its end is passed by that.
    assert bool(at) == (make.__name__ != "resized_to_the_image")
    for sizes in ((60, 48), (60 - MADE[make], 48 + MADE[make])):
        x = rng.integers(-3, 4, (1, 2, *sizes)).astype(np.float32)
        wanted = engine(content, 1)(x)
        for value, axes in at:
            for side in ((3, 5), (8, 16)):
                found = engine(content, 1, Stage(value, axes, side))(x)
                np.testing.assert_array_equal(found, wanted)


def test_no_place_has_other_paths_beside_it() -> None:
    assert halves(deep(), "d") is None
    assert stage_at(deep(), "nothing", (1, 1)) is None
    assert isinstance(stage_at(deep(), "e", (1, 1)), Stage)
