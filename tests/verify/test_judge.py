"""One output judged: what may not differ, and NaN of formats that are compared as they are."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from onebyone.verify.judge import judge_exact, same


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
