"""The network that a scan runs: a fully convolutional ONNX model, and where its outputs look.

    file ──read──▶ graph ──look──▶ axes, reasons ──▶ a model of free height and width

Two exactnesses are kept apart. *Tiles*: the network on tiles of an image gives what it gives on the
whole image; what looks at all of the image breaks it. *Crops*: each position is the network's
answer on the crop that it sees; padding breaks that, too.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir

from onebyone.algebra.geometry import Axis
from onebyone.errors import UsageError
from onebyone.graph.checks import one_line
from onebyone.graph.edit import Edit
from onebyone.graph.geometry import Located, Looks, look
from onebyone.graph.read import read
from onebyone.graph.receptive import NAMES
from onebyone.graph.values import maker
from onebyone.graph.values import size as fixed_size
from onebyone.graph.write import to_proto
from onebyone.scan.sliding import slide

__all__ = ["Network", "fed", "is_laid", "load"]


@dataclass(frozen=True)
class Network:
    """A network that slides, and what is known of it.

    Args:
        model: N×C×H×W -> N×K×H'×W', of one input and one output; batch, height and width are free.
        axes: where its outputs look, along each axis of positions.
        channels, outputs: C and K.
        dtype: of the input.
        classes: a name for each output, or none at all.
        tiles: whether it gives on tiles of an image what it gives on the whole image.
        crops: whether each position is its answer on the crop that it sees.
        reasons: why `tiles` does not hold, or of a classifier `crops`: a sentence each.
        digest: SHA-256 of the bytes of `model`.
    """

    model: onnx.ModelProto
    axes: tuple[Axis, ...]
    channels: int
    outputs: int
    dtype: np.dtype[np.generic]
    classes: tuple[str, ...]
    tiles: bool
    crops: bool
    reasons: tuple[str, ...]
    digest: str


def fed(model: onnx.ModelProto, channels: int, sizes: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """The shape of the one input of a network, for an image of these sizes."""
    weights = {tensor.name for tensor in model.graph.initializer}
    (name,) = (value.name for value in model.graph.input if value.name not in weights)
    return {name: (1, channels, *sizes)}


def load(
    source: str | os.PathLike[str] | onnx.ModelProto | ir.Model,
    *,
    size: Sequence[int] | None = None,
    result: str | None = None,
    accept_approx: bool = False,
) -> Network:
    """The network of a model, fit to be scanned.

    Args:
        source: a fully convolutional model N×C×H×W -> N×K×H'×W', or a classifier, which becomes one
            (`scan.sliding`). Channels that come last are put first, if the model turns its image
            first of all.
        result: the name of the output to take; without it the first one that has positions.
        size: for a classifier whose height and width are free, (H, W) of its images.
        accept_approx: also take a network whose tiles differ from the whole image, and a classifier
            whose positions differ from its answers on crops: `reasons` says why.

    Raises:
        UnreadableModel: the source is no usable ONNX model.
        UsageError: it has no such output, or none with positions, and no head that could slide;
            several inputs, or a number of channels that is left open; or it is not exact and
            `accept_approx` is not set.

    >>> from onnx import parser
    >>> network = load(parser.parse_model('''<ir_version: 8, opset_import: ["": 17]>
    ...     g (float[1, 2, 32, 48] x) => (float[1, 2, 15, 47] y) {
    ...     y = MaxPool<kernel_shape = [3, 2], strides = [2, 1]>(x) }'''))
    >>> [axis.stride for axis in network.axes], network.channels, network.outputs, network.crops
    ([2, 1], 2, 2, True)
    """
    model = read(source)
    looks = look(model)
    _check_inputs(looks)
    _check_result(looks, result)
    is_classifier = _maps(looks, result) is None
    if is_classifier:
        looks = _slid(model, looks, size)
    found = _maps(looks, result)
    if found is None:
        raise UsageError(_no_maps(looks))
    output, located = found
    if not is_laid(located, looks, 1):
        output = _channels_first(model, output)
    axes = tuple(axis for k in looks.spatial if (axis := located.axis(k)) is not None)
    wholes = _reasons(looks, located, output)
    exact = all(axis.exact and axis.up == 1 for axis in axes)
    pads = (_padding(looks.padded),) if is_classifier and not exact and looks.padded else ()
    if (wholes or pads) and not accept_approx:
        raise UsageError(_refusal(wholes, pads))
    proto = _freed(model, looks, output)
    outputs = _fixed(output, "outputs")
    return Network(
        proto,
        axes,
        _fixed(looks.image, "channels"),
        outputs,
        _dtype(looks.image),
        _classes(proto, outputs),
        not wholes,
        not wholes and exact,
        (*wholes, *pads),
        _digest(proto),
    )


def _digest(proto: onnx.ModelProto) -> str:
    try:
        data = proto.SerializeToString(deterministic=True)
    except ValueError as error:
        raise UsageError(
            "got a model of 2 GiB or more, wanted one that is a single message: store its weights "
            "in float16"
        ) from error
    return hashlib.sha256(data).hexdigest()


def _check_inputs(looks: Looks) -> None:
    graph = looks.image.graph
    assert graph is not None
    fed = [v for v in graph.inputs if v is not looks.image and v.name not in graph.initializers]
    if fed:
        raise UsageError(
            f"got a model that also reads {fed[0].name}, wanted one of the image alone: "
            "store the other inputs in the model"
        )


def _check_result(looks: Looks, result: str | None) -> None:
    graph = looks.image.graph
    assert graph is not None
    names = [str(value.name) for value in graph.outputs]
    if result is not None and result not in names:
        raise UsageError(
            f"got no output {one_line(result)}, wanted one of {one_line(', '.join(names))}"
        )


def _maps(looks: Looks, result: str | None) -> tuple[ir.Value, Located] | None:
    """The output of this name, or the first one, whose positions are those of the image.

    As N×K×H×W or N×H×W×K has them; None where there is none.
    """
    graph = looks.image.graph
    assert graph is not None
    for value in graph.outputs:
        if result not in (None, value.name):
            continue
        located = looks.values.get(value)
        if located and (is_laid(located, looks, 1) or is_laid(located, looks, -1)):
            return value, located
    return None


def is_laid(located: Located, looks: Looks, channels: int) -> bool:
    """Whether on all axes but that of the channels the image's stand, in their order."""
    places = list(located.places)
    if len(places) < 3:
        return False
    # Where nothing mixes them, channels stand on their own axis still.
    del places[channels]
    return [[p.origin for p in place] for place in places] == [[k] for k in (0, *looks.spatial)]


def _channels_first(model: ir.Model, output: ir.Value) -> ir.Value:
    """An output N×H×W×K turned to N×K×H×W, under its name."""
    node = maker(output)
    assert node is not None
    assert output.shape is not None
    dims = list(output.shape)
    order = (0, len(dims) - 1, *range(1, len(dims) - 1))
    edit = Edit(model.graph)
    turned = edit.node(
        "Transpose", [output], {"perm": order}, after=node, stem=f"{output.name}.turned",
        dtype=output.dtype, shape=[dims[axis] for axis in order],
    )  # fmt: skip
    name, at = output.name, model.graph.outputs.index(output)
    model.graph.outputs[at] = turned
    output.name, turned.name = turned.name, name
    return turned


def _no_maps(looks: Looks) -> str:
    graph = looks.image.graph
    assert graph is not None
    shapes = ", ".join(f"{value.name} {_shape(value)}" for value in graph.outputs)
    reasons = list(looks.reasons.values()) or ["none of them has the positions of the image"]
    return (
        f"got a model whose outputs ({shapes}) are no maps N×K×H×W: {reasons[0]}{_more(reasons)}; "
        "export it with free height and width, or take the part of it that gives maps"
    )


def _more(reasons: Sequence[str]) -> str:
    """That the first is not the only one."""
    return f" (and {len(reasons) - 1} more)" * (len(reasons) > 1)


def _slid(model: ir.Model, looks: Looks, size: Sequence[int] | None) -> Looks:
    """Where a classifier looks, once it slides."""
    declared = looks.sizes
    sizes = declared if size is None else tuple(size)
    if sizes is None:
        raise UsageError(
            f"{_no_maps(looks)}; or give the size of the images that it classifies, (H, W)"
        )
    if len(sizes) != len(looks.spatial) or (declared or sizes) != sizes:
        wanted = f"{len(looks.spatial)} sizes" if declared is None else _by(declared)
        raise UsageError(f"got images of {_by(sizes)} for a model of {wanted}: leave the size out")
    slide(model, looks.image, sizes)
    return look(model, looks.image.name)


def _by(sizes: Sequence[int]) -> str:
    return "×".join(map(str, sizes))


def _shape(value: ir.Value) -> str:
    return "×".join(str(n) if isinstance(n, int) else "?" for n in value.shape or ())


def _reasons(looks: Looks, located: Located, output: ir.Value) -> tuple[str, ...]:
    """Why tiles differ: what nodes that the output hangs on look at."""
    if not located.whole & {0, *looks.spatial}:
        return ()
    nodes = _before(output)
    found = tuple(reason for node, reason in looks.reasons.items() if node in nodes)
    return found or ("it mixes the images of a batch",)


def _before(value: ir.Value) -> set[ir.Node]:
    """The nodes that a value is computed by."""
    found: set[ir.Node] = set()
    waiting: list[ir.Value | None] = [value]
    while waiting:
        node = maker(waiting.pop())
        if node is not None and node not in found:
            found.add(node)
            waiting += node.inputs
    return found


def _padding(nodes: Sequence[ir.Node]) -> str:
    first, *rest = (f"{node.op_type} {node.name or node.outputs[0].name}" for node in nodes)
    many = f" and {len(rest)} more look" if rest else " looks"
    return (
        f"{first}{many} beyond the ends of the image: a crop sees padding where the map sees "
        "its neighbours"
    )


def _refusal(wholes: Sequence[str], pads: Sequence[str]) -> str:
    reasons = [*wholes, *pads]
    if wholes:
        what, then = "looks at the whole image", "tiles of an image would differ from it"
    else:
        what = "pads its input"
        then = "positions would differ from the classifier's answers on their crops"
    return (
        f"got a network that {what}{_more(reasons)}: {reasons[0]}; {then}: "
        "take it out and train again, or accept that (accept_approx)"
    )


def _fixed(value: ir.Value, what: str) -> int:
    found = fixed_size(value, 1)
    if found is None:
        raise UsageError(
            f"got a model whose number of {what} is left open in {value.name} {_shape(value)}, "
            "wanted a number: export it with fixed channels"
        )
    return found


def _dtype(image: ir.Value) -> np.dtype[np.generic]:
    assert image.dtype is not None
    return np.dtype(image.dtype.numpy())


def _classes(model: onnx.ModelProto, outputs: int) -> tuple[str, ...]:
    """The names that the model's metadata has for its outputs."""
    for entry in model.metadata_props:
        if entry.key == "onebyone.classes":
            names = tuple(map(str, json.loads(entry.value)))
            if len(names) != outputs:
                raise UsageError(
                    f"got {len(names)} names in onebyone.classes, wanted {outputs}, one an output"
                )
            return names
    return ()


def _freed(model: ir.Model, looks: Looks, output: ir.Value) -> onnx.ModelProto:
    """The model as a message, of free batch, height and width, and of one output."""
    channels = _fixed(looks.image, "channels"), _fixed(output, "outputs")
    proto = to_proto(ir.external_data.load_to_model(model))
    for index in reversed(range(len(proto.graph.output))):
        if proto.graph.output[index].name != output.name:
            del proto.graph.output[index]
    del proto.graph.value_info[:]  # sizes of one image
    names = NAMES[-len(looks.spatial) :]
    _declare(proto.graph.output[0], channels[1], [f"{name}_out" for name in names])
    for info in proto.graph.input:
        if info.name == looks.image.name:
            _declare(info, channels[0], names)
    return proto


def _declare(info: onnx.ValueInfoProto, channels: int, names: Sequence[str]) -> None:
    """Of any batch, of so many channels, and of sizes with these names."""
    shape = onnx.TensorShapeProto()
    shape.dim.add(dim_param="batch")
    shape.dim.add(dim_value=channels)
    for name in names:
        shape.dim.add(dim_param=name)
    info.type.tensor_type.shape.CopyFrom(shape)
