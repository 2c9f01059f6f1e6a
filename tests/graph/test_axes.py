"""How operands name axes and sizes."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onebyone.algebra.pool import AveragePool, Mean, Sum
from onebyone.algebra.selection import Slice
from onebyone.graph.axes import (
    Spatial,
    computed,
    entries,
    integers,
    late,
    numbers,
    operand,
    rank,
)
from onebyone.graph.values import size


def constant(*values: float, dtype: str = "i8", name: str = "c") -> ir.Value:
    value = ir.val(name, const_value=ir.tensor(np.array(values, dtype)))
    ir.Graph([], [], nodes=[], initializers=[value])
    return value


X = ir.val("x", ir.DataType.FLOAT, (2, "c", 5))
LATE = ir.val("late", ir.DataType.INT64, (2,))


def test_an_operand_left_out_by_position_name_or_emptiness_is_none() -> None:
    node = ir.node("Resize", [X, None, constant(dtype="f4")])
    assert operand(node, 0) is X
    assert [operand(node, index) for index in (1, 2, 3)] == [None, None, None]


def test_numbers_come_from_the_attribute_or_the_constant() -> None:
    assert integers(ir.node("ReduceSum", [X], {"axes": [1, -1]}), 1, "axes") == [1, -1]
    assert integers(ir.node("ReduceSum", [X, constant(1, -1)]), 1, "axes") == [1, -1]
    assert numbers(ir.node("Pad", [X], {"value": 1.5}), 2, "value") == [1.5]
    assert numbers(ir.node("ReduceSum", [X, LATE]), 1, "axes") is None


def test_the_first_operand_computed_at_run_time_is_named() -> None:
    node = ir.node("Slice", [X, constant(0, 0), LATE, LATE])
    assert late(node, {"starts": 1, "steps": 4}) is None
    assert "the ends of the Slice" in late(node, {"starts": 1, "ends": 2, "axes": 3}).reason
    assert computed(*node.inputs[1:]) == (LATE, LATE)


def test_entries_look_into_concats() -> None:
    one, two = constant(7, name="a"), constant(1, 2, name="b")
    both = ir.node("Concat", [one, LATE, two], {"axis": 0}).outputs[0]
    assert entries(both) == [7, None, None, 1, 2]
    assert entries(ir.node("Concat", [one, ir.val("n")], {"axis": 0}).outputs[0]) is None
    assert entries(None) is None


def test_sizes_and_ranks_of_values() -> None:
    assert (size(X, 0), size(X, 1), size(X, 3), size(None, 0)) == (2, None, None, None)
    assert rank(ir.node("Relu", [X])) == 3
    assert rank(ir.node("Relu", [ir.val("n")])) == 0


def test_a_spatial_has_what_all_its_maps_have() -> None:
    assert Spatial({}).is_selection
    assert Spatial({2: Slice(1), 3: Slice(step=-1)}).is_selection
    averaged = Spatial({2: Slice(1), 3: Mean()})
    assert (averaged.is_selection, averaged.preserves_constants) == (False, True)
    assert not Spatial({2: Sum(), 3: Mean()}).preserves_constants


def test_equal_spatials_hash_alike_in_any_order_of_axes() -> None:
    a, b = AveragePool(2), Slice(1)
    assert Spatial({2: a, 3: b}) == Spatial({3: b, 2: a})
    assert hash(Spatial({2: a, 3: b})) == hash(Spatial({3: b, 2: a}))
    assert Spatial({2: a}) != Spatial({2: a}, (2,))
