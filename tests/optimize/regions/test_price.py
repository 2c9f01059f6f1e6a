"""Prices of single operators, at one picosecond a MAC or an element and a thousand a start."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from onebyone.algebra.layout import Reshape, Transpose
from onebyone.algebra.resize import Resize
from onebyone.algebra.selection import Slice
from onebyone.cost.profile import Cost, Profile
from onebyone.graph.axes import Spatial
from onebyone.optimize.regions.price import Pricer
from onebyone.optimize.regions.steps import KernelNode, Layout, Meaning, Step, Striding

PICO = Profile(peak=1e12, bandwidth=4e12, overhead=1e-9, transpose=3.0, resize=10.0, stamp=2.0)
PRICE = Pricer(PICO)
BIG = Layout((2, 0, 4, 3), (2, 1, 4, 3), 1)  # 24 positions
SMALL = Layout((2, 0, 2, 3), (2, 1, 2, 3), 1)  # 12 positions
TOKENS = Layout((2, 12, 0), (2, 12, 1), 2)


def step(op: str, meaning: Meaning, before: Layout = BIG, after: Layout = SMALL) -> Step:
    x = ir.val("x", ir.DataType.FLOAT, (2, 5, 4, 3))
    return Step(ir.node(op, [x]), before, after, meaning)


def test_channel_maps() -> None:
    assert PRICE.elementwise(BIG, 5) == Cost(1000 + 2 * 24 * 5, 0, 5)
    assert PRICE.elementwise(BIG, 5, 0) == Cost(1000 + 2 * 24 * 5, 0, 0)
    # 24 positions times 5·7 weights, which are more than the 24·5 + 24·7 + 35 numbers moved.
    assert PRICE.linear(BIG, BIG, (5, 7), 1) == Cost(1840, 840, 35)
    assert PRICE.bias(7) == Cost(0, 0, 7)
    assert PRICE.linear(TOKENS, TOKENS, (5, 7), 1) == Cost(1840, 840, 35)


def test_strides_read_everything_and_compute_where_they_land() -> None:
    moved = 24 * 4 + 12 * 2 + 4
    assert PRICE.linear(BIG, SMALL, (4, 2), 2) == Cost(1000 + moved, 12 * 4, 4)


@pytest.mark.parametrize(("op", "positions", "dearer"), [("Conv", 12, 1), ("ConvTranspose", 24, 2)])
def test_kernels_work_at_outputs_or_at_inputs_if_transposed(
    op: str, positions: int, dearer: int
) -> None:
    node = KernelNode(ir.node(op, []), 3, 6, 9, 4, BIG, SMALL, padded=False, biased=False)
    weights = 6 * 9 // 3 * 4
    macs = positions * weights
    assert PRICE.convolution(node, (6, 9)) == Cost(1000 + dearer * macs, macs, weights)


def test_whatever_convolves_lines_pays_what_turns_them_into_images_and_back() -> None:
    line = Layout((2, 0, 3), (2, 1, 3), 1)  # 6 positions
    node = KernelNode(ir.node("Conv", []), 1, 4, 5, 1, line, line, padded=False, biased=False)
    cost = Cost(2 * 1000 + 6 * 4 * 5, 6 * 4 * 5, 4 * 5)
    assert PRICE.linear(line, line, (4, 5), 1) == PRICE.convolution(node, (4, 5)) == cost


def test_sums_go_two_at_a_time_and_concats_copy() -> None:
    assert PRICE.addition(BIG, 5, 3) == Cost(2 * (1000 + 3 * 24 * 5))
    assert PRICE.addition(BIG, 5, 3, at_once=True) == Cost(1000 + 4 * 24 * 5)
    assert PRICE.concat(BIG, 5) == Cost(1000 + 2 * 24 * 5)


@pytest.mark.parametrize(
    ("op", "meaning", "picoseconds"),
    [
        ("AveragePool", Spatial({2: Slice()}), 1000 + (24 + 12) * 5),
        ("Slice", Spatial({2: Slice()}), 1000 + 2 * 12 * 5 * 3),
        ("Conv", Striding((2, 1), ()), 1000 + 2 * 12 * 5 * 3),
        ("Transpose", Transpose((0, 2, 3, 1)), 1000 + 2 * 12 * 5 * 3),
        ("Reshape", Reshape(()), 1000),
        ("Resize", Spatial({2: Resize("linear")}), 1000 + 12 * 5 * 10),
        ("Resize", Spatial({2: Slice()}), 1000 + (24 + 12) * 5),
    ],
)
def test_space_maps(op: str, meaning: Meaning, picoseconds: int) -> None:
    assert PRICE.step(step(op, meaning), 5) == Cost(picoseconds)


def test_broadcasting_is_the_additions_own() -> None:
    assert PRICE.step(Step(None, SMALL, BIG, None), 5) == Cost()


def test_sizes_for_other_channels_cost_nodes_at_run_time() -> None:
    x = ir.val("x", ir.DataType.FLOAT, (2, 5, 4, 3))
    sizes = ir.val("sizes", ir.DataType.INT64, (3,))
    node = ir.node("Reshape", [x, sizes])
    node.outputs[0].shape = ir.Shape([2, 5, 12])
    flat = Layout((2, 0, 12), (2, 1, 12), 1)
    made = Step(node, BIG, flat, Reshape(flat.monomials or ()))
    assert PRICE.step(made, 5) == Cost(1000)
    assert PRICE.step(made, 7) == Cost(4000)
