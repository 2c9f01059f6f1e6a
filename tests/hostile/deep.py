"""Models that are long or deep: chains, Ifs in Ifs, calls of calls, sequences of sequences.

A message nests 100 deep at most for whoever reads it; these are put together as bytes, which have
no such limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from onnx import FunctionProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

__all__ = ["DEEP", "calls", "chain", "ifs", "sequences"]

FLOAT = TensorProto.FLOAT
IMPORTS = [helper.make_opsetid("", 17), helper.make_opsetid("deep", 1)]


def _value(name: str) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, FLOAT, [1, 3, 5, 7])


def _model(nodes: list[NodeProto], functions: tuple[FunctionProto, ...] = ()) -> bytes:
    weight = np.eye(3, dtype=np.float32)[:, :, None, None]
    graph = helper.make_graph(
        nodes, "deep", [_value("x")], [_value("y")], [numpy_helper.from_array(weight, "w")]
    )
    model = helper.make_model(graph, opset_imports=IMPORTS, ir_version=8, functions=functions)
    return model.SerializeToString()


def chain(length: int, operator: str) -> bytes:
    """So many nodes, one behind the other."""
    names = ["x", *(f"v{i}" for i in range(length - 1)), "y"]
    more = ["w"] if operator == "Conv" else []
    return _model([helper.make_node(operator, [a, *more], [b]) for a, b in pairwise(names)])


def calls(depth: int, wide: int = 1) -> bytes:
    """A function that calls one that calls one; `wide` calls in each."""
    nodes = [[helper.make_node("Relu", ["p"], ["q"])]]
    for level in range(depth):
        names = ["p", *(f"q{i}" for i in range(wide - 1)), "q"]
        inner = [helper.make_node(f"F{level}", [a], [b], domain="deep") for a, b in pairwise(names)]
        nodes.append(inner)
    functions = tuple(
        helper.make_function("deep", f"F{i}", ["p"], ["q"], body, IMPORTS)
        for i, body in enumerate(nodes)
    )
    return _model([helper.make_node(f"F{depth}", ["x"], ["y"], domain="deep")], functions)


def _field(number: int, payload: bytes) -> bytes:
    """A field of a message that holds bytes, as they are on the wire."""
    length, size = bytearray(), len(payload)
    while size > 127:
        length.append(size & 127 | 128)
        size >>= 7
    return bytes([number << 3 | 2, *length, size]) + payload


def _graph_model(nodes: bytes, inputs: bytes, output: bytes, tensors: bytes = b"") -> bytes:
    graph = nodes + _field(2, b"deep") + tensors + _field(11, inputs) + _field(12, output)
    return b"\x08\x08" + _field(7, graph) + _field(8, IMPORTS[0].SerializeToString())


def ifs(depth: int) -> bytes:
    """An If whose branch is an If whose branch is an If."""
    leaf = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "leaf", [], [_value("y")])
    last, output = leaf.SerializeToString(), _value("y").SerializeToString()
    graph, node = last, b""
    for _ in range(depth):
        branches = [(b"then_branch", graph), (b"else_branch", last)]
        # An AttributeProto of type GRAPH (field 20, value 5): its name and its graph.
        held = [_field(1, name) + _field(6, g) + b"\xa0\x01\x05" for name, g in branches]
        node = b"".join([_field(1, b"c"), _field(2, b"y"), _field(4, b"If")])
        node = _field(1, node + b"".join(_field(5, attribute) for attribute in held))
        graph = node + _field(2, b"branch") + _field(12, output)
    yes = helper.make_tensor("c", TensorProto.BOOL, [], [True]).SerializeToString()
    return _graph_model(node, _value("x").SerializeToString(), output, _field(5, yes))


def sequences(depth: int) -> bytes:
    """An input that is a sequence of sequences of sequences."""
    kind = helper.make_tensor_type_proto(FLOAT, [1]).SerializeToString()
    for _ in range(depth):
        kind = _field(4, _field(1, kind))
    node = helper.make_node("Identity", ["x"], ["y"]).SerializeToString()
    ends = [_field(1, name) + _field(2, kind) for name in (b"x", b"y")]
    return _graph_model(_field(1, node), *ends)


# What each is, and the exit codes that `optimize` may have.
DEEP: Mapping[str, tuple[bytes, tuple[int, ...]]] = {
    "10,000 activations": (chain(10_000, "Relu"), (0,)),
    "10,000 convolutions": (chain(10_000, "Conv"), (0,)),
    "30 Ifs": (ifs(30), (0,)),
    "33 Ifs": (ifs(33), (3,)),
    "2,000 Ifs": (ifs(2000), (3,)),
    "100 calls": (calls(100), (0,)),
    "2,000 calls": (calls(2000), (0, 3)),
    "3^60 calls": (calls(60, wide=3), (3,)),
    "30 sequences": (sequences(30), (2, 3)),
    "2,000 sequences": (sequences(2000), (3,)),
}
