"""Each number that the page proves a point with is what the library says."""

from __future__ import annotations

import pytest

from .conftest import Opened
from .panels import PANELS, Case, cases, expected, hash_of, numbers

# Relative to the largest: the page sums in another order than NumPy.
ROUNDING = 1e-12


def test_each_panel_is_compared_untouched() -> None:
    assert [case.panel for case in cases() if not case.state] == PANELS


@pytest.mark.parametrize("case", cases(), ids=str)
def test_the_page_computes_what_the_library_computes(case: Case, opened: Opened) -> None:
    page = opened(hash_of(case) if case.state else "")
    right = expected(case.panel).expected(**case.state)
    assert numbers(page, case.panel) == pytest.approx(right, rel=ROUNDING, abs=ROUNDING)
