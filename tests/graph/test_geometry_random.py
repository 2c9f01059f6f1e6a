"""Random graphs: where the geometry says that tiles are exact, they are, to the last bit."""

from __future__ import annotations

import os
from collections import Counter

import numpy as np
import onnx
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException

from onebyone.algebra.geometry import Axis
from onebyone.errors import UsageError
from onebyone.graph.geometry import Located, Looks, look
from onebyone.graph.read import read
from tests.graphs.drawn import Drawn, sample
from tests.graphs.run import run

DEPTH = int(os.environ.get("ONEBYONE_EXAMPLES", "1"))  # times as many examples, for a long search
SIZES = (48, 36)
"""Of the images: larger than those that the graphs were drawn for."""


def test_tiles_are_exact_where_it_is_said() -> None:
    met: Counter[str] = Counter()
    for drawn in sample(200 * DEPTH, number=11):
        for name, array in drawn.feeds[0].items():
            if array.ndim == 4:
                _check(drawn, name, met)
    assert met["compared"] >= 60
    assert met["cut"] >= 150
    assert met["refused"] >= 100


def _check(drawn: Drawn, image: str, met: Counter[str]) -> None:
    """All outputs of a graph that have positions and no reason against tiles."""
    source = read(drawn.model)
    try:
        looks = look(source, image)
    except UsageError:
        return
    feeds = dict(drawn.feeds[0])
    shape = (*feeds[image].shape[:2], *SIZES)
    drawn_numbers = np.random.default_rng(1).integers(-3, 4, shape)
    feeds[image] = drawn_numbers.astype(feeds[image].dtype)
    model = _freed(drawn.model, image)
    for value in source.graph.outputs:
        located = looks.values.get(value, Located(()))
        axes = [axis for k in looks.spatial if (axis := located.axis(k)) is not None]
        if located.whole & {0, *looks.spatial} or len(axes) < 2:
            met["refused"] += 1
            continue
        try:
            [whole] = run(_of(model, value.name or ""), feeds)
        except (Fail, InvalidArgument, RuntimeException):
            met["of one size"] += 1  # a size of the image is written into it somewhere
            continue
        met["compared"] += 1
        _compare(_of(model, value.name or ""), feeds, image, (looks, located), axes, met, whole)


def _compare(
    model: onnx.ModelProto,
    feeds: dict[str, np.ndarray],
    image: str,
    known: tuple[Looks, Located],
    axes: list[Axis],
    met: Counter[str],
    results: dict[str, np.ndarray],
) -> None:
    """Three tiles of an image, at its ends and inside."""
    [(name, whole)] = results.items()
    looks, located = known
    origins = [[part.origin for part in place] for place in located.places]
    stands = [origins.index([k]) for k in looks.spatial]
    lengths = [axis.size(n) for axis, n in zip(axes, SIZES, strict=True)]
    assert [whole.shape[k] for k in stands] == lengths
    for first, last in ((0.3, 0.6), (0, 0.2), (0.8, 1)):
        outputs = [range(int(first * n), max(int(last * n), int(first * n) + 1)) for n in lengths]
        each = list(zip(axes, outputs, SIZES, strict=True))
        tile = [axis.needed(wanted, n) for axis, wanted, n in each]
        met["cut"] += any(len(t) < n for t, n in zip(tile, SIZES, strict=True))
        part = feeds[image][(..., *(slice(t.start, t.stop) for t in tile))]
        [found] = run(model, {**feeds, image: part})
        kept, wanted = [slice(None)] * whole.ndim, [slice(None)] * whole.ndim
        for k, own, (axis, asked, n) in zip(stands, tile, each, strict=True):
            kept[k], wanted[k] = axis.kept(asked, own, n), slice(asked.start, asked.stop)
        # Resizes alone hang on where they are: engines round coordinates, which are below 2⁸ here,
        # to 2⁻¹⁶, and weights with them; of four in a row, with two neighbours each, 2⁻¹³.
        resizes = any(node.op_type in ("Resize", "Upsample") for node in model.graph.node)
        largest = float(np.abs(whole.astype(np.float64)).max(initial=0))
        np.testing.assert_allclose(
            found[name][tuple(kept)].astype(np.float64),
            whole[tuple(wanted)].astype(np.float64),
            rtol=0,
            atol=resizes * 2**-13 * largest,
        )


def _freed(model: onnx.ModelProto, image: str) -> onnx.ModelProto:
    """With the sizes of an input left open, and of all that follows."""
    free = onnx.ModelProto.FromString(model.SerializeToString())
    for info in free.graph.input:
        if info.name == image:
            for axis in range(2, 4):
                info.type.tensor_type.shape.dim[axis].dim_param = f"free_{axis}"
    for info in free.graph.output:
        info.type.tensor_type.ClearField("shape")
    del free.graph.value_info[:]
    return free


def _of(model: onnx.ModelProto, output: str) -> onnx.ModelProto:
    """With one output alone, and what it is computed by: other branches may be of one size."""
    one = onnx.ModelProto.FromString(model.SerializeToString())
    for index in reversed(range(len(one.graph.output))):
        if one.graph.output[index].name != output:
            del one.graph.output[index]
    read_ = {output}
    for index in reversed(range(len(one.graph.node))):
        node = one.graph.node[index]
        if not read_ & set(node.output):
            del one.graph.node[index]
            continue
        assert not any(attribute.HasField("g") for attribute in node.attribute)
        read_ |= set(node.input)
    return one


def test_the_comparison_can_fail() -> None:
    """A geometry without padding is wrong of a network that has some."""
    from tests.scan.slid import Build, check_tiles
    from tests.scan.test_network import chain, load

    b = Build()
    network = load(b.model(chain(b)))
    for axis in network.axes:
        phases = tuple(type(p)(p.first, p.last, 0, p.end, p.exists) for p in axis.phases)
        object.__setattr__(axis, "phases", phases)
    with pytest.raises(AssertionError):
        check_tiles(network, (60, 48), 5)
