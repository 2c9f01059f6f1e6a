"""The laws that are passes, as their rows name them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_type_hints

import pytest

from onebyone.optimize.passes import FIRST, PASSES, Pass
from onebyone.optimize.rewritten import Rewrite, Task


def test_each_where_those_before_it_have_nothing_left_to_do() -> None:
    order = ["demand", "prune", "permute", "rank"]
    assert [law for law, _ in PASSES if law in order] == order
    assert [law for law, _ in FIRST] == ["prune"]


@pytest.mark.parametrize("row", PASSES, ids=lambda row: row[0])
def test_a_pass_takes_a_task_and_tells_its_rewrites(row: Pass) -> None:
    assert get_type_hints(row[1]) == {"task": Task, "return": Iterator[Rewrite]}
