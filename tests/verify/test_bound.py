"""The bound: which slices are judged alone."""

from __future__ import annotations

import numpy as np
import pytest

from onebyone.verify.bound import FACTOR, Noise, limits

UNIT = 2.0**-24


@pytest.mark.parametrize(
    ("slices", "samples", "alone"),
    [(5, 8, True), (5, 7, False), (1024, 8, True), (2048, 8, False), (2048, 9, True)],
)
def test_of_many_slices_more_noise_has_to_be_seen(slices: int, samples: int, alone: bool) -> None:
    """Column 0 is small and has little noise: judged alone, it may not lie as far as the others."""
    reference = np.full((1, slices), 100.0)
    reference[0, 0] = 1
    size = 1e-4 * reference
    found = limits(reference, Noise(size, samples, 3, UNIT))
    whole = FACTOR * 1e-2
    assert np.broadcast_to(found, size.shape)[0, 1:] == pytest.approx(whole, rel=1e-12)
    least = whole / 100 if alone else whole
    assert np.broadcast_to(found, size.shape)[0, 0] == pytest.approx(least, rel=1e-12)
