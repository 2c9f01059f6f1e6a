"""The geometry of a model as a value: stride, receptive field, padding, period of every layer."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import onnx
import onnx_ir as ir

from onebyone.algebra.geometry import Axis
from onebyone.graph.geometry import Located, Looks, look
from onebyone.graph.ops import operator_of
from onebyone.graph.read import read
from onebyone.graph.values import maker
from onebyone.shown import Shown

__all__ = ["ModelGeometry", "Place", "geometry"]

NAMES = ("depth", "height", "width")
"""Of the axes of positions; the last ones where there are fewer."""


@dataclass(frozen=True)
class Place:
    """Where a value looks in the image.

    Args:
        name: of the value.
        operator, node: what computes it, and the name of that.
        axes: along each axis of positions of the image; None where it has no positions.
        whole: whether it depends on the whole image besides.
    """

    name: str
    operator: str
    node: str
    axes: tuple[Axis | None, ...]
    whole: bool

    @property
    def is_map(self) -> bool:
        """Whether it has positions along every axis of the image."""
        return None not in self.axes

    def to_dict(self) -> dict[str, Any]:
        """For JSON (docs/json.md)."""
        return {
            "name": self.name,
            "operator": self.operator,
            "node": self.node,
            "axes": [None if axis is None else _numbers(axis) for axis in self.axes],
            "whole": self.whole,
        }


def _numbers(axis: Axis) -> dict[str, Any]:
    return {
        "stride": axis.stride,
        "up": axis.up,
        "receptive_field": axis.receptive_field,
        "offset": axis.offset,
        "padding": list(axis.border),
        "period": axis.period,
        "multiple": axis.multiple,
        "exact": axis.exact,
    }


@dataclass(frozen=True, repr=False)
class ModelGeometry(Shown):
    """Where the outputs and the layers of a model look in its image.

    Args:
        image: the name of the input.
        names: of the axes of positions: ("height", "width"), say.
        outputs: of the model.
        features: the last value that has positions, where an output has none: what a classifier
            pools or flattens.
        layers: the values that layers of windows, resizes and blocks give, in order.
        reasons: what looks at the whole image, or has no period, a sentence each.
        padded: the names of the nodes that look beyond the ends of their operand.
    """

    image: str
    names: tuple[str, ...]
    outputs: tuple[Place, ...]
    features: Place | None
    layers: tuple[Place, ...]
    reasons: tuple[str, ...] = ()
    padded: tuple[str, ...] = ()

    @property
    def maps(self) -> tuple[Place, ...]:
        """The outputs that have positions; of a classifier its features."""
        maps = tuple(place for place in self.outputs if place.is_map)
        return maps or tuple(place for place in (self.features,) if place is not None)

    @property
    def tiles(self) -> bool:
        """Whether the maps on tiles of an image are those of the whole image."""
        return bool(self.maps) and not any(place.whole for place in self.maps)

    @property
    def crops(self) -> bool:
        """Whether each position is also what the network gives on the crop that it sees."""
        axes = [axis for place in self.maps for axis in place.axes if axis is not None]
        return self.tiles and all(axis.exact and axis.up == 1 for axis in axes)

    @property
    def summary(self) -> str:
        """Of the first map, in a line."""
        if not self.maps:
            return f"no value has the positions of {self.image}"
        axes = [axis for axis in self.maps[0].axes if axis is not None]
        stride = "×".join(str(axis.step) for axis in axes)
        seen = "×".join(str(axis.receptive_field or "all") for axis in axes)
        return f"{self.maps[0].name}: stride {stride}, receptive field {seen}"

    def to_dict(self) -> dict[str, Any]:
        """For JSON (docs/json.md)."""
        return {
            "schema": 1,
            "image": self.image,
            "axes": list(self.names),
            "outputs": [place.to_dict() for place in self.outputs],
            "features": None if self.features is None else self.features.to_dict(),
            "layers": [place.to_dict() for place in self.layers],
            "tiles": self.tiles,
            "crops": self.crops,
            "reasons": list(self.reasons),
            "padded": list(self.padded),
        }


def geometry(
    source: str | os.PathLike[str] | onnx.ModelProto | ir.Model, image: str | None = None
) -> ModelGeometry:
    """Where the outputs and layers of a model look.

    Args:
        source: an ONNX model; its image may be of any size, of one, two or three axes.
        image: the name of the input, where several could be one.

    Raises:
        UnreadableModel: the source is no usable ONNX model.
        UsageError: there is no input N×C×H×W, or several.

    >>> from onnx import parser
    >>> found = geometry(parser.parse_model('''<ir_version: 8, opset_import: ["": 17]>
    ...     g (float[n, 2, 9, 9] x) => (float[n, 2, h, w] y) {
    ...     y = MaxPool<kernel_shape = [3, 3], strides = [2, 1], pads = [1, 1, 1, 1]>(x) }'''))
    >>> found
    <ModelGeometry: y: stride 2×1, receptive field 3×3>
    >>> found.tiles, found.crops, found.padded
    (True, False, ('MaxPool y',))
    """
    model = read(source)
    looks = look(model, image)
    outputs = tuple(_place(value, looks) for value in model.graph.outputs)
    located = [_place(value, looks) for value in looks.values]
    features = None
    if not all(place.is_map for place in outputs):
        features = next((p for p in reversed(located) if p.is_map and p.operator), None)
    layers = (_place(v, looks) for v in looks.values if _is_layer(v))
    return ModelGeometry(
        looks.image.name or "",
        NAMES[-len(looks.spatial) :],
        outputs,
        features,
        tuple(place for place in layers if any(place.axes)),
        tuple(looks.reasons.values()),
        tuple(_called(node) for node in looks.padded),
    )


def _place(value: ir.Value, looks: Looks) -> Place:
    known, node = looks.values.get(value, Located(())), maker(value)
    return Place(
        value.name or "",
        "" if node is None else node.op_type,
        "" if node is None else node.name or "",
        tuple(known.axis(k) for k in looks.spatial),
        bool(known.whole & set(looks.spatial)),
    )


def _is_layer(value: ir.Value) -> bool:
    node = maker(value)
    return node is not None and operator_of(node).slides is not None


def _called(node: ir.Node) -> str:
    return f"{node.op_type} {node.name or node.outputs[0].name}"
