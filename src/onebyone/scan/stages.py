"""A network in two stages: its first layers tile by tile, all others on what these give together.

    pixels ──tiles──▶ first ──put together──▶ a value between ──▶ second ──▶ maps

What sees far in a network are its last layers. The first ones see few pixels, and work on the most
positions: on a whole image all that they compute goes through memory, and has to fit there. Where
halos forbid to compute the network in small parts, its first layers can be: up to a value that all
paths pass, and of which it is known where it looks, so that its tiles are those of the whole
(algebra/geometry.py has the proof). Lin et al. 2021 (arXiv:2110.15352) do so on microcontrollers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx
import onnx_ir as ir
from onnxruntime import InferenceSession

from onebyone.algebra.geometry import Axis
from onebyone.algebra.weights import Array
from onebyone.counting.value import Count
from onebyone.graph.count import count
from onebyone.graph.geometry import look
from onebyone.graph.read import read
from onebyone.graph.shapes import infer
from onebyone.graph.values import shape_of
from onebyone.graph.write import to_proto
from onebyone.scan.network import fed, is_laid
from onebyone.scan.tiles import MOST_MACS, Tiling, in_parts

__all__ = [
    "MOST_ALIVE",
    "Stage",
    "cut",
    "first_result",
    "halves",
    "in_stages",
    "places",
    "stage_at",
]

# Activations alive at once for which a network is not cut, and of a tile of its first stage: pages
# that are taken again from tile to tile. EfficientNet-Lite0 took 7.0 s for 4096² pixels at once,
# 6.0 to 7.9 s with its first layers on tiles of 128 pixels (8 MiB), 5.7 to 6.2 s on tiles of 512.
MOST_ALIVE = 64 << 20


@dataclass(frozen=True)
class Stage:
    """Where a network is cut in two.

    Args:
        value: the name of what is between.
        axes: where it looks in the image.
        side: its positions that are computed at once, along each axis.
    """

    value: str
    axes: tuple[Axis, ...]
    side: tuple[int, ...]

    def tiling(self, pixels: Sequence[int]) -> Tiling:
        """The tiles of an image on which the first stage is run."""
        return Tiling(self.axes, tuple(pixels), self.side)


def halves(model: onnx.ModelProto, value: str) -> tuple[onnx.ModelProto, onnx.ModelProto] | None:
    """The model up to a value, and from there on; None where other paths lead past it.

    >>> from onnx import parser
    >>> model = parser.parse_model('''<ir_version: 8, opset_import: ["": 17]>
    ...     g (float[1, 2, h, w] x) => (float[1, 2, h, w] y) {
    ...     a = Relu(x) b = Neg(a) c = Exp(a) y = Add(b, c) }''')
    >>> [[node.op_type for node in half.graph.node] for half in halves(model, "a")]
    [['Relu'], ['Neg', 'Exp', 'Add']]
    >>> halves(model, "b") is None
    True
    """
    whole = read(model)
    infer(whole)
    graph = whole.graph
    weights = {*graph.initializers}
    images = [v.name for v in graph.inputs if v.name not in weights]
    outputs = [v.name for v in graph.outputs]
    found = []
    for inputs, results in ((images, [value]), ([value], outputs)):
        try:
            part = ir.convenience.extract(graph, inputs, results)  # type: ignore[arg-type]
        except ValueError:
            return None
        half = ir.Model(part, ir_version=whole.ir_version, functions=[*whole.functions.values()])
        _forget(part)
        found.append(to_proto(half))
    return found[0], found[1]


def _forget(graph: ir.Graph) -> None:
    """What is known of sizes by those of the whole image; what is between may have any."""
    for node in graph:
        for value in node.outputs:
            value.shape = None
    for value in graph.inputs:
        dims = list(value.shape or ())
        free = [ir.SymbolicDim(f"{value.name}_{axis}") for axis in range(len(dims))]
        value.shape = ir.Shape([*free[:1], *dims[1:2], *free[2:]])


def in_stages(
    first: InferenceSession, second: InferenceSession, stage: Stage
) -> Callable[[Array], Array]:
    """What gives the maps N×K×… of images N×C×…, by sessions of both halves."""

    def maps(images: Array) -> Array:
        tiling, between = stage.tiling(images.shape[2:]), None
        for index in tiling.chunks():
            outputs, tile = tiling.chunk(index), tiling.tile(index)
            found = first_result(first, images[_at(tile)])
            if between is None:
                between = np.empty((*found.shape[:2], *tiling.outputs), found.dtype)
            kept = tiling.kept(outputs, tile)
            between[_at(outputs)] = found[(slice(None), slice(None), *kept)]
        assert between is not None
        return first_result(second, between)

    return maps


def _at(ranges: Sequence[range]) -> tuple[slice, ...]:
    """These positions of a value N×C×…."""
    return (slice(None), slice(None), *(slice(each.start, each.stop) for each in ranges))


def first_result(session: InferenceSession, operand: Array) -> Array:
    """Of a session of one input."""
    (name,) = (value.name for value in session.get_inputs())
    result: Array = session.run(None, {name: operand})[0]
    return result


def cut(model: onnx.ModelProto, channels: int, sizes: Sequence[int]) -> Stage | None:
    """Where to cut a network that is run on images of these sizes; None where that does not pay.

    The later the better: least is left that goes through memory. What tiles compute more than once
    grows with the windows, and ends it.
    """
    whole = count(model, fed(model, channels, sizes))
    found = places(model)
    best, first, last = None, 0, len(found)
    while first < last:  # the last place that pays: all before it do
        middle = (first + last) // 2
        stage = _stage(model, channels, sizes, whole, *found[middle])
        if stage is None:
            last = middle
        else:
            best, first = stage, middle + 1
    return best


def stage_at(model: onnx.ModelProto, value: str, side: Sequence[int]) -> Stage | None:
    """The stage that was chosen before; None where the model has no such place."""
    axes = dict(places(model)).get(value)
    return None if axes is None else Stage(value, axes, tuple(side))


def _stage(
    model: onnx.ModelProto,
    channels: int,
    sizes: Sequence[int],
    whole: Count,
    value: str,
    axes: tuple[Axis, ...],
) -> Stage | None:
    """The stage at a value, if what is alive at once is little, and halos are small."""
    parts = halves(model, value)
    if parts is None:
        return None
    first, _ = parts
    own = count(first, fed(first, channels, sizes))
    if own.peak_activation_bytes is None:
        return None
    # Both grow with the positions, nearly, and counting takes its time.
    alive, macs, pixels = own.peak_activation_bytes, own.macs, prod(sizes)
    tiling = in_parts(
        Tiling(axes, tuple(sizes), tuple(a.size(n) for a, n in zip(axes, sizes, strict=True))),
        lambda tile: alive * prod(tile) // pixels,
        lambda tile: macs * prod(tile) // pixels,
        MOST_ALIVE,
        macs + int((MOST_MACS - 1) * whole.macs),
    )
    if not tiling.part or alive * prod(tiling.largest) // pixels > MOST_ALIVE:
        return None
    return Stage(value, axes, tiling.part)


def places(model: onnx.ModelProto) -> list[tuple[str, tuple[Axis, ...]]]:
    """The values where a network may be cut, in their order, and where they look.

    All paths pass them, and their tiles are those of the whole image.
    """
    looks, names = look(read(model)), _passed(model.graph)
    found: list[tuple[str, tuple[Axis, ...]]] = []
    for value, located in looks.values.items():
        axes = tuple(axis for k in looks.spatial if (axis := located.axis(k)) is not None)
        depends = located.whole & {0, *looks.spatial}
        sizes = shape_of(value)
        if depends or not is_laid(located, looks, 1) or not sizes or not isinstance(sizes[1], int):
            continue
        if value.name in names and all(axis.up == 1 for axis in axes):
            found.append((str(value.name), axes))
    return found


def _passed(graph: onnx.GraphProto) -> set[str]:
    """The values that are computed from the image and that all paths to the maps pass."""
    weights = {tensor.name for tensor in graph.initializer}
    last = {name: k for k, node in enumerate(graph.node) for name in node.input}
    waiting, found = {value.name for value in graph.input} - weights, set[str]()
    for k, node in enumerate(graph.node):
        # Computed before and read later: alone, everything passes it.
        waiting = {name for name in waiting | {*node.output} if last.get(name, -1) > k}
        if len(waiting) == 1:
            found |= waiting
    return found
