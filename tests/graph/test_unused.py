"""What nobody reads goes, and nothing else."""

from __future__ import annotations

import onnx

from onebyone.graph.read import read
from onebyone.graph.unused import remove_unused

from ..graphs.text import model


def left(proto: onnx.ModelProto) -> tuple[list[str], set[str]]:
    """The operators and the initializers that stay."""
    found = read(proto)
    remove_unused(found.graph)
    return [node.op_type for node in found.graph], set(found.graph.initializers)


def test_chains_that_nobody_reads_go_with_their_weights() -> None:
    body = "a = Conv(x, w) b = Relu(a) y = Conv(x, v) d = Neg(y)"
    proto = model(body, "float[2,3,5,7] x", "y", {"w": (4, 3, 1, 1), "v": (5, 3, 1, 1)})
    assert left(proto) == (["Conv"], {"v"})


def test_optional_results_of_what_stays_stay() -> None:
    proto = model("y, i = MaxPool<kernel_shape = [2, 2]>(x)", "float[2,3,5,7] x")
    found = read(proto)
    remove_unused(found.graph)
    assert [value.name for value in found.graph[0].outputs] == ["y", "i"]


def test_what_only_a_dead_branch_reads_goes_at_once() -> None:
    branches = "then_branch = g () => (float[2,3] p) { p = Abs(a) }, "
    branches += "else_branch = h () => (float[2,3] q) { q = Neg(a) }"
    body = (
        "a = Add(x, w) m = ReduceMax<keepdims = 0>(x) c = Cast<to = 9>(m) "
        f"d = If<{branches}>(c) y = Relu(x)"
    )
    assert left(model(body, "float[2,3] x", constants={"w": (3,)})) == (["Relu"], set())
