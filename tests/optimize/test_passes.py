"""The laws that are passes, as their rows name them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_type_hints

import onnx_ir as ir
import pytest

from onebyone.algebra.laws import LAWS
from onebyone.algebra.refusal import Refusal
from onebyone.optimize.passes import FIRST, NEAR_MISSES, PASSES, Pass
from onebyone.optimize.rewritten import Rewrite, Task


def test_each_where_those_before_it_have_nothing_left_to_do() -> None:
    order = ["layout", "demand", "prune", "permute", "rank"]
    assert [law for law, _ in PASSES if law in order] == order
    assert [law for law, _ in FIRST] == ["layout", "prune"]


@pytest.mark.parametrize("row", PASSES, ids=lambda row: row[0])
def test_a_pass_takes_a_task_and_tells_its_rewrites(row: Pass) -> None:
    assert get_type_hints(row[1]) == {"task": Task, "return": Iterator[Rewrite]}


def test_a_law_that_looks_for_its_near_misses_tells_them() -> None:
    wanted = {"task": Task, "return": Iterator[tuple[ir.Node, Refusal]]}
    assert all(get_type_hints(look) == wanted for _, look in NEAR_MISSES)
    looking = {law for law, _ in NEAR_MISSES}
    assert looking == {law.name for law in LAWS.values() if law.realised and law.refusals}
