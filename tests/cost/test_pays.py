"""What pays never raises the time that the report tells: one price decides and is added up."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import inf

import numpy as np
import pytest
from onnx import ModelProto
from tests.quick import slow_but_pairs

from onebyone.algebra.laws import LAWS
from onebyone.cost.profile import DEFAULT, Profile
from onebyone.optimize import optimize

from ..graphs.drawn import sample
from ..graphs.text import model
from ..optimize.exact import COUNTING
from ..optimize.test_order import wide_model

# What showed that moves of channels were priced in two ways: of these the report's time rose.
FOUND = (137, 194, 247, 535)


def _rises(proto: ModelProto, profile: Profile, laws: list[str] | None) -> bool:
    report = optimize(proto, only=laws, profile=profile, verify=False, lost_bits=inf).report
    return report.after.seconds > report.before.seconds


@cache
def _drawn() -> list[ModelProto]:
    return [drawn.model for drawn in sample(max(FOUND) + 1, 11)]


@pytest.mark.parametrize("profile", [DEFAULT, COUNTING, Profile(split=3.0)])
def test_random_graphs(profile: Profile) -> None:
    models = [_drawn()[k] for k in (*range(30), *FOUND)] + [
        wide_model(seed).model for seed in range(10)
    ]
    assert [k for k, proto in enumerate(models) if _rises(proto, profile, None)] == []


@pytest.mark.parametrize("law", ["demand", "permute", "prune", "rank"])
def test_one_law_alone(law: str) -> None:
    models = [_drawn()[k] for k in FOUND] + [wide_model(seed).model for seed in range(8)]
    assert [k for k, proto in enumerate(models) if _rises(proto, DEFAULT, [law])] == []


def _head(size: int, mode: str) -> ModelProto:
    """The end of an HRNet: four maps exchanged at the finest resolution, and a head over them."""
    widths = (18, 36, 72, 144)
    inputs = [f"float[1,{c},{size >> k},{size >> k}] x{k}" for k, c in enumerate(widths)]
    constants: dict[str, np.ndarray | Sequence[int]] = {}
    body = "r0 = Relu(x0) "
    for k, channels in enumerate(widths[1:], start=1):
        constants[f"s{k}"] = np.array([1, 1, 2**k, 2**k], np.float32)
        constants[f"w{k}"] = (18, channels, 1, 1)
        body += (
            f"c{k} = Conv(x{k}, w{k}) u{k} = Resize<mode = '{mode}'>(c{k}, , s{k}) "
            f"a{k} = Add(r{k - 1}, u{k}) r{k} = Relu(a{k}) "
            f"v{k} = Resize<mode = '{mode}'>(x{k}, , s{k}) "
        )
    constants |= {"head": (270, 270, 1, 1), "last": (19, 270, 1, 1), "bias": (270,)}
    body += "c = Concat<axis = 1>(r3, v1, v2, v3) h = Conv(c, head, bias) e = Relu(h)"
    return model(f"{body} y = Conv(e, last)".replace("'", '"'), ", ".join(inputs), "y", constants)


@pytest.mark.parametrize(
    ("law", "size", "mode"), slow_but_pairs([None, *LAWS], [8, 64], ["nearest", "linear"])
)
def test_a_head_over_four_resolutions(law: str | None, size: int, mode: str) -> None:
    assert not _rises(_head(size, mode), DEFAULT, None if law is None else [law])
