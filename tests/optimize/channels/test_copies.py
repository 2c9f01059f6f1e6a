"""Shared weights whose readers would get different channels: how much more would be stored."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onebyone.graph.channels import flow
from onebyone.graph.read import read
from onebyone.graph.shapes import infer
from onebyone.optimize.channels.copies import copies

from ...graphs.text import model

BODY = "y = Conv(x, w) z = Conv(q, w)"
INPUTS = "float[2,6,5,7] x, float[2,6,3,4] q"
SIZE = 4 * 6


def stored(orders: dict[str, list[int]], body: str = BODY, outputs: str = "y, z") -> int:
    """The numbers stored beyond one weight, when values have these channels from now on."""
    found = read(model(body, INPUTS, outputs, {"w": (4, 6, 1, 1)}))
    infer(found)
    nodes = [node for node in found.graph if node.op_type == "Conv"]
    flows = {node: known for node in nodes if (known := flow(node, 1)) is not None}
    ends = {v.name: v for node in nodes for v in (node.inputs[0], node.outputs[0])}
    by_value: dict[ir.Value, np.ndarray] = {ends[n]: np.array(o) for n, o in orders.items()}
    found_copies = copies(flows, by_value)
    return sum(found_copies.values())


TURNED = [5, 4, 3, 2, 1, 0]


@pytest.mark.parametrize(
    ("orders", "numbers"),
    [
        ({}, 0),
        ({"x": TURNED, "q": TURNED}, 0),
        ({"y": [0, 2], "z": [0, 2]}, 0),
        ({"x": TURNED}, SIZE),
        ({"x": TURNED, "q": TURNED[::-1]}, SIZE),
        ({"x": TURNED, "z": [0, 2]}, SIZE),
        ({"y": [0, 2], "z": [0, 3]}, SIZE),
    ],
)
def test_equal_channels_for_all_readers_need_one_weight(
    orders: dict[str, list[int]], numbers: int
) -> None:
    assert stored(orders) == numbers


def test_a_reader_of_its_numbers_needs_it_as_it_is() -> None:
    assert stored({"x": TURNED, "q": TURNED}, "y = Conv(x, w) z = Conv(q, w) s = Neg(w)") == SIZE


def test_the_weight_of_one_operator_may_change() -> None:
    assert stored({"x": TURNED}, "y = Conv(x, w) z = Neg(q)") == 0
