"""Links and flows as values."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onebyone.graph.ops.flow import Flow, Link, Mix, straight


def _value(*shape: int | str) -> ir.Value:
    return ir.val("v", ir.DataType.FLOAT, shape)


def test_a_straight_link_takes_every_channel_along() -> None:
    x, y = _value("n", 3, 5), _value("n", 5, 3)
    link = straight(x, y, 1, 2)
    assert link is not None
    assert link.is_straight
    assert straight(x, y, 1, 1) is None
    assert straight(x, y, 0, 0) is None  # not a number


def test_a_link_that_picks_or_repeats_is_not_straight() -> None:
    x, y = _value(2, 3), _value(2, 2)
    assert not Link(x, 1, y, np.arange(2), np.arange(2)).is_straight
    assert not Link(x, 1, y, np.arange(3), np.array([0, 2, 1])).is_straight
    assert not Link(x, 1, y, np.array([0, 0, 1]), np.arange(3)).is_straight


def test_operands_of_a_flow() -> None:
    x, y = _value(2, 3), _value(2, 3)
    link, none = straight(x, y, 1, 1), np.zeros((0, 0, 0))
    assert link is not None
    assert Flow(1, (link,)).operands == {x: 1}
    assert Flow(1, mix=Mix(y, 0, none, None, False)).operands == {y: 0}
