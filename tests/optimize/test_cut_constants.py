"""Constants that are cut when the model runs: the cut stays, or is taken, with equal answers."""

from __future__ import annotations

from math import inf

import pytest

from onebyone.cost.profile import DEFAULT, Profile
from onebyone.graph.write import to_proto
from onebyone.optimize import optimize

from ..graphs.cut import cut_model
from ..graphs.run import differences, run
from ..graphs.text import feed
from ..graphs.valid import refused
from .exact import ANY_WIDTH, COUNTING


@pytest.mark.parametrize("profile", [COUNTING, ANY_WIDTH, DEFAULT], ids=["macs", "any", "default"])
def test_before_equals_after(profile: Profile) -> None:
    laws = set()
    for seed in range(80):
        proto = cut_model(seed)
        result = optimize(proto, verify=False, profile=profile, lost_bits=inf)
        after = to_proto(result.model)
        assert refused(proto, after) == [], seed
        (before,), (now,) = run(proto, feed(proto)), run(after, feed(proto))
        assert differences(before, now) == [], seed
        laws |= {row.law for row in result.report.laws}
    assert laws >= {"prune"} or profile is DEFAULT
