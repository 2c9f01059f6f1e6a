"""Windows of convolutions and pools: what they read for some results, by brute force too."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from onebyone.algebra.selection import Slice
from onebyone.algebra.window import Window
from onebyone.graph.ops.windows import narrowed
from onebyone.graph.picks import Picks, picked
from onebyone.graph.spatial import windows_of

from ...optimize.positions.test_through import last


def along(node: ir.Node, asked: Picks) -> tuple[Window, Picks | None] | None:
    """By which window a node computes some positions of axis 2, and what it reads."""
    x = node.inputs[0]
    assert x is not None
    assert x.shape is not None
    return narrowed(windows_of(node)[2], asked, x.shape[2])


@pytest.mark.parametrize(
    ("attributes", "taken", "wanted"),
    [
        # 11 positions, kernel 3: (stride, pads, the first and last position that is read)
        ("pads = [1,1]", range(4, 6), (1, 0, 0, 3, 6)),
        ("pads = [1,1]", range(2), (1, 1, 0, 0, 2)),
        ("pads = [1,1]", range(10, 11), (1, 0, 1, 9, 10)),
        ("strides = [2]", range(1, 3), (2, 0, 0, 2, 6)),
        ("dilations = [3], pads = [3,3]", range(1, 9), (1, 2, 1, 0, 10)),
        ("pads = [1,1]", range(0, 11, 5), (5, 1, 1, 0, 10)),
        ("pads = [0,0]", range(0, 9, 4), (4, 0, 0, 0, 10)),
    ],
)
def test_what_a_kernel_sees(
    attributes: str, taken: range, wanted: tuple[int, int, int, int, int]
) -> None:
    node = last(f"y = Conv<{attributes}>(x, w)", "float[1,2,11] x", w=(1, 2, 3))
    assert node.outputs[0].shape is not None
    whole = node.outputs[0].shape[2]
    assert isinstance(whole, int)
    asked = picked(taken, whole)
    assert asked is not None
    found = along(node, asked)
    assert found is not None
    window, picks = found
    reads = range(11) if picks is None else picks.taken
    assert isinstance(reads, range)
    assert (window.stride, window.before, window.after, reads[0], reads[-1]) == wanted


def test_a_kernel_does_not_see_what_is_unevenly_spaced() -> None:
    node = last("y = Conv(x, w)", "float[1,2,11] x", w=(1, 2, 3))
    asked = picked([0, 1, 4], 9)
    assert asked is not None
    assert along(node, asked) is None


def test_windows_of_nothing_but_padding_stay() -> None:
    node = last("y = Conv<pads = [4,0]>(x, w)", "float[1,2,11] x", w=(1, 2, 3))
    asked = picked([0, 1], 13)
    assert asked is not None
    assert along(node, asked) is None


def sums(window: Window, row: np.ndarray) -> np.ndarray:
    """What a kernel of ones makes of a row of integers."""
    padded = np.pad(row, (window.before, window.after))
    starts = window.stride * np.arange(window.out_size(len(row)))
    return np.array([padded[k : k + window.extent].sum() for k in starts])


@given(
    st.integers(1, 16), st.integers(1, 3), st.integers(0, 3), st.integers(0, 3), st.integers(1, 4),
    st.integers(0, 9), st.integers(1, 9), st.integers(1, 4),
)  # fmt: skip
def test_the_part_makes_what_the_whole_makes_there(
    size: int, stride: int, begin: int, end: int, kernel: int, first: int, count: int, step: int
) -> None:
    x = ir.val("x", ir.DataType.FLOAT, (1, 2, size))
    attributes = {"kernel_shape": [kernel], "strides": [stride], "pads": [begin, end]}
    node = ir.node("MaxPool", [x], attributes)  # type: ignore[arg-type]
    window = windows_of(node)[2]
    row = 1 + np.arange(size) ** 2
    whole = sums(window, row) if window.out_size(size) > 0 else np.array([])
    taken = range(len(whole))[first : first + count * step : step]
    asked = picked(taken, len(whole))
    found = None if asked is None else along(node, asked)
    assume(found is not None)
    assert found is not None
    part, reads = found
    seen = row if reads is None else row[list(_listed(reads))]
    assert sums(part, seen).tolist() == whole[list(taken)].tolist()


def _listed(picks: Picks) -> range | tuple[int, ...]:
    assert not isinstance(picks.taken, Slice)
    return picks.taken


def test_padding_stays_as_it_was_where_that_changes_nothing() -> None:
    """Of 8 positions the last of every second window ends at the border: one pad is idle."""
    node = last("y = Conv<pads = [1,1]>(x, w)", "float[1,2,8] x", w=(1, 2, 3))
    asked = picked(range(0, 8, 2), 8)
    assert asked is not None
    assert along(node, asked) == (Window(3, 2, 1, 1), None)


def test_a_window_of_one_position_reads_what_is_asked_of_it() -> None:
    node = last("y = Conv(x, w)", "float[1,2,11] x", w=(1, 2, 1))
    asked = picked([0, 1, 4], 11)
    assert asked is not None
    assert along(node, asked) == (Window(), asked)


@pytest.mark.parametrize("how", ['auto_pad = "SAME_LOWER"', "ceil_mode = 1"])
def test_sizes_that_are_rounded_up_have_no_windows(how: str) -> None:
    node = last(f"y = MaxPool<kernel_shape = [2], {how}>(x)", "float[1,2,11] x")
    assert windows_of(node) == {}
