"""Rows of what was left out: the most frequent first, then by name, the first example of each."""

from __future__ import annotations

from onebyone.counting.gaps import Uncounted, grouped


def test_rows_are_grouped_and_ordered() -> None:
    rows = [("b", "why", "1"), ("a", "why", "2"), ("c", "why", "3"), ("c", "why", "4")]
    assert grouped([*rows, ("c", "else", "5")]) == (
        Uncounted("c", 2, "why", "3"),
        Uncounted("a", 1, "why", "2"),
        Uncounted("b", 1, "why", "1"),
        Uncounted("c", 1, "else", "5"),
    )
    assert grouped([]) == ()
