"""What a size that a model leaves open is taken to be when nobody says.

    batch 1 · channels 3 · sequence 128 · image 224 (volume 64, along each axis)

What is what is told, for a dimension at all the places where its name stands, by the first of

    the name    batch_size, sequence_length, height, ...: as people and exporters write them
    the place   the first axis is a batch
    the tensor  of rank 2 and 3, or of whole numbers: tokens, points, samples; else an image's axes

One name has one size. Of several places that tell different things the smallest size is taken.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import onnx_ir as ir

from onebyone.counting.assumed import Assumed
from onebyone.graph.dimensions import safe
from onebyone.graph.values import rank_of

__all__ = ["USUAL", "usual_sizes"]

USUAL = {"batch": 1, "channels": 3, "volume": 64, "sequence": 128, "image": 224}
"""The size of each kind of dimension."""

# The first row that has a word of a name tells its kind.
_WORDS = {
    "batch": "batch batchsize bs bsz b",
    "channels": "channel channels c",
    "sequence": "sequence sequences seq seqlen length lengths len token tokens text word words "
    "time timestep timesteps step steps frame frames point points past t l",
    "image": "height width h w row rows col cols column columns",
}
_KINDS = {word: kind for kind, words in _WORDS.items() for word in words.split()}
_IMAGE, _VOLUME = 4, 5  # ranks
# A frame of a video and a picture in bytes are numbers, too.
_WHOLE = {ir.DataType.INT64, ir.DataType.INT32, ir.DataType.BOOL}


def usual_sizes(
    values: Sequence[ir.Value], free: Callable[[int | ir.SymbolicDim], Sequence[str]]
) -> list[Assumed]:
    """The sizes of all dimensions that inputs leave open, in their order.

    Args:
        values: the inputs.
        free: the names without a size in a dimension.

    >>> ids = ir.val("ids", ir.DataType.INT64, ["batch", "n"])
    >>> picture = ir.val("picture", ir.DataType.FLOAT, ["batch", 3, "y", "x"])
    >>> found = usual_sizes([ids, picture], lambda d: [] if isinstance(d, int) else [d.value])
    >>> [(each.name, each.kind, each.size) for each in found]
    [('batch', 'batch', 1), ('n', 'sequence', 128), ('y', 'image', 224), ('x', 'image', 224)]
    """
    places: dict[str, list[tuple[ir.Value, int]]] = {}
    for value in values:
        for axis, dim in enumerate(value.shape or ()):
            for name in free(dim):
                places.setdefault(name, []).append((value, axis))
    return [_usual(name, found) for name, found in places.items()]


def _usual(name: str, places: Sequence[tuple[ir.Value, int]]) -> Assumed:
    kinds = [_kind(name, value, axis) for value, axis in places]
    kind = min(kinds, key=lambda kind: USUAL[kind])
    return Assumed(name, kind, USUAL[kind], places[0][0].name or "")


def _kind(name: str, value: ir.Value, axis: int) -> str:
    told = None if _nameless(name, value, axis) else _of_words(name)
    if told in ("batch", "channels"):
        return told
    if told is None and axis == 0:
        return "batch"
    rank = rank_of(value) or 0
    tokens = rank < _IMAGE or (rank < _VOLUME and value.dtype in _WHOLE)
    if told is None and not tokens and _is_channels(value, axis):
        return "channels"
    # What a name calls a height is 64 in a volume, too.
    if rank >= _VOLUME:
        return "volume"
    if told is None:
        return "sequence" if tokens else "image"
    return told


def _nameless(name: str, value: ir.Value, axis: int) -> bool:
    """Whether the name was made of the input's, which tells nothing of the dimension."""
    return name.startswith(safe(f"{value.name}_{axis}")) or "dynamic_axes" in name


def _of_words(name: str) -> str | None:
    words = [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)]
    kinds = [_KINDS[word] for word in words if word in _KINDS]
    return next((kind for kind in _WORDS if kind in kinds), None)


def _is_channels(value: ir.Value, axis: int) -> bool:
    """Channels come first, unless the last axis is of a known size: then that one has them."""
    assert value.shape is not None
    return axis == 1 and not isinstance(value.shape[-1], int)
