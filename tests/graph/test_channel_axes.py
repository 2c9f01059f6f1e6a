"""Where channels stand, behind views that merge them or cut them apart."""

from __future__ import annotations

from typing import Any

import numpy as np

from onebyone.graph.channel_axes import channel_axes
from onebyone.graph.read import read
from onebyone.graph.shapes import infer

from ..graphs.text import model


def _axes(body: str, inputs: str, outputs: str = "y", **constants: Any) -> dict[str, int]:
    made = read(model(body, inputs, outputs, constants))
    infer(made)
    return {value.name or "": axis for value, axis in channel_axes(made.graph).items()}


def test_every_result_of_a_split_and_what_follows() -> None:
    body = (
        "t = Conv(x, w) a, b = Split<axis = 1>(t) r = Relu(b) s = Gather<axis = 1>(r, i) y = Abs(s)"
    )
    found = _axes(body, "float[2,3,5,7] x", "a, y", w=(6, 3, 1, 1), i=np.array([2, 0]))
    assert found == dict.fromkeys("tabrsy", 1)


def test_flattened_channels_are_on_the_merged_axis() -> None:
    body = "t = Conv(x, w) f = Flatten(t) y = Relu(f)"
    assert _axes(body, "float[2,3,5,7] x", w=(6, 3, 1, 1)) == {"t": 1, "f": 1, "y": 1}


def test_heads_are_followed_to_where_they_are_put() -> None:
    body = "t = MatMul(x, w) h = Reshape(t, s) p = Transpose<perm = [0, 2, 3, 1]>(h) y = Relu(p)"
    found = _axes(body, "float[2,5,4] x", w=(4, 12), s=np.array([2, 5, 3, 4]))
    assert found == {"t": 2, "h": 2, "p": 1, "y": 1}


def test_an_axis_that_vanishes_is_not_followed() -> None:
    body = "t = Conv(x, w) y = Gather<axis = 1>(t, i)"
    assert _axes(body, "float[2,3,5,7] x", w=(6, 3, 1, 1), i=np.array(2)) == {"t": 1}
