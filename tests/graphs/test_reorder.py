"""Reordering really reorders, and keeps inputs and outputs."""

from __future__ import annotations

from .reorder import reordered
from .text import model

TEXT = "a = Relu(x) b = Abs(x) c = Neg(x) d = Add(a, b) y = Add(d, c)"


def _operators(seed: int) -> tuple[str, ...]:
    return tuple(n.op_type for n in reordered(model(TEXT, "float[2,3] x"), seed).graph.node)


def test_several_orders_come_out() -> None:
    assert len({_operators(seed) for seed in range(20)}) > 5


def test_names_change_inside_and_stay_outside() -> None:
    again = reordered(model(TEXT, "float[2,3] x"), 1).graph
    assert [v.name for v in again.input] == ["x"]
    assert again.node[-1].output == ["y"]
    assert not {"a", "b", "c", "d"} & {name for node in again.node for name in node.output}
