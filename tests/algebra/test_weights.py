"""What both directions of kernels share."""

from __future__ import annotations

import numpy as np
import pytest

from onebyone.algebra.weights import along, check_width, mapped_bias, summed, through_groups, wide
from onebyone.errors import UsageError


@pytest.mark.parametrize(("stored", "wanted"), [("f2", "f8"), ("f4", "f8"), ("i1", "i8")])
def test_wide_keeps_the_values(stored: str, wanted: str) -> None:
    a = wide(np.array([-3, 100], stored))
    assert a.dtype == wanted
    assert a.tolist() == [-3, 100]


def test_none_is_zero() -> None:
    one = np.array([1])
    assert summed(None, None) is None
    assert (summed(None, one) == one).all()
    assert (summed(one, one) == [2]).all()
    assert mapped_bias(np.ones((2, 1)), None, None) is None


def test_a_bias_goes_through_dense_and_diagonal_maps() -> None:
    M, bias, b = np.array([[1, 2], [3, 4], [5, 6]]), np.array([1, -1]), np.array([10, 20, 30])
    assert (mapped_bias(M, bias, b) == [9, 19, 29]).all()
    assert (mapped_bias(np.array([2, 3]), bias, None) == [2, -3]).all()
    assert (mapped_bias(M, None, b) == b).all()


def test_a_bias_of_small_integers_does_not_overflow() -> None:
    big = np.array([100], np.int8)
    assert (mapped_bias(big, big, big) == [10100]).all()


def test_diagonals_follow_the_groups() -> None:
    s = np.arange(6)
    assert (
        through_groups(s, (4, 3, 1, 1), 2)[:, :, 0, 0] == [[0, 1, 2]] * 2 + [[3, 4, 5]] * 2
    ).all()
    assert along(s, 3, 2).shape == (1, 1, 6)


def test_a_bias_of_the_wrong_width_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"got M \(2, 3\), b \(3,\) for K"):
        check_width(np.ones((2, 3)), np.ones(3), True, "K")
