"""A network that slides as an ONNX file that says where it looks."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import onnx
import onnx_ir as ir
import torch
from torch import fx

from onebyone.errors import UsageError
from onebyone.nn.to_onnx import to_onnx

if TYPE_CHECKING:
    from onebyone.nn.sliding.fully_convolutional import FullyConvolutional

__all__ = ["export", "metadata"]

IMAGE, MAPS = "image", "maps"
"""The names of the input and the output."""
_SIZES = ("depth", "height", "width")
_POSITIONS = ("planes", "rows", "columns")


def export(
    sliding: FullyConvolutional,
    path: str | os.PathLike[str],
    classes: tuple[str, ...],
    options: Mapping[str, Any] | None,
) -> None:
    """As `FullyConvolutional.export` says."""
    _check_pools(sliding.network)
    numbers = next(sliding.network.parameters(), torch.empty(0))
    shape = (1, sliding.channels, *sliding.geometry.size)
    example = torch.zeros(shape, dtype=numbers.dtype, device=numbers.device)
    many = range(len(sliding.geometries))
    maps = [f"{MAPS}_{k}" if k else MAPS for k in many]
    rank = len(sliding.geometry.size)
    free = {IMAGE: _free(_SIZES[-rank:]), **dict.fromkeys(maps, _free(_POSITIONS[-rank:]))}
    asked = {
        "dynamo": False, "input_names": [IMAGE], "output_names": maps, "dynamic_axes": free,
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


def _check_pools(network: fx.GraphModule) -> None:
    """No pool divides by a number of its own: PyTorch writes it as the mean all the same."""
    for node in network.graph.nodes:
        layer = network.get_submodule(node.target) if node.op == "call_module" else None
        given = (*node.args[6:7], node.kwargs.get("divisor_override"))
        divisors = (getattr(layer, "divisor_override", None), *given * ("avg_pool" in node.name))
        if any(divisor is not None for divisor in divisors):
            raise UsageError(
                f"got {node.name}, a pool with divisor_override, which PyTorch's export to ONNX "
                "drops: scale the weights behind it instead"
            )


def _free(names: Sequence[str]) -> dict[int, str]:
    """The axes of a value that any size fits, by their names."""
    return {0: "batch", **{2 + k: name for k, name in enumerate(names)}}


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
        "halo": [axis.border for axis in g.axes],
        "size": g.size,
        "crops": g.exact,
        "tiles": not any(axis.whole for axis in g.axes),
        "reasons": sliding.reasons,
        **({"classes": classes} if classes else {}),
    }
