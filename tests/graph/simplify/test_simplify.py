"""The whole stage: once is enough, in any order of nodes, and deep graphs are no trouble."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from onebyone.graph.read import read
from onebyone.graph.shapes import infer
from onebyone.graph.simplify import simplify

from ...graphs.reorder import reordered
from ...graphs.text import model
from ...timing import least_seconds
from .simple import operators, simplified

BODY = """
    w = Mul(v, m) a = Cast<to = 1>(x) b = Identity(a) c = Conv(b, w) d = Conv(a, w)
    s = Shape(c) n = Gather(s, z) k = Concat<axis = 0>(n, five, q) f = Reshape(c, k)
    t = Transpose<perm = [2, 0, 1]>(f) u = Transpose<perm = [1, 2, 0]>(t)
    r = Reshape(d, k) e = Add(u, r) y = Neg(e)
"""
CONSTANTS = {"v": (5, 3, 1, 1), "m": (5, 1, 1, 1), "z": np.array([0]), "five": np.array([5]),
             "q": np.array([-1])}  # fmt: skip


def test_all_of_it_together() -> None:
    proto = model(BODY, "float[n,3,4,6] x", "y", CONSTANTS)
    wanted = ["Conv", "Reshape", "Add", "Neg"]
    assert operators(simplified(proto, {"n": 2})) == wanted
    for seed in range(5):
        assert sorted(operators(simplified(reordered(proto, seed), {"n": 2}))) == sorted(wanted)


def _chain(length: int) -> onnx.ModelProto:
    """Pairs of no-ops, constants computed step by step, and equal nodes, one behind the other."""
    nodes = [helper.make_node("Neg", ["w"], ["w0"])]
    at = "x"
    for k in range(length):
        nodes += [
            helper.make_node("Neg", [f"w{k}"], [f"w{k + 1}"]),
            helper.make_node("Identity", [at], [f"i{k}"]),
            helper.make_node("Add", [f"i{k}", f"w{k + 1}"], [f"a{k}"]),
            helper.make_node("Transpose", [f"a{k}"], [f"t{k}"], perm=[1, 0]),
            helper.make_node("Transpose", [f"t{k}"], [f"u{k}"], perm=[1, 0]),
        ]
        at = f"u{k}"
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [3, 4]) for n in ("x", at)]
    w = numpy_helper.from_array(np.ones((3, 4), np.float32), "w")
    graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:], [w])
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


def _seconds(length: int) -> float:
    graphs = []
    for _ in range(3):
        made = read(_chain(length))
        infer(made)
        graphs.append(made.graph)
    left = iter(graphs)
    seconds = least_seconds(lambda: simplify(next(left), 17), len(graphs))
    assert all(len(graph) == length for graph in graphs)
    return seconds


def test_it_takes_linear_time() -> None:
    _seconds(20)
    assert _seconds(1000) < 24 * _seconds(125)  # eight times as long; what is quadratic takes 64
