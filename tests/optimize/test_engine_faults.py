"""What ONNX Runtime (1.31) takes amiss is not written where the original did without."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

from onebyone.graph.write import to_proto
from onebyone.optimize import optimize

from ..graphs.run import differences, run
from ..graphs.text import feed, model
from ..graphs.valid import refused
from .exact import rewritten


def _taken(proto: ModelProto) -> tuple[ModelProto, dict[str, Any]]:
    """What becomes of a model where only MACs cost, and the report.

    By that and by the usual prices engines take it, and it gives the same.
    """
    fewest, told = rewritten(proto)
    given = feed(proto)
    for after in (fewest, to_proto(optimize(proto, verify=False).model)):
        assert refused(proto, after) == []
        assert [*map(differences, run(proto, given), run(after, given))] == [[]]
    return fewest, told


@pytest.mark.parametrize("opset", [20, 21, 25])
@pytest.mark.parametrize("code", [np.int8, np.uint8])
def test_what_onnx_runtime_makes_of_codes_it_takes(opset: int, code: type) -> None:
    """From opset 21 on it refuses its own form of int8 → MatMul → Add (1.31), optimisations on."""
    proto = model(
        """c = QuantizeLinear(x, s, z) q = DequantizeLinear(c, s, z) t = MatMul(q, a)
        u = Add(q, t) v = MatMul(u, b) y = Add(v, d)""",
        "float[3,4,5] x",
        constants={"s": np.array(0.5, np.float32), "z": np.array(0, code),
                   "a": (5, 5), "b": (5, 4), "d": (4,)},
        opset=opset,
    )  # fmt: skip
    after, _ = _taken(proto)
    assert (len(after.graph.node) < len(proto.graph.node)) == (opset < 21 or code is np.uint8)


@pytest.mark.parametrize("code", [np.int8, np.uint8])
def test_codes_are_not_cut_where_onnx_runtime_would_move_them(code: type) -> None:
    """From opset 21 on it carries int8 codes past a Slice with a zero point of uint8 (1.31)."""
    proto = model(
        """c = QuantizeLinear(x, s, z) q = DequantizeLinear(c, s, z) a, b = Split<axis = 1>(q, n)
        y = MatMul(a, w)""",
        "float[3,5] x",
        constants={"s": np.array(0.5, np.float32), "z": np.array(0, code),
                   "n": np.array([2, 3]), "w": (2, 4)},
        opset=25,
    )  # fmt: skip
    _taken(proto)


@pytest.mark.parametrize("code", [np.int8, np.uint8])
@pytest.mark.parametrize(
    "body",
    [
        "t = MatMul(q, w) p = Transpose<perm = [0, 3, 1, 2]>(t) y = Conv(p, v)",
        "p = Transpose<perm = [0, 3, 1, 2]>(q) a = Conv(p, v) y = Conv<strides = [2, 1]>(a, u)",
    ],
)
def test_codes_are_not_moved_about_either(body: str, code: type) -> None:
    proto = model(
        f"c = QuantizeLinear(x, s, z) q = DequantizeLinear(c, s, z) {body}",
        "float[2,5,3,4] x",
        constants={"s": np.array(0.5, np.float32), "z": np.array(0, code),
                   "w": (4, 4), "v": (9, 4, 1, 1), "u": (2, 9, 1, 1)},
        opset=25,
    )  # fmt: skip
    _taken(proto)


@pytest.mark.parametrize("code", [np.int8, np.uint8])
@pytest.mark.parametrize("gather", ["Gather<axis = 1>(q, i)", "GatherND<batch_dims = 1>(q, j)"])
def test_codes_are_not_picked_from_later(gather: str, code: type) -> None:
    """What picked them stood between them and a MatMul with an Add."""
    proto = model(
        f"""c = QuantizeLinear(x, s, z) q = DequantizeLinear(c, s, z) g = {gather}
        t = MatMul(g, w) y = Add(t, b)""",
        "float[2,3,5] x",
        constants={"s": np.array(0.5, np.float32), "z": np.array(0, code), "w": (5, 4), "b": (4,),
                   "i": np.array([2, 0, 2, 1, 1, 0]),
                   "j": np.array([[[2], [0], [2], [1], [1]], [[0], [0], [1], [2], [1]]])},
        opset=24,
    )  # fmt: skip
    _taken(proto)


@pytest.mark.parametrize("code", [np.int8, np.uint8])
@pytest.mark.parametrize(
    ("nothing", "goes"),
    [("ReduceMean<keepdims = 1>(q, o)", False), ("Dropout(q)", True), ("Identity(q)", True)],
)
def test_what_keeps_codes_from_what_engines_take_amiss_stays(
    nothing: str, goes: bool, code: type
) -> None:
    """A mean of single numbers is nothing; behind it a Transpose would meet int8 codes."""
    proto = model(
        f"""c = QuantizeLinear(x, s, z) q = DequantizeLinear(c, s, z) m = {nothing}
        p = Transpose<perm = [0, 3, 1, 2]>(m) y = Relu(p)""",
        "float[2,1,1,5] x",
        constants={"s": np.array(0.5, np.float32), "z": np.array(0, code), "o": np.array([1, 2])},
        opset=23,
    )  # fmt: skip
    after, _ = _taken(proto)
    left = {node.op_type for node in after.graph.node}
    assert left.isdisjoint(("ReduceMean", "Dropout", "Identity")) == (goes or code is np.uint8)


@pytest.mark.parametrize("between", ["", "m = Mul(p, v) "])
@pytest.mark.parametrize("after", ["0, 0, 1, 1", "0, 0, 2, 1", "0, 0, 1, 3"])
@pytest.mark.parametrize("pads", ["0, 0, 0, 0", "1, 0, 0, 0"])
def test_no_pool_follows_zeros_that_it_cannot_hold(pads: str, after: str, between: str) -> None:
    """ONNX Runtime makes a Pad the pool's own, and refuses pads that fill a window (1.31)."""
    proto = model(
        f"""p = Pad(x, k) {between}c = Conv({"m" if between else "p"}, w)
        y = AveragePool<kernel_shape = [2, 2], strides = [2, 2], count_include_pad = 1,
                        pads = [{pads}]>(c)""",
        "float[2,4,5,8] x",
        constants={"w": (3, 4, 1, 1), "v": (4, 1, 1),
                   "k": np.array([0, 0, 0, 0, *map(int, after.split(","))])},
    )  # fmt: skip
    _, told = _taken(proto)
    fits = after == "0, 0, 1, 1"
    assert (told["after"]["macs"] < told["before"]["macs"]) == fits
