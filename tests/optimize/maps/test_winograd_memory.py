"""The limit of memory of the law winograd: what is chosen within it, and what stays."""

from __future__ import annotations

from dataclasses import replace
from math import inf, nan
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

from onebyone.errors import UsageError
from onebyone.graph.count import count
from onebyone.graph.read import read
from onebyone.graph.write import to_proto
from onebyone.optimize.maps.tiled_kernels import Site, forms_of, site_of
from onebyone.optimize.maps.tiles import cuts_of
from onebyone.optimize.report import Report

from ...graphs.text import model
from .few_channels import FEW, optimize

SAME = "pads = [1, 1, 1, 1]"
ONE = f"y = Conv<{SAME}>(x, k)"
CHAIN = f"a = Conv<{SAME}>(x, k) r = Relu(a) b = Conv<{SAME}>(r, l) s = Relu(b) y = Add(r, s)"
SIBLINGS = f"a = Conv<{SAME}>(x, k) b = Conv<{SAME}>(x, l) s = Relu(b) y = Add(a, s)"


def drawn(body: str, channels: int, side: int, batch: str = "1") -> ModelProto:
    draw = np.random.default_rng(0).standard_normal
    shape = (channels, channels, 3, 3)
    kernels = {n: draw(shape).astype(np.float32) for n in "kl" if f", {n})" in body}
    return model(body, f"float[{batch},{channels},{side},{side}] x", "y", kernels)


def limited(proto: ModelProto, factor: float | None, **options: Any) -> Report:
    options = {"also": ["winograd"], "verify": False, **options}
    return optimize(proto, winograd_memory=factor, **options).report


def times(report: Report) -> float:
    """The peak of activations, as the verdict has it, beside the original's."""
    before, after = (s.count.peak_activation_bytes for s in (report.before, report.after))
    assert before
    assert after
    return after / before


def told(report: Report) -> list[str]:
    return [each.reason for each in report.refusals if each.law == "winograd"]


@pytest.mark.parametrize(
    ("body", "channels", "side", "free"),
    [(ONE, 64, 56, 1.5), (ONE, 64, 128, 1.1328125), (ONE, 256, 28, 1.5),
     (CHAIN, 64, 56, 4 / 3), (SIBLINGS, 64, 56, 4 / 3), (SIBLINGS, 64, 128, 7 / 6)],
)  # fmt: skip
@pytest.mark.parametrize(
    "factors", [(1.2, 1.05), pytest.param((1.15, 1.1, 1.0), marks=pytest.mark.slow)], ids=str
)
def test_the_verdict_never_has_more(
    body: str, channels: int, side: int, free: float, factors: tuple[float, ...]
) -> None:
    """And each layer is on tiles, or says what it would take: more than that."""
    proto = drawn(body, channels, side)
    assert times(limited(proto, None)) == free
    for factor in factors:
        report = limited(proto, factor)
        assert times(report) <= factor
        layers = body.count("Conv")
        assert len(report.laws) + len(told(report)) == layers
        for reason in told(report):
            least = int(reason.split("would take ")[1].split(" bytes")[0].replace(",", ""))
            original = report.before.count.peak_activation_bytes
            assert original
            assert least > factor * original
            assert reason.endswith(f"more than {factor:g} times the {original:,} of the original")


@pytest.mark.parametrize("factor", [1.5, 2, inf])
def test_a_limit_that_is_kept_anyway_changes_nothing(factor: float) -> None:
    """At 56 × 56 a layer takes 1.5 times as much, to the byte; that many are allowed."""
    proto = drawn(ONE, 64, 56)
    free, found = (
        to_proto(optimize(proto, only=["winograd"], winograd_memory=f).model)
        for f in (None, factor)
    )
    assert free == found
    assert sum(node.op_type == "Gather" for node in found.graph.node) == 1


@pytest.mark.parametrize(
    ("factor", "strips", "taken"), [(1.4999, 2, 1.268), (1.2, 4, 1.089), (1.09, 4, 1.089)]
)
def test_finer_strips(factor: float, strips: int, taken: float) -> None:
    result = optimize(drawn(ONE, 64, 56), also=["winograd"], winograd_memory=factor)
    assert times(result.report) == pytest.approx(taken, abs=5e-4)
    assert sum(node.op_type == "Gather" for node in to_proto(result.model).graph.node) == strips
    assert result.report.certificate is not None
    assert result.report.certificate.passed


def test_strips_are_halved_as_long_as_each_reads_u_for_enough_columns() -> None:
    """64 columns on rows, 16 on tiles; sixteen strips are the most."""

    def counts(side: int, form: str) -> list[int]:
        site = site_of(read(drawn(ONE, 64, side)).graph[0])
        assert isinstance(site, Site)
        (found,) = (each for each in forms_of(site) if str(each) == form)
        return [len(strips) for strips in cuts_of(site, found, 1)]

    assert counts(56, "tiles of 4 rows") == [1, 2, 4, 7]  # 14 rows of 56: two and no fewer
    assert counts(28, "tiles of 4 rows") == [1, 2]  # 7 rows of 28: three of them
    assert counts(128, "tiles of 4 rows") == [4, 8, 16]
    assert counts(256, "tiles of 4 rows") == [16]
    assert counts(56, "tiles of 4×4") == [1, 2, 4, 7]  # 14 rows of 14


def test_another_form_where_strips_do_not_help() -> None:
    """Of two rows a tile sees twice what it makes, of four one and a half: but strips are finer."""
    proto = drawn(SIBLINGS, 256, 28)
    assert [law.note for law in limited(proto, 1.2).laws] == ["tiles of 4 rows"] * 2
    report = limited(proto, 1.15)
    assert [law.note for law in report.laws] == ["tiles of 4 rows", "tiles of 2 rows"]
    assert 1.1 < times(report) <= 1.15


def test_the_least_is_told_and_nothing_else_of_the_layer() -> None:
    """Two strips of at least 64 columns: 1.179 times 2 · 256 · 28² · 4 bytes."""
    report = limited(drawn(ONE, 256, 28), 1.15)
    assert report.unchanged
    assert told(report) == [
        "on tiles the activations of the network would take 1,892,352 bytes at once, more than "
        "1.15 times the 1,605,632 of the original"
    ]


def test_what_stands_beside_a_layer_counts() -> None:
    """Of two equal layers the second one has r beside it, which is added behind."""
    report = limited(drawn(CHAIN, 64, 56), 1)
    assert [law.root for law in report.laws] == ["a"]
    assert [each.node for each in report.refusals if each.law == "winograd"] == ["b"]


def test_a_free_batch_is_as_large_as_for_the_verdict() -> None:
    proto = drawn(ONE, 64, 56, "N")
    for n, strips in ((1, 2), (4, 2)):
        report = limited(proto, 1.4, shapes={"x": (n, 64, 56, 56)})
        assert report.before.count.peak_activation_bytes == n * 1605632
        assert times(report) <= 1.4
        (law,) = report.laws
        assert sum("Gather" in name for name in law.made) == strips


def test_tiles_of_both_axes_keep_within_it_too() -> None:
    machine = replace(FEW, bandwidth=1e15, overhead=1e-9)
    proto = drawn(ONE, 256, 48)
    notes = {}
    for factor in (None, 1.3, 1.2):
        report = limited(proto, factor, lost_bits=6, profile=machine)
        notes[factor] = [law.note for law in report.laws], times(report)
        assert times(report) <= (factor or inf)
    assert notes[None][0] == notes[1.3][0] == ["tiles of 4×4"]
    assert notes[None][1] > 1.3


def test_where_the_peak_is_unknown_nothing_is_promised() -> None:
    """How many entries are not zero nobody knows before the network runs."""
    proto = model(
        f"{ONE} z = NonZero(y)", "float[1,64,28,28] x", "float[1,64,28,28] y, int64[4,n] z",
        {"k": np.random.default_rng(0).standard_normal((64, 64, 3, 3)).astype(np.float32)},
    )  # fmt: skip
    assert count(proto).peak_activation_bytes is None
    assert len(limited(proto, None).laws) == 1
    report = limited(proto, 100)
    assert report.unchanged
    assert told(report) == [
        "how many bytes the activations of the network take at once is not known, and they were "
        "limited"
    ]


@pytest.mark.parametrize("wrong", [0, -1, -inf, nan])
def test_what_is_no_factor_is_refused(wrong: float) -> None:
    with pytest.raises(UsageError, match=r"got winograd_memory = .*, wanted a factor above 0"):
        limited(drawn(ONE, 64, 28), wrong)


@pytest.mark.parametrize(
    "laws", [{"also": []}, {"without": ["winograd"]}, {"only": ["rank"], "also": []}]
)
def test_without_the_law_there_is_nothing_to_limit(laws: dict[str, list[str]]) -> None:
    with pytest.raises(UsageError, match="got winograd_memory = 2 and not the law that it is for"):
        limited(drawn(ONE, 64, 28), 2, **laws)
