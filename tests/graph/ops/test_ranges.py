"""Between which numbers integers lie: what nodes say, and what they leave open."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onebyone.graph.ops.ranges import MAX_DEPTH, integer_range

INT64 = (-(2**63), 2**63 - 1)
X = ir.val("x", ir.DataType.FLOAT, ("n", 7, 1))
I8, I64 = ir.val("b", ir.DataType.INT8, (3,)), ir.val("i", ir.DataType.INT64, (3,))
TRUTH = ir.val("c", ir.DataType.BOOL, (3,))


def number(n: int) -> ir.Value:
    return ir.val("k", const_value=ir.tensor(np.array(n)))


def result(op: str, *operands: ir.Value | None, kind: Any = ir.DataType.INT64, **said: int) -> Any:
    value = ir.node(op, operands, said).outputs[0]
    value.dtype = kind
    return value


KNOWN = {
    "a constant": (ir.val("k", const_value=ir.tensor(np.array([4, -2]))), (-2, 4)),
    "an empty one": (ir.val("k", const_value=ir.tensor(np.zeros(0, np.int64))), INT64),
    "a type": (I8, (-128, 127)),
    "a place": (result("ArgMax", X, axis=1), (0, 6)),
    "a place from the end": (result("ArgMin", X, axis=-1), (0, 0)),
    "a place along a free axis": (result("ArgMax", X, axis=0), INT64),
    "a cast": (result("Cast", I8, to=7), (-128, 127)),
    "a cast to fewer": (result("Cast", I64, kind=ir.DataType.INT8, to=3), (-128, 127)),
    "a cast that would wrap": (
        result("Cast", result("Clip", I64, number(0), number(300)), kind=ir.DataType.INT8, to=3),
        (-128, 127)),
    "a cast of floats": (result("Cast", X, to=7), INT64),
    "a cast of truth values": (result("Cast", TRUTH, to=7), (0, 1)),
    "cut": (result("Clip", I64, number(-2), number(5)), (-2, 5)),
    "cut below": (result("Clip", I8, number(0), kind=ir.DataType.INT8), (0, 127)),
    "cut above": (result("Clip", I8, None, number(9), kind=ir.DataType.INT8), (-128, 9)),
    "cut by what is computed": (result("Clip", I64, ir.val("m"), number(5)), INT64),
    "cut the wrong way round": (result("Clip", I64, number(5), number(2)), INT64),
    "a remainder": (result("Mod", I64, number(5)), (0, 4)),
    "a remainder by a negative number": (result("Mod", I64, number(-5)), INT64),
    "a remainder as in C": (result("Mod", I64, number(5), fmod=1), INT64),
    "a remainder by what is computed": (result("Mod", I64, I64), INT64),
    "a view": (result("Unsqueeze", result("ArgMax", X, axis=1), number(0)), (0, 6)),
    "a sum": (result("Add", result("ArgMax", X, axis=1), number(1)), INT64),
    "floats": (X, None),
}  # fmt: skip


@pytest.mark.parametrize("case", KNOWN.values(), ids=KNOWN)
def test_a_range(case: tuple[ir.Value, tuple[int, int] | None]) -> None:
    value, wanted = case
    assert integer_range(value) == wanted


def test_only_so_many_nodes_are_looked_through() -> None:
    value = result("ArgMax", X, axis=1)
    for _ in range(MAX_DEPTH - 1):
        value = result("Identity", value)
    assert integer_range(value) == (0, 6)
    assert integer_range(result("Identity", value)) == INT64
