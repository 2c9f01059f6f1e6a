"""One output judged: what may not differ, and NaN of formats that are compared as they are."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from onebyone.verify.judge import judge_exact, same, within


@pytest.mark.parametrize("kind", [np.float32, np.float16, ml_dtypes.float8_e8m0fnu])
def test_nan_is_the_same_as_nan_in_every_format(kind: type) -> None:
    a, b = (np.array(values, np.float32).astype(kind) for values in ([1, np.nan, 2], [1, 4, 2]))
    assert same(a, a).tolist() == [True, True, True]
    assert same(a, b).tolist() == [True, False, True]
    assert judge_exact("y", a, a).passed
    assert not judge_exact("y", a, b).passed


@pytest.mark.parametrize("kind", [np.int8, np.bool_, np.str_, object])
def test_what_has_no_nan_is_compared_by_value(kind: type) -> None:
    a, b = np.array([1, 0, 1]).astype(kind), np.array([1, 1, 1]).astype(kind)
    assert same(a, b).tolist() == [True, False, True]


def test_the_worst_element_is_found_behind_the_first_million() -> None:
    a = np.zeros((1, 3, 800, 501), np.float32)
    b, reference = a.copy(), a.astype(np.float64)
    b[0, 2, 799, 500], b[0, 0, 1, 2] = 0.25, 0.125
    check = within("y", a, b, reference, np.full((1, 3, 1, 1), 0.5))
    assert check.used == 0.5
    assert check.max_abs_error == 0.25
    assert check.element.startswith("at [0, 2, 799, 500] A has 0, B 0.25")
    assert sum(check.shares) == a.size
    assert check.shares[0] == a.size - 2


def test_bands_know_what_is_excused_and_what_is_no_number() -> None:
    a = np.zeros((2, 700_000), np.float32)
    b, reference = a.copy(), np.zeros(a.shape)
    reference[1, 699_999] = 5.0
    assert within("y", a, b, reference, np.ones((1, 1))).used == 5.0
    assert within("y", a, b, reference, np.ones((1, 1)), excused=a == b).used == 1.0
    b[1, 699_999] = np.nan
    assert within("y", a, b, reference, np.ones((1, 1))).used == np.inf
