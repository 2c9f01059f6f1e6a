"""Channels that are cut apart, picked and regrouped, beside what the operators do to numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

from onebyone.graph.channel_axes import channel_axes
from onebyone.graph.channels import flow
from onebyone.graph.ops.flow import Flow
from onebyone.graph.read import read
from onebyone.graph.shapes import infer

from ...graphs.run import run
from ...graphs.text import model

IMAGE = "float[2,12,3,5] x"
TOKENS = "float[2,5,12] x"
# What fixes the channels' axis and leaves numbers alone.
POOLED = "i = MaxPool<kernel_shape = [1, 1]>(x)"
MAPPED = "i = MatMul(x, eye)"
EYE = {"eye": np.eye(12, dtype=np.float32)}


def _flow(proto: ModelProto) -> Flow | None:
    """Of the last node."""
    made = read(proto)
    infer(made)
    axes, node = channel_axes(made.graph), list(made.graph)[-1]
    out = node.outputs[0]
    return flow(node, axes[out], axes) if out in axes else None


def _numbered(shape: tuple[int, ...], axis: int) -> np.ndarray:
    """Each channel holds its own number everywhere."""
    numbers = np.arange(shape[axis], dtype=np.float32)
    return np.broadcast_to(numbers.reshape(-1, *[1] * (len(shape) - axis - 1)), shape).copy()


def _vector(*numbers: int) -> np.ndarray:
    return np.array(numbers)


PICKS: dict[str, tuple[str, dict[str, Any]]] = {
    "Split": ("y, z = Split<axis = 1>(i, p)", {"p": _vector(2, 10)}),
    "Split of equal parts": ("y, z, u = Split<axis = -3>(i)", {}),
    "Slice": ("y = Slice(i, p, q, p)", {"p": _vector(1), "q": _vector(99)}),
    "Slice from behind": (
        "y = Slice(i, p, q, o)",
        {"p": _vector(-3), "q": _vector(-1), "o": _vector(1)},
    ),
    "Gather": ("y = Gather<axis = 1>(i, p)", {"p": _vector(4, -6, 4)}),
    "Split of positions": ("y, z = Split<axis = 3>(i, p)", {"p": _vector(2, 3)}),
    "DepthToSpace": ("y = DepthToSpace<blocksize = 2>(i)", {}),
    "DepthToSpace by columns": ('y = DepthToSpace<blocksize = 2, mode = "CRD">(i)', {}),
    "Flatten": ("y = Flatten(i)", {}),
    "Reshape with positions": ("y = Reshape(i, p)", {"p": _vector(2, -1)}),
    "Reshape with some positions": ("y = Reshape(i, p)", {"p": _vector(2, 36, 5)}),
    "groups": ("y = Reshape(i, p)", {"p": _vector(2, 4, -1)}),
}

HEADS: dict[str, tuple[str, dict[str, Any]]] = {
    "heads": ("y = Reshape(i, p)", {"p": _vector(0, 0, 3, 4)}),
    "heads whose number is left": ("y = Reshape(i, p)", {"p": _vector(2, 5, -1, 2)}),
    "heads of queries, keys and values": ("y = Reshape(i, p)", {"p": _vector(2, 5, 2, 3, 2)}),
    "tokens joined": ("y = Reshape(i, p)", {"p": _vector(2, 60)}),
    "Split of tokens": ("y, z = Split<axis = 2>(i, p)", {"p": _vector(5, 7)}),
}


def _check(proto: ModelProto, shape: tuple[int, ...], axis: int) -> Flow:
    """Each channel of the results holds the numbers of the channels that it is made of."""
    found = _flow(proto)
    assert found is not None
    (answer,) = run(proto, {"x": _numbered(shape, axis)})
    for result in {link.result.name for link in found.links}:
        held = np.moveaxis(answer[result or ""], found.axis, 0)
        (link,) = (link for link in found.links if link.result.name == result)
        for o, numbers in enumerate(held):
            wanted = np.unique(link.sources[link.outs == o])
            assert np.unique(numbers).tolist() == wanted.tolist()
    return found


@pytest.mark.parametrize("name", PICKS)
def test_channels_of_an_image_hold_what_they_are_made_of(name: str) -> None:
    body, constants = PICKS[name]
    outputs = "y, z" if "y, z" in body else "y"
    outputs = "y, z, u" if "u = " in body else outputs
    _check(model(f"{POOLED} {body}", IMAGE, outputs, constants), (2, 12, 3, 5), 1)


@pytest.mark.parametrize("name", HEADS)
def test_channels_of_tokens_hold_what_they_are_made_of(name: str) -> None:
    body, constants = HEADS[name]
    outputs = "y, z" if "y, z" in body else "y"
    _check(model(f"{MAPPED} {body}", TOKENS, outputs, {**constants, **EYE}), (2, 5, 12), 2)


@pytest.mark.parametrize(("parts", "axis"), [((3, 4), 2), ((2, 3, 2), 3), ((3, 2, 2), 2)])
def test_heads_are_the_largest_part_but_the_last(parts: tuple[int, ...], axis: int) -> None:
    body = f"{MAPPED} y = Reshape(i, p)"
    found = _flow(model(body, TOKENS, "y", {"p": _vector(2, 5, *parts), **EYE}))
    assert found is not None
    assert found.axis == axis


NOT_KNOWN: dict[str, tuple[str, dict[str, Any]]] = {
    "every second channel": (
        "y = Slice(i, p, q, p, s)",
        {"p": _vector(1), "q": _vector(9), "s": _vector(2)},
    ),
    "channels backwards": (
        "y = Slice(i, p, q, o, p)",
        {"p": _vector(-1), "q": _vector(-99), "o": _vector(1)},
    ),
    "channels that divide no part": ("y = Reshape(i, p)", {"p": _vector(8, 45)}),
    "one channel": ("y = Gather<axis = 1>(i, p)", {"p": np.array(3)}),
}


@pytest.mark.parametrize("name", NOT_KNOWN)
def test_what_is_not_known(name: str) -> None:
    body, constants = NOT_KNOWN[name]
    assert _flow(model(f"{POOLED} {body}", IMAGE, "y", constants)) is None


@pytest.mark.parametrize(("rest", "known"), [(-1, True), (180, False)])
def test_sizes_that_are_computed_are_free_where_channels_are_left(rest: int, known: bool) -> None:
    nodes = "s = Shape(x) n = Gather<axis = 0>(s, z) d = Concat<axis = 0>(n, m) y = Reshape(i, d)"
    constants = {"z": _vector(0), "m": _vector(rest)}
    proto = model(f"{POOLED} {nodes}", "float[N,12,3,5] x", "y", constants)
    assert (_flow(proto) is not None) is known
