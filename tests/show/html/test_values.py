"""What is drawn has the numbers of what it is drawn of."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from onebyone.algebra.laws import LAWS
from onebyone.cost.profile import DEFAULT
from onebyone.counting.formulas import KINDS
from onebyone.optimize.report import AppliedLaw, RefusedLaw
from onebyone.show.html import layers, ledger, proof, roofline, times, verdict
from onebyone.show.html.changes import changes
from onebyone.show.html.layered import HIGH, WIDE, drawing
from onebyone.show.html.regions import regions
from onebyone.show.html.scale import Log, log_over
from onebyone.show.html.strip import strip
from tests.show.html.results import bench, certificate, count, many, report


def test_the_network_has_layers_of_each_kind() -> None:
    kinds = {layer.op: layer.kind for layer in count().layers if layer.op == "MatMul"}
    assert kinds == {"MatMul": "attention"}
    assert {layer.kind for layer in count().layers} >= set(KINDS[:4])


def test_bars_are_as_many_and_as_wide_as_the_layers() -> None:
    drawn = strip(None, count())
    (row,) = drawn.rows
    assert sum(part.path.count("M") for part in row.parts) == len(count().layers) == row.layers
    assert row.unit * row.layers == pytest.approx(1000)
    shares = {part.kind: part.width for part in row.parts}
    for kind, width in shares.items():
        macs = sum(layer.macs for layer in count().layers if layer.kind == kind)
        assert width == pytest.approx(100 * macs / count().macs, abs=1e-3)
    assert sum(shares.values()) == pytest.approx(100, abs=0.01)


def test_the_highest_bar_is_the_layer_with_most_macs() -> None:
    paths = "".join(part.path for part in strip(None, count()).rows[0].parts)
    highs = {float(x): -float(v) for x, v in re.findall(r"M([\d.]+) \d+v(-[\d.]+)", paths)}
    macs = [layer.macs for layer in count().layers]
    by_place = [highs[x] for x in sorted(highs)]
    assert max(by_place) == 120
    assert by_place.index(120) == macs.index(max(macs))
    half = next(k for k, m in enumerate(macs) if m)
    assert by_place[half] == pytest.approx(120 * (macs[half] / max(macs)) ** 0.5, abs=0.06)


def test_changes_lead_from_layers_that_went_to_those_that_came() -> None:
    found = changes(report())
    old, new = report().before.count.layers, report().after.count.layers
    assert found
    gone = {k for k, layer in enumerate(old) if layer not in new}
    assert {k for change in found for k in change.before} >= gone
    assert sum(change.saved for change in found) == report().before.macs - report().after.macs
    assert all(k < len(new) for change in found for k in change.after)


def test_a_rewrite_names_both_graphs_and_their_macs_differ_by_what_it_saved() -> None:
    assert report().regions
    for region in report().regions:
        assert region.before.operators
        assert region.before.macs - region.after.macs == region.saved_macs
    assert sum(r.saved_macs for r in report().regions) == sum(
        law.saved_macs for law in report().laws
    )


def test_both_graphs_begin_and_end_at_the_same_values() -> None:
    for region in report().regions:
        ends = [
            ({e.value for e in side.edges if e.source is None},
             {e.value for e in side.edges if e.target is None and e.value == region.root})
            for side in (region.before, region.after)
        ]  # fmt: skip
        assert ends[0] == ends[1]


def test_a_drawing_has_every_box_once_and_none_upon_another() -> None:
    for region in report().regions:
        drawn = drawing(region.before)
        assert len(drawn.boxes) == len(region.before.operators)
        for a in drawn.boxes:
            assert 0 <= a.x <= drawn.width - WIDE
            assert 0 <= a.y <= drawn.height - HIGH
            for b in drawn.boxes:
                assert a is b or abs(a.x - b.x) >= WIDE or abs(a.y - b.y) >= HIGH


def test_edges_go_down_from_what_makes_a_value_to_what_reads_it() -> None:
    outline = report().regions[0].before
    drawn = drawing(outline)
    inner = [edge for edge in outline.edges if edge.source is not None and edge.target is not None]
    for edge in inner:
        assert drawn.boxes[edge.source].y < drawn.boxes[edge.target].y
    assert len(drawn.paths) == len(outline.edges)
    told = [path.text for path in drawn.paths if path.text]
    assert len(told) == len({edge.value for edge in outline.edges})


def test_regions_that_look_the_same_are_drawn_once() -> None:
    found = report().regions
    twice = regions([*found, *found])
    once = regions(found)
    assert len(twice.open) == len(once.open)
    assert "2 regions like this" in twice.open[0].title
    assert twice.open[0].laws[0] is LAWS[found[0].laws[0]]


def test_a_point_of_the_roofline_is_the_models_rate() -> None:
    for layer, spot in zip(count().layers, roofline.reached(count().layers, DEFAULT), strict=True):
        if not layer.macs:
            assert spot is None
            continue
        moved = layer.activation_bytes + layer.weight_bytes
        seconds = DEFAULT.overhead + max(layer.macs / DEFAULT.peak, moved / DEFAULT.bandwidth)
        assert spot.seconds == pytest.approx(seconds, rel=1e-6)
        assert spot.rate == pytest.approx(layer.macs / seconds, rel=1e-6)
        assert spot.intensity == layer.macs / moved
        assert spot.rate <= DEFAULT.peak


@pytest.mark.parametrize("width", [912.0, 328.0])
def test_points_lie_in_the_drawing_and_below_the_ceilings(width: float) -> None:
    spots = roofline.reached(count().layers, DEFAULT)
    drawn = roofline.roofline(spots, spots, changes(report()), DEFAULT, width)
    assert drawn is not None
    points = re.findall(r"M([\d.]+) ([\d.]+)h0", drawn.pointwise + drawn.others)
    assert points
    for x, y in points:
        assert 0 <= float(x) <= width
        assert drawn.flat.y1 - 0.1 <= float(y) <= drawn.height
    for label in drawn.labels:
        assert 0 <= label.x <= width


def test_a_logarithmic_axis() -> None:
    axis = log_over([1e-9, 1e-3, 0.0, float("inf")], 0.0, 100.0)
    assert axis.low < 1e-9 < 1e-3 < axis.high
    assert axis.at(1e-6) == pytest.approx(50, abs=1)
    assert [t.value for t in Log(1, 30, 0, 9).ticks()] == [1, 2, 5, 10, 20]
    assert [t.value for t in Log(1, 1e9, 0, 9).ticks(4)] == [1, 1e3, 1e6, 1e9]


def test_the_ledger_sums_what_laws_saved_and_what_refusals_hold_back() -> None:
    dearest = max(report().after.count.layers, key=lambda layer: layer.macs)
    rows = (
        AppliedLaw("compose", "a", ("n", "m"), 1200),
        AppliedLaw("compose", "b", ("m", "o"), 34),
    )
    refused = (RefusedLaw("sum", dearest.name, "why"), RefusedLaw("sum", dearest.name, "why"))
    found = ledger.ledger(replace(report(), laws=rows, refusals=refused))
    (applied,), (no,) = found.applied, found.refused
    assert (applied.regions, applied.saved, applied.nodes) == (2, "1.23 k", ("n", "m", "o"))
    assert applied.law.conditions == LAWS["compose"].conditions
    assert (no.times, no.held) == (2, verdict.short(dearest.macs))
    assert len(found.gaps) == len(report().after.count.uncounted)


def test_the_histogram_holds_every_element() -> None:
    drawn = proof.histogram(certificate(), 900.0)
    assert drawn is not None
    trials = (*certificate().trials, *certificate().trouble)
    checks = [check for trial in trials for check in trial.outputs]
    sizes = [check.shape for check in checks if check.shares]
    for check in checks:
        assert not check.shares or sum(check.shares) == _size(check.shape)
    assert int(drawn.elements.replace(",", "")) == sum(map(_size, sizes))
    assert not drawn.bars[-1].share


def _size(shape: tuple[int, ...]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product


def test_errors_stand_left_of_their_bounds() -> None:
    drawn = proof.chart(certificate(), 900.0)
    assert drawn is not None
    assert {line.name.split(",")[0] for line in drawn.lines} == {"y", "w"}
    for line in drawn.lines:
        assert line.start <= line.end
        assert not line.failed
    assert len(proof.proof(certificate()).asked) == len(certificate().trials) + len(
        certificate().trouble
    )


def test_each_round_is_a_point_and_the_median_stands_among_them() -> None:
    (engine,) = times.engines(bench(), 900.0)
    assert [lane.name for lane in engine.lanes] == [
        "first.onnx",
        "first.onnx, a second copy",
        "second.onnx",
    ]
    for lane in engine.lanes:
        assert lane.dots.count("M") == 40
        assert lane.low <= lane.median <= lane.high
    assert engine.lanes[2].median < engine.lanes[0].median
    assert engine.ratios is not None
    control, second = engine.ratios.rows
    assert second.low <= second.median <= second.high
    assert engine.ratios.band[0] <= engine.ratios.one <= engine.ratios.band[1] < second.low
    assert control.words.endswith("the control")
    assert engine.missing == ("third.tflite: ONNX Runtime runs ONNX files",)


def test_the_table_has_all_layers_and_the_dearest_in_words() -> None:
    found = layers.table(None, many(50))
    (side,) = found.sides
    assert [row[4] for row in side.data] == [layer.macs for layer in many(50).layers]
    assert len(side.rows) == 20
    most = max(layer.macs for layer in many(50).layers)
    assert side.rows[0].cells[4] == f"{most:,}"


def test_the_verdict_says_what_the_numbers_are() -> None:
    told = verdict.of_report(report())
    assert told.stamp == "PASS"
    assert told.headline == f"{report().saved:.1%} fewer MACs, proved equal"
    facts = {fact.name: fact for fact in told.facts}
    assert facts["MACs"].value == verdict.short(report().after.macs)
    assert facts["MACs"].before == verdict.short(report().before.macs)
    failed = replace(
        certificate(),
        trials=tuple(
            replace(
                trial, outputs=tuple(replace(check, reason="differs") for check in trial.outputs)
            )
            for trial in certificate().trials
        ),
    )
    told = verdict.of_report(replace(report(), certificate=failed))
    assert told.stamp == "FAIL"
    assert told.then.startswith("Do not take B for A")
    assert "not proved equal" in told.headline
    assert verdict.of_bench(bench()).headline.startswith("second.onnx is 2.")
