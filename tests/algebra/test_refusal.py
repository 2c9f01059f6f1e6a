"""Refusals are values."""

from __future__ import annotations

import dataclasses

import pytest

from onebyone.algebra.refusal import Refusal


def test_it_prints_the_law_and_the_reason() -> None:
    assert str(Refusal("split", "the parts overlap")) == "split: the parts overlap"


def test_equal_refusals_are_one() -> None:
    assert len({Refusal("sum", "a"), Refusal("sum", "a"), Refusal("sum", "b")}) == 2


def test_it_does_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Refusal("sum", "a").law = "split"  # type: ignore[misc]
