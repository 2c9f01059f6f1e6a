"""Simplify a small model and hold the answers to the bit."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto

from onebyone.graph.read import read
from onebyone.graph.shapes import infer
from onebyone.graph.simplify import simplify
from onebyone.graph.write import to_proto

from ...graphs.run import differences, run
from ...graphs.text import feed

__all__ = ["operators", "simplified"]


def operators(proto: ModelProto) -> list[str]:
    """The operators of the main graph in order, without Constant."""
    return [node.op_type for node in proto.graph.node if node.op_type != "Constant"]


def simplified(proto: ModelProto, *sizes: dict[str, int], exact: bool = True) -> ModelProto:
    """The model simplified, once is enough, names kept; with `exact` the answers compared by ==."""
    made = read(proto)
    version = made.opset_imports[""]
    infer(made)
    simplify(made.graph, version)
    assert not simplify(made.graph, version)
    after = to_proto(made)
    assert [v.name for v in after.graph.output] == [v.name for v in proto.graph.output]
    feeds = [_arrays(feed(proto, **each)) for each in sizes or ({},)]
    for a, b in zip(run(proto, *feeds), run(after, *feeds), strict=True) if exact else ():
        assert differences(a, b) == []
    return after


def _arrays(feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Scalars as arrays without axes, which the engine takes."""
    return {name: np.asarray(value) for name, value in feeds.items()}
