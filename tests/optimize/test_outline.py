"""Both graphs of a rewrite: names, shapes, MACs, and what goes in and out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.graphs.text import model
from tests.optimize.exact import COUNTING

import onebyone
from onebyone.optimize.outline import Edge, Operator
from onebyone.optimize.report import Region

RANDOM = np.random.default_rng(0)


def weight(*shape: int) -> np.ndarray:
    """Of normal numbers, which no rule takes for a stencil."""
    return RANDOM.standard_normal(shape).astype(np.float32)


def regions(body: str, constants: dict[str, Any], **options: Any) -> tuple[Region, ...]:
    made = model(body, "float[1,6,5,7] x", options.pop("outputs", "y"), constants)
    return onebyone.optimize(made, profile=COUNTING, **options).report.regions


@pytest.mark.parametrize("verify", [True, False])
def test_a_chain_and_what_it_became(verify: bool) -> None:
    constants = {"A": weight(16, 6, 1, 1), "B": weight(3, 16, 1, 1)}
    (region,) = regions("h = Conv(x, A) y = Conv(h, B)", constants, verify=verify)
    assert region.laws == ("compose",)
    first, second = region.before.operators
    assert first == Operator("h", "Conv", "pointwise", 16 * 6 * 35, (16, 6, 1, 1))
    assert second.macs == 3 * 16 * 35
    assert region.before.edges == (
        Edge("x", None, 0, (1, 6, 5, 7)),
        Edge("h", 0, 1, (1, 16, 5, 7)),
        Edge("y", 1, None, (1, 3, 5, 7)),
    )
    (one,) = region.after.operators
    assert (one.op, one.macs, one.weight) == ("Conv", 3 * 6 * 35, (3, 6, 1, 1))
    assert [(e.value, e.shape) for e in region.after.edges] == [
        ("x", (1, 6, 5, 7)),
        ("y", (1, 3, 5, 7)),
    ]
    assert region.saved_macs == region.before.macs - region.after.macs
    assert region.before.to_dict()["operators"][0]["name"] == "h"


def test_what_a_pass_changed_in_place_is_drawn_as_it_stood() -> None:
    dead = weight(16, 6, 1, 1)
    dead[4:] = 0
    constants = {"A": dead, "B": weight(3, 16, 3, 3)}
    found = regions("h = Conv(x, A) r = Relu(h) y = Conv(r, B)", constants, only=["prune"])
    (region,) = found
    old = {operator.name: operator.weight for operator in region.before.operators}
    new = {operator.name: operator.weight for operator in region.after.operators}
    assert old == {"h": (16, 6, 1, 1), "r": None, "y": (3, 16, 3, 3)}
    assert new == {"h": (4, 6, 1, 1), "r": None, "y": (3, 4, 3, 3)}
    assert region.saved_macs == region.before.macs - region.after.macs > 0


def test_what_others_read_stays_and_both_sides_begin_at_the_same_values() -> None:
    constants = {"s": np.float32([1, 1, 2, 2]), "A": weight(4, 12, 1, 1), "B": weight(5, 12, 1, 1)}
    body = """
        u = Resize<mode="linear">(x, , s)
        j = Concat<axis=1>(u, u)
        y = Conv(j, A)
        r = Relu(j)
        z = Conv(r, B)
    """
    found = regions(body, constants, outputs="y, z", without=["demand"])
    region = next(region for region in found if region.root == "y")
    stays = {operator.op for operator in region.before.operators if operator.stays}
    assert stays == {"Resize", "Concat"}
    begin = [
        {e.value for e in side.edges if e.source is None} for side in (region.before, region.after)
    ]
    assert begin == [{"x"}, {"x"}]
    assert region.before.macs == 4 * 12 * 140
