"""Optimise a small model of integers without verification, and compare with `==`."""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np
from onnx import ModelProto

from onebyone.cost.profile import Profile
from onebyone.graph.write import to_proto
from onebyone.optimize import optimize

from ..graphs.reorder import of_any_order, reordered
from ..graphs.run import differences, run
from ..graphs.text import feed, integers

__all__ = ["ANY_WIDTH", "COUNTING", "Outcome", "killed", "optimized", "rewritten"]

COUNTING = Profile(peak=1.0, bandwidth=1e18, overhead=1e-9, resize=1e-9, stamp=1.0, channels=1)
"""A machine on which only multiply-accumulates cost anything to speak of."""

ANY_WIDTH = Profile(channels=1)
"""A machine on which one number of channels is as good as another."""


class Outcome:
    """An optimised model: what changed, told in few words.

    Attributes:
        proto: the model. ops: its operators, in order. laws: those that were used.
        saved: MACs less than before.
    """

    def __init__(self, proto: ModelProto, told: dict[str, Any]) -> None:
        self.proto, self.told = proto, told
        self.ops = [node.op_type for node in proto.graph.node]
        self.laws = {row["law"] for row in told["laws"]}
        self.saved = told["before"]["macs"] - told["after"]["macs"]
        self.refusals = [row["reason"] for row in told["refusals"]]

    def attribute(self, op: str, name: str) -> list[list[int]]:
        """An integer attribute of all nodes of a type."""
        nodes = [node for node in self.proto.graph.node if node.op_type == op]
        return [list(a.ints) for node in nodes for a in node.attribute if a.name == name]

    def weights(self, op: str = "Conv") -> list[list[int]]:
        """The shapes of the weights of all nodes of a type."""
        shapes = {t.name: list(t.dims) for t in self.proto.graph.initializer}
        return [shapes[n.input[1]] for n in self.proto.graph.node if n.op_type == op]


def rewritten(proto: ModelProto, **options: Any) -> tuple[ModelProto, dict[str, Any]]:
    """The model as few multiply-accumulates as the laws make it, and its report as a dict."""
    # Integers have no digits to lose: what rounds is tested elsewhere (test_digits.py).
    options = {"profile": COUNTING, "verify": False, "lost_bits": inf, **options}
    result = optimize(proto, **options)
    return to_proto(result.model), result.report.to_dict()


def optimized(proto: ModelProto, law: str, *sizes: dict[str, int], **options: Any) -> Outcome:
    """Apply one law; the answers stay, once is enough, and node order does not matter.

    `sizes` are the values of symbolic dimensions, one dict for each run.
    """
    options = {"only": [law], "profile": ANY_WIDTH, **options}
    after = Outcome(*rewritten(proto, **options))
    feeds = [feed(proto, **each) for each in sizes or ({},)]
    for a, b in zip(run(proto, *feeds), run(after.proto, *feeds), strict=True):
        assert differences(a, b) == []
    assert rewritten(after.proto, **options)[1]["laws"] == []
    if not any(a.HasField("g") for node in proto.graph.node for a in node.attribute):
        other = rewritten(reordered(proto, 7), **options)[1]
        assert of_any_order(other["after"]) == of_any_order(after.told["after"])
    return after


def killed(
    name: str,
    shape: tuple[int, ...],
    rows: tuple[int, ...] = (),
    columns: tuple[int, ...] = (),
) -> np.ndarray:
    """Integers without zeros, but for these rows (axis 0) and columns (axis 1)."""
    weight = integers(name, shape)
    weight[list(rows)] = 0
    if columns:
        weight[:, list(columns)] = 0
    return weight
