"""The table of laws."""

from __future__ import annotations

import pytest

from onebyone.algebra.laws import LAWS, named


def test_the_laws_of_the_command_line() -> None:
    regions = {"compose", "affine", "split", "commute", "sum", "linear"}
    assert set(LAWS) == regions | {"rank", "permute", "prune", "demand"}
    assert all(named(name).name == name for name in LAWS)


@pytest.mark.parametrize("name", list(LAWS))
def test_each_law_says_what_it_equates_and_when(name: str) -> None:
    law = LAWS[name]
    assert " = " in law.equation
    assert law.covers
    assert law.conditions


def test_no_two_laws_print_alike() -> None:
    assert len({law.equation for law in LAWS.values()}) == len(LAWS)
