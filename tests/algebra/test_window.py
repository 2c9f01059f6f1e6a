"""Windows against a loop over positions: what an output sees, how many there are, and the laws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from onebyone.algebra.window import Window

from .maps import SIZES

windows = st.builds(
    Window,
    kernel=st.integers(1, 4),
    stride=st.integers(1, 5),
    before=st.integers(-1, 3),
    after=st.integers(-1, 3),
    dilation=st.integers(1, 3),
)
sizes = st.sampled_from(SIZES)


def by_hand(window: Window, n: int) -> list[list[int]]:
    """The positions under each output: a stencil moved on while it lies in the padded axis."""
    stencil = [-window.before + tap * window.dilation for tap in range(window.kernel)]
    outputs = []
    while stencil[-1] < n + window.after:
        outputs.append(stencil)
        stencil = [position + window.stride for position in stencil]
    return outputs


@given(windows, sizes)
def test_outputs_are_where_the_window_fits(window: Window, n: int) -> None:
    seen = by_hand(window, n)
    assert window.out_size(n) == len(seen)
    assert window.fits(n) == bool(seen)
    assert window.taps(len(seen)).tolist() == seen
    assert list(window.first) == window.taps(1)[0].tolist()
    assert window.extent == window.first[-1] - window.first[0] + 1


@given(windows, windows)
def test_slack_and_stride_decide_the_number_of_outputs(a: Window, b: Window) -> None:
    # Over so many sizes the numbers grow by b.stride and by a.stride.
    sizes = range(20, 21 + a.stride * b.stride)
    same = all(a.out_size(n) == b.out_size(n) for n in sizes)
    assert not same or a.stride == b.stride
    assert same or (a.stride, a.slack) != (b.stride, b.slack)


@given(windows, st.integers(0, 4), st.integers(1, 3), st.integers(1, 4))
def test_outputs_in_a_row_see_a_span(window: Window, start: int, step: int, count: int) -> None:
    outputs = range(start, start + step * count, step)
    taps = window.taps(outputs[-1] + 1)[outputs.start :: step]
    assert window.seen(outputs) == range(taps.min(), taps.max() + 1)


@given(windows, windows, st.integers(12, 30))
def test_a_window_over_windows_is_one(first: Window, second: Window, n: int) -> None:
    both = first.then(second)
    inner = second.taps(second.out_size(first.out_size(n)))
    # As if the first had outputs in the padding too: the hulls are compared everywhere.
    lowest = inner.min(axis=1) * first.stride - first.before
    highest = inner.max(axis=1) * first.stride - first.before + first.extent - 1
    assert both.out_size(n) == len(inner)
    assert both.taps(len(inner)).min(axis=1).tolist() == lowest.tolist()
    assert both.taps(len(inner)).max(axis=1).tolist() == highest.tolist()


@given(windows, windows, windows)
def test_order_of_composing_does_not_matter(a: Window, b: Window, c: Window) -> None:
    assert a.then(b).then(c) == a.then(b.then(c))


@given(windows, sizes)
def test_rounding_up_drops_what_starts_behind_the_axis(window: Window, n: int) -> None:
    assume(min(window.before, window.after) >= 0)
    asked = -(-(n + window.slack) // window.stride) + 1
    # PyTorch's rule: at most one output, the last, would start behind the input and its padding.
    starts_behind = (asked - 1) * window.stride >= n + window.before
    assert window.rounded_up().out_size(n) == max(asked - starts_behind, 0)
    if window.after < window.extent:
        assert window.rounded_up().out_size(n) - window.out_size(n) in (0, 1)


@given(windows, sizes, st.booleans())
def test_same_padding_keeps_the_size_over_the_stride(window: Window, n: int, odd: bool) -> None:
    before, after = window.same_pads(n, odd_before=odd)
    padded = Window(window.kernel, window.stride, before, after, window.dilation)
    assert padded.out_size(n) == -(-n // window.stride)
    assert before - after in ((0, 1) if odd else (0, -1))
    # No more than needed: with one position less there would be one output less.
    fewer = Window(window.kernel, window.stride, before, after - 1, window.dilation)
    assert before + after == 0 or fewer.out_size(n) < padded.out_size(n)


def convolved(x: np.ndarray, weight: np.ndarray, window: Window) -> list[int]:
    """A convolution of one channel, zeros in the padding."""
    seen = by_hand(window, len(x))
    return [
        sum(int(w) * int(x[i]) for w, i in zip(weight, taps, strict=True) if 0 <= i < len(x))
        for taps in seen
    ]


@given(windows, sizes, st.data())
def test_a_part_computes_its_outputs_from_what_it_reads(
    window: Window, n: int, data: st.DataObject
) -> None:
    whole = window.out_size(n)
    assume(whole > 0)
    start = data.draw(st.integers(0, whole - 1))
    stop = data.draw(st.integers(start + 1, whole))
    outputs = range(start, stop, data.draw(st.integers(1, 3)))
    # Small integers, none of them zero: what is not read, or read twice, is seen in the sums.
    x, weight = np.arange(1, n + 1) ** 2, 3 ** np.arange(window.kernel)
    wanted = convolved(x, weight, window)[outputs.start : outputs.stop : outputs.step]
    part = window.part(outputs, n)
    if part is None:
        assert not any(0 <= i < n for i in window.seen(outputs))
        return
    cut, reads = part
    assert convolved(x[reads.start : reads.stop], weight, cut) == wanted


@pytest.mark.parametrize(
    ("window", "n", "outputs"),
    [
        (Window(1), 1, 1),
        (Window(3), 1, 0),
        (Window(1, 4), 9, 3),
        (Window(2, 5, 0, 1), 9, 2),
        (Window(2, 1, 0, 0, 3), 7, 4),
        (Window(3, 2, 0, 2), 6, 3),
        (Window(3, 2, 2, 0), 6, 3),
    ],
)
def test_sizes_by_hand(window: Window, n: int, outputs: int) -> None:
    assert window.out_size(n) == outputs
