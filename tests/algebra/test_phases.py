"""Phases: K U x by smaller kernels on x, and as one transposed one; and what has none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from numpy import array_equal as equal

from onebyone.algebra.kernel import Kernel
from onebyone.algebra.phases import as_transposed, phases
from onebyone.algebra.refusal import Refusal
from onebyone.algebra.transposed import TransposedKernel
from onebyone.algebra.window import Window
from tests.quick import slow_but_pairs

RNG = np.random.default_rng(5)


def kernel(taps: Sequence[int], *axes: Window, groups: int = 1) -> Kernel:
    """Of four channels to six, with small integers; the sizes of the windows are the taps'."""
    return Kernel(
        RNG.integers(-4, 5, (6, 4 // groups, *taps)),
        RNG.integers(-4, 5, 6),
        tuple(axis.stride for axis in axes),
        tuple(axis.dilation for axis in axes),
        tuple((axis.before, axis.after) for axis in axes),
        groups,
    )


def repeated(x: np.ndarray, factors: Sequence[int]) -> np.ndarray:
    """U x."""
    for axis, factor in enumerate(factors, start=2):
        x = np.repeat(x, factor, axis)
    return x


def interleaved(parts: Mapping[tuple[int, ...], np.ndarray]) -> np.ndarray:
    """D: position m of phase r at P·m + r."""
    counts = [1 + r for r in max(parts)]
    first = next(iter(parts.values()))
    sizes = [n * count for n, count in zip(first.shape[2:], counts, strict=True)]
    y = np.zeros((*first.shape[:2], *sizes), first.dtype)
    for phase, part in parts.items():
        y[(..., *(slice(r, None, step) for r, step in zip(phase, counts, strict=True)))] = part
    return y


def assert_same(k: Kernel, factors: Sequence[int], sizes: Sequence[int]) -> None:
    x = RNG.integers(-4, 5, (2, 4, *sizes))
    wanted = k.apply(repeated(x, factors))
    found = phases(k, factors)
    if not isinstance(found, Refusal):
        assert equal(interleaved({r: part.apply(x) for r, part in found.items()}), wanted)
    whole = as_transposed(k, factors)
    if isinstance(whole, TransposedKernel):
        assert equal(whole.apply(x), wanted)
    assert not isinstance(found, Refusal) or isinstance(whole, TransposedKernel)


@pytest.mark.parametrize(
    ("taps", "factor", "dilation", "groups"),
    slow_but_pairs([1, 2, 3, 4, 5], [2, 3, 4], [1, 2, 3], [1, 2]),
)
def test_one_axis(taps: int, factor: int, dilation: int, groups: int) -> None:
    reach = (taps - 1) * dilation
    for before in {0, reach // 2, reach}:
        for after in {0, reach - reach // 2, reach}:
            window = Window(taps, 1, before, after, dilation)
            for n in (1, 2, 5):
                if window.fits(n * factor):
                    assert_same(kernel([taps], window, groups=groups), [factor], [n])


def test_several_axes_and_unequal_factors() -> None:
    around = Window(3, 1, 1, 1), Window(5, 1, 2, 2), Window(2, 1, 1, 0)
    assert_same(kernel([3, 5], *around[:2]), [2, 3], [4, 3])
    assert_same(kernel([3, 5, 2], *around), [2, 1, 3], [2, 5, 3])


@pytest.mark.parametrize(("factor", "stride"), [(2, 2), (4, 2), (2, 4), (6, 3), (3, 6)])
def test_strides_that_divide_or_are_divided(factor: int, stride: int) -> None:
    met = 0
    for taps in (1, 2, 3, 5):
        for pads in ((0, 0), (1, 1), (1, 2), (0, 3)):
            window = Window(taps, stride, *pads)
            k = kernel([taps], window)
            for n in (1, 2, 3, 7):
                if window.fits(n * factor) and not isinstance(phases(k, [factor]), Refusal):
                    assert_same(k, [factor], [n])
                    met += 1
    assert met > 8


def test_a_3x3_behind_a_doubling_is_four_2x2() -> None:
    around = Window(3, 1, 1, 1)
    found = phases(kernel([3, 3], around, around), [2, 2])
    assert not isinstance(found, Refusal)
    assert [part.weight.shape[2:] for part in found.values()] == [(2, 2)] * 4
    assert [part.pads for part in found.values()] == [
        ((1, 0), (1, 0)), ((1, 0), (0, 1)), ((0, 1), (1, 0)), ((0, 1), (0, 1)),
    ]  # fmt: skip


def test_padding_by_the_border_stays_that() -> None:
    k = kernel([3], Window(3))
    x = RNG.integers(-4, 5, (2, 4, 5))
    for before, after in ((1, 1), (2, 1), (1, 3)):
        large = np.pad(repeated(x, [3]), [(0, 0), (0, 0), (before, after)], mode="edge")
        padded = Kernel(k.weight, k.bias, (1,), (1,), ((before, after),))
        found = phases(padded, [3])
        if isinstance(found, Refusal):
            assert (before + after - 2) % 3
            continue
        parts = {}
        for phase, part in found.items():
            small = np.pad(x, [(0, 0), (0, 0), part.pads[0]], mode="edge")
            parts[phase] = Kernel(part.weight, part.bias, (1,), (1,), ((0, 0),)).apply(small)
        assert equal(interleaved(parts), k.apply(large))


def test_reflected_is_the_border_up_to_one_less_than_the_factor() -> None:
    x = RNG.integers(-4, 5, (1, 4, 3))
    around = [(0, 0), (0, 0), (2, 2)]
    same = [
        equal(np.pad(repeated(x, [s]), around, mode="reflect"),
              np.pad(repeated(x, [s]), around, mode="edge"))
        for s in (2, 3)
    ]  # fmt: skip
    assert same == [False, True]


def test_what_has_no_phases() -> None:
    reasons = [
        phases(kernel([3], Window(3, 2, 1, 1)), [3]),
        phases(kernel([3], Window(3)), [3]),
        as_transposed(kernel([3], Window(3, 1, 3, 3)), [2]),
    ]
    assert [str(reason) for reason in reasons] == [
        "phases: a stride of 2 and an upsampling by 3 have no phases in common",
        "phases: its outputs are no multiple of its 3 phases",
        "phases: what it pads, (3, 3), is more than its kernel reaches over",
    ]
    assert as_transposed(kernel([3], Window(3, 2, 1, 1)), [2]) is None
