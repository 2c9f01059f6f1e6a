"""A network that slides as an ONNX file that says where it looks."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import onnx
import onnx_ir as ir
import torch

from onebyone.errors import UsageError
from onebyone.nn.to_onnx import to_onnx

if TYPE_CHECKING:
    from onebyone.nn.sliding.fully_convolutional import FullyConvolutional

__all__ = ["export", "metadata"]

IMAGE, MAPS = "image", "maps"
"""The names of the input and the output."""
FREE = {IMAGE: {0: "batch", 2: "height", 3: "width"}, MAPS: {0: "batch", 2: "rows", 3: "columns"}}


def export(
    sliding: FullyConvolutional,
    path: str | os.PathLike[str],
    classes: tuple[str, ...],
    options: Mapping[str, Any] | None,
) -> None:
    """As `FullyConvolutional.export` says."""
    numbers = next(sliding.network.parameters(), torch.empty(0))
    shape = (1, sliding.channels, *sliding.geometry.size)
    example = torch.zeros(shape, dtype=numbers.dtype, device=numbers.device)
    asked = {
        "dynamo": False, "input_names": [IMAGE], "output_names": [MAPS], "dynamic_axes": FREE,
        **(options or {}),
    }  # fmt: skip
    model = to_onnx(sliding.network, example, asked)
    proto = ir.to_proto(model) if isinstance(model, ir.Model) else model
    _check(proto, classes)
    for key, value in metadata(sliding, classes).items():
        proto.metadata_props.add(key=f"onebyone.{key}", value=json.dumps(value))
    try:
        onnx.save(proto, os.fspath(path))
    except OSError as error:
        raise UsageError(
            f"cannot write {os.fspath(path)}: {error.strerror}; choose another place"
        ) from error


def _check(proto: onnx.ModelProto, classes: tuple[str, ...]) -> None:
    """As many names as maps."""
    dims = proto.graph.output[0].type.tensor_type.shape.dim
    if classes and len(dims) > 1 and dims[1].dim_value not in (0, len(classes)):
        raise UsageError(
            f"got {len(classes)} names of classes for {dims[1].dim_value} maps, wanted one each"
        )


def metadata(sliding: FullyConvolutional, classes: tuple[str, ...]) -> dict[str, object]:
    """What the file says of itself, by the last part of each key."""
    g = sliding.geometry
    return {
        "stride": g.stride,
        "window": g.receptive_field,
        "offset": g.offset,
        "halo": (g.height.border, g.width.border),
        "size": g.size,
        "crops": g.exact,
        "tiles": not (g.height.whole or g.width.whole),
        "reasons": sliding.reasons,
        **({"classes": classes} if classes else {}),
    }
