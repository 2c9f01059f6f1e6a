"""What a node takes of its operand: which positions, in which order."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onebyone.algebra.selection import Slice
from onebyone.graph.picks import Late
from onebyone.graph.spatial import selector

from ...optimize.positions.test_through import last

T = "float[2,7,3] x"
FREE = "float[N,L,3] x"
END = 2**31 - 1


def orders(
    body: str, inputs: str = T, opset: int = 17, **numbers: object
) -> dict[int, object] | None:
    """What the last node takes along each axis of which it does not take all."""
    constants = {name: np.array(number) for name, number in numbers.items()}
    node = last(body, inputs, opset, **constants)
    found = selector(node)
    if found is None:
        return None
    return {k: o if isinstance(o, Slice | Late) else list(o) for k, o in found.orders.items()}


SLICE = "y = Slice(x, s, e, a, t)"


@pytest.mark.parametrize(
    ("start", "stop", "step", "wanted"),
    [
        (1, 4, 1, [1, 2, 3]),
        (-2, END, 1, [5, 6]),
        (0, -1, 3, [0, 3]),
        (-1, -(2**31), -2, [6, 4, 2, 0]),
        (5, 99, 1, [5, 6]),
    ],
)
def test_a_slice(start: int, stop: int, step: int, wanted: list[int]) -> None:
    assert orders(SLICE, s=[start], e=[stop], a=[-2], t=[step]) == {1: wanted}


def test_of_axes_of_which_all_is_taken_nothing_is_told() -> None:
    assert orders(SLICE, s=[0, 1], e=[9, 2], a=[1, 2], t=[1, 1]) == {2: [1]}


def test_nothing_at_all_is_no_selection() -> None:
    assert orders(SLICE, s=[4], e=[2], a=[1], t=[1]) is None


@pytest.mark.parametrize(("index", "wanted"), [(-1, [6]), ([3, -7, 3], [3, 0, 3])])
def test_a_gather(index: object, wanted: list[int]) -> None:
    assert orders("y = Gather<axis = 1>(x, i)", i=index) == {1: wanted}


def late(body: str, inputs: str, **numbers: object) -> tuple[int, int, int] | None:
    """The axis along which the last node picks by indices, for how many batches, and how many."""
    found = orders(body, inputs, **numbers)
    if found is None:
        return None
    ((axis, order),) = found.items()
    assert isinstance(order, Late)
    return axis, order.batch, order.size


def test_indices_that_are_computed() -> None:
    assert late("y = Gather<axis = 1>(x, i)", T + ", int64[2] i") == (1, 0, 2)
    assert late("y = GatherND(x, i)", T + ", int64[9,1] i") == (0, 0, 9)
    picks = "y = GatherND<batch_dims = {}>(x, i)".format
    assert late(picks(1), T + ", int64[2,5,1] i") == (1, 1, 5)
    assert late(picks(1), "float[1,7,3] x, int64[1,5,1] i") == (1, 0, 5)
    assert late(picks(2), "float[2,7,9,3] x, int64[2,7,5,1] i") == (2, 2, 5)
    spread = "j = Expand(i, e) y = GatherElements<axis = 1>(x, j)"
    assert late(spread, T + ", int64[2,5,1] i", e=[2, 5, 3]) == (1, 1, 5)
    assert late(spread, T + ", int64[1,5,1] i", e=[2, 5, 3]) == (1, 0, 5)
    assert late(spread, FREE + ", int64[N,5,1] i", e=[1, 5, 3]) == (1, 1, 5)


@pytest.mark.parametrize(
    ("body", "inputs"),
    [
        ("y = Gather<axis = 1>(x, i)", T + ", int64 i"),
        ("y = Gather<axis = 1>(x, i)", T + ", int64[2,2] i"),
        ("y = Gather<axis = 1>(x, i)", T + ", int64[K] i"),
        ("y = GatherND(x, i)", T + ", int64[5,2] i"),
        ("y = GatherND<batch_dims = 1>(x, i)", T + ", int64[2,1] i"),
        ("y = GatherND<batch_dims = 1>(x, i)", T + ", int64[2,5,4,1] i"),
        # Of some of the batch, which is a selection too; and picks of each channel.
        ("j = Expand(i, e) y = GatherElements<axis = 1>(x, j)", T + ", int64[1,5,1] i"),
        ("y = GatherElements<axis = 1>(x, i)", T + ", int64[2,5,3] i"),
        # The batch is not before the picks.
        ("j = Expand(i, f) y = GatherElements<axis = 0>(x, j)", T + ", int64[5,7,1] i"),
    ],
)
def test_indices_that_are_not_followed(body: str, inputs: str) -> None:
    assert orders(body, inputs, e=[1, 5, 3], f=[5, 7, 3]) is None


def test_bounds_that_are_computed_are_not_known() -> None:
    assert orders(SLICE, T + ", int64[1] s", e=[3], a=[1], t=[1]) is None


def test_pads_that_crop() -> None:
    assert orders("y = Pad(x, p)", p=[0, -1, 0, 0, -2, 0]) == {1: [1, 2, 3, 4]}
    assert orders("y = Pad(x, p)", p=[0, -1, 0, 0, 1, 0]) is None
    assert orders("y = Pad(x, p)", p=[0, -1, 0, 0, 0, 2]) is None


def test_one_piece_of_a_split() -> None:
    def taken(outputs: str, opset: int = 17) -> dict[int, object] | None:
        return orders(f"{outputs} = Split<axis = 1>(x, s)", opset=opset, s=[1, 4, 2])

    assert taken("a, y, b") == {1: [1, 2, 3, 4]}
    assert taken("a, b, y") == {1: [5, 6]}
    old = last("a, b, y = Split<axis = 1, split = [1, 4, 2]>(x)", T, 11)
    found = selector(old)
    assert found is not None
    assert list(found.orders[1]) == [5, 6]  # type: ignore[arg-type]
    uneven = last("a, b, y = Split<axis = 1, num_outputs = 3>(x)", T, 18)
    found = selector(uneven)
    assert found is not None
    assert list(found.orders[1]) == [6]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("body", "numbers", "wanted"),
    [
        (SLICE, {"s": [2], "e": [5], "a": [1], "t": [1]}, Slice(2, 5, 1)),
        (SLICE, {"s": [-2], "e": [END], "a": [1], "t": [1]}, Slice(-2, None, 1)),
        (SLICE, {"s": [-1], "e": [-END], "a": [1], "t": [-1]}, None),
        ("y = Gather<axis = 1>(x, i)", {"i": -1}, Slice(-1, None, 1)),
        ("y = Gather<axis = 1>(x, i)", {"i": -2}, Slice(-2, -1, 1)),
        ("y = Gather<axis = 1>(x, i)", {"i": [3]}, Slice(3, 4, 1)),
        ("y = Gather<axis = 1>(x, i)", {"i": [0, 3]}, None),
        ("y = Pad(x, i)", {"i": [0, -1, 0, 0, -2, 0]}, Slice(1, -2, 1)),
        ("y = Pad(x, i)", {"i": [0, -1, 0, 0, 0, 0]}, Slice(1, None, 1)),
    ],
)
def test_of_a_free_axis(body: str, numbers: dict[str, object], wanted: Slice | None) -> None:
    assert orders(body, FREE, **numbers) == (None if wanted is None else {1: wanted})


def test_a_huge_axis_is_not_listed() -> None:
    x = ir.val("x", ir.DataType.FLOAT, (1, 2**40))
    ends = [ir.val(name, const_value=ir.tensor(np.array([n]))) for name, n in (("s", 1), ("a", 1))]
    stop = ir.val("e", const_value=ir.tensor(np.array([2**30])))
    found = selector(ir.node("Slice", [x, ends[0], stop, ends[1]]))
    assert found is not None
    assert found.orders == {1: range(1, 2**30)}


MAP = "float[2,3,9,7] x"


@pytest.mark.parametrize(
    ("node", "kernel", "wanted"),
    [
        ("Conv<strides = [2, 3]>(x, w)", (4, 3, 1, 1), {2: [0, 2, 4, 6, 8], 3: [0, 3, 6]}),
        ("Conv<strides = [2, 1]>(x, w)", (4, 3, 1, 1), {2: [0, 2, 4, 6, 8]}),
        ("Conv<strides = [2, 2]>(x, w)", (4, 3, 1, 3), {2: [0, 2, 4, 6, 8]}),
        ("Conv<strides = [2, 2], pads = [1, 0, 0, 0]>(x, w)", (4, 3, 1, 1), {3: [0, 2, 4, 6]}),
        ("Conv<strides = [2, 2]>(x, w)", (4, 3, 3, 3), None),
        ("Conv(x, w)", (4, 3, 1, 1), None),
        ("MaxPool<kernel_shape = [1, 1], strides = [4, 1]>(x)", None, {2: [0, 4, 8]}),
        ("MaxPool<kernel_shape = [1, 1], strides = [4, 1], ceil_mode = 1>(x)", None, None),
    ],
)
def test_a_stride(
    node: str, kernel: tuple[int, ...] | None, wanted: dict[int, list[int]] | None
) -> None:
    constants = {} if kernel is None else {"w": np.ones(kernel, np.float32)}
    assert orders(f"y = {node}", MAP, **constants) == wanted


def test_what_only_selects_is_told_from_what_computes() -> None:
    found = [
        selector(last("y = AveragePool<kernel_shape = [1, 1], strides = [2, 2]>(x)", MAP)),
        selector(last("y = LpPool<kernel_shape = [1, 1], strides = [2, 2]>(x)", MAP)),
        selector(last("y = MaxPool<kernel_shape = [1, 3], strides = [2, 2]>(x)", MAP)),
    ]
    assert [one is not None and one.copies for one in found] == [True, False, False]


def test_a_stride_of_a_free_axis() -> None:
    weight = np.ones((4, 3, 1, 1), np.float32)
    found = orders("y = Conv<strides = [2, 3]>(x, w)", "float[N,3,H,7] x", w=weight)
    assert found == {2: Slice(0, None, 2), 3: [0, 3, 6]}
