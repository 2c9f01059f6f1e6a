"""The report as JSON and as text."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from rich.console import Console

from onebyone.algebra.laws import LAWS, QUANTISED
from onebyone.counting.value import Count
from onebyone.optimize.report import AppliedLaw, RefusedLaw, Report, Side
from onebyone.show.terminal.page import Clean


def side(macs: int, seconds: float = 0.5) -> Side:
    count = Count(
        parameters=macs // 10,
        buffers=0,
        macs=macs,
        pointwise_macs=macs // 2,
        bias_adds=0,
        activation_bytes=4096,
        weight_bytes=40,
        nodes=3,
        inputs=(("x", (1, 3)),),
        layers=(),
        uncounted=(),
    )
    return Side(count, seconds)


LAW_ROWS = (
    AppliedLaw("compose", "y", ("a", "b"), 600),
    AppliedLaw("commute", "y", ("a", "b"), 100),
    AppliedLaw("compose", "z [bold]", ("c",), 50, "rank 1 [of 2]"),
)
REFUSALS = (
    RefusedLaw("compose", "first", "Relu is nonlinear"),
    RefusedLaw("compose", "second", "Relu is nonlinear"),
    RefusedLaw("split", "[red]third", "it does not pay"),
)
REPORT = Report(side(1000), side(250, 0.125), LAW_ROWS, REFUSALS)


def test_the_saving_is_the_share_of_the_macs() -> None:
    assert REPORT.saved == 0.75
    assert Report(side(0), side(0), (), ()).saved == 0.0


def test_json_holds_everything() -> None:
    told = json.loads(json.dumps(REPORT.to_dict()))
    assert told["inputs"] == [{"name": "x", "shape": [1, 3]}]
    assert set(told) == {
        "schema",
        "inputs",
        "assumed",
        "before",
        "after",
        "laws",
        "refusals",
        "profile",
        "simplified",
        "certificate",
    }
    assert (told["schema"], told["certificate"]) == (2, None)
    assert (told["before"]["macs"], told["after"]["modelled_seconds"]) == (1000, 0.125)
    assert told["laws"][0] == {
        "law": "compose",
        "equation": LAWS["compose"].equation,
        "root": "y",
        "nodes": ["a", "b"],
        "saved_macs": 600,
        "note": "",
        "lost_bits": 0.0,
        "made": [],
        "proved": None,
        "unproved": "",
    }
    assert told["laws"][-1]["note"] == "rank 1 [of 2]"
    assert told["refusals"][2] == {
        "law": "split",
        "node": "[red]third",
        "reason": "it does not pay",
    }


def rows(text: str, heading: str) -> list[list[str]]:
    """The cells of the rows of the table under `heading`."""
    table = text.split(heading)[1].split("└")[0]
    lines = [line for line in table.splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]


def test_totals_are_shown_before_and_after() -> None:
    shown = rows(str(REPORT), "before and after")
    assert shown[0] == ["MACs", "1,000", "250", "75.0%"]
    assert shown[-1] == ["modelled time (s)", "0.5", "0.125", "75.0%"]
    assert "1 MAC = 2 FLOPs" in str(REPORT)


def test_a_loss_too_small_to_show_has_no_sign() -> None:
    after = side(250, 0.5001)
    shown = rows(str(replace(REPORT, after=after)), "before and after")
    assert shown[-1][-1] == "0.0%"


def test_laws_are_added_up_and_regions_ranked() -> None:
    text = str(REPORT)
    laws = {row[0]: row[-2:] for row in rows(text, "laws applied")}
    assert laws == {"compose": ["2", "650"], "commute": ["1", "100"]}
    where = rows(text, "where")
    assert where == [
        ["y", "compose · commute", "2", "700", ""],
        ["z [bold]", "compose", "1", "50", "rank 1 [of 2]"],
    ]


def test_refusals_are_counted_and_named_where_they_come_first() -> None:
    assert rows(str(REPORT), "refused") == [
        ["compose", "Relu is nonlinear", "2", "first"],
        ["split", "it does not pay", "1", "[red]third"],
    ]


def test_what_is_left_out_of_a_table_is_said() -> None:
    many = tuple(AppliedLaw("compose", f"y{k}", ("a",), k) for k in range(14))
    text = str(Report(side(1000), side(250), many, ()))
    assert "4 more: --json lists them all" in text
    assert [row[0] for row in rows(text, "where")][:2] == ["y13", "y12"]


def test_no_law_is_said_too() -> None:
    assert "No law applies where it would pay.\n" in str(Report(side(9), side(9), (), ())) + "\n"


def test_nodes_that_go_without_a_law_are_said() -> None:
    """A user who reads that no law applies must not wonder where a third of the nodes went."""
    fewer = replace(side(9), count=replace(side(9).count, nodes=1))
    text = str(Report(side(9), fewer, (), ()))
    assert "would pay. 2 nodes are gone that compute constants or change nothing." in text


def test_the_sizes_that_were_counted_are_said() -> None:
    assert "at x 1×3\n" in str(REPORT)


@pytest.mark.parametrize("name", list(LAWS))
def test_every_law_has_its_equation_in_the_row(name: str) -> None:
    assert AppliedLaw(name, "y", (), 0).to_dict()["equation"] == LAWS[name].equation


# --- the verdict ----------------------------------------------------------------------------


def test_the_verdict_stands_first_in_three_lines() -> None:
    lines = str(REPORT).splitlines()
    assert lines[0] == "gained  75.0% of the MACs, 1 k → 250; modelled time 500 ms → 125 ms"
    proof = "proof   none, not verified: --no-verify (from Python verify=False)"
    assert lines[1:3] == ["cost    nothing", proof]


def test_what_became_more_and_lost_bits_are_the_cost() -> None:
    more = replace(side(250, 0.125), count=replace(side(250).count, nodes=5, weight_bytes=4000))
    losing = (replace(LAW_ROWS[0], lost_bits=2.25),)
    lines = str(Report(side(1000), more, losing, ())).splitlines()
    assert lines[1] == (
        "cost    nodes 3 → 5; weights 40 B → 4 kB; up to 2.2 bits where the original cancels"
    )


def test_a_gain_that_is_too_small_to_show_is_not_called_nothing() -> None:
    report = Report(side(100_000), side(99_999), LAW_ROWS[:1], ())
    assert str(report).startswith("gained  nothing that three digits show\n")
    fewer = replace(side(99_999), count=replace(side(99_999).count, nodes=2))
    assert str(Report(side(100_000), fewer, (), ())).startswith("gained  nodes 3 → 2\n")


def test_nothing_to_gain_is_said_and_the_tables_have_nothing_to_say() -> None:
    report = Report(side(9), side(9), (), REFUSALS)
    assert report.unchanged
    assert str(report).startswith("gained  nothing to gain\ncost    nothing\n")
    assert "before and after" not in str(report)
    assert not REPORT.unchanged


def test_a_column_that_says_nothing_is_left_out() -> None:
    text = str(Report(side(1000), side(1000, 0.1), (AppliedLaw("linear", "y", ("a",), 0),), ()))
    assert "note" not in text
    assert rows(text, "laws applied") == [["linear", LAWS["linear"].equation, "1"]]


def test_quantised_parts_are_known() -> None:
    told = (RefusedLaw("compose", "q", f"QLinearConv: {QUANTISED}"),)
    assert Report(side(9), side(9), (), told).quantised
    assert not REPORT.quantised


@pytest.mark.parametrize("width", [40, 80])
def test_no_line_is_wider_than_the_terminal_and_no_name_is_broken(width: int) -> None:
    name = "encoder.stages.3.blocks.2.attention.output.projection.MatMul"
    law = AppliedLaw("compose", name, (name,), 600, "rank 1 of 2, where this many words are told")
    report = Report(side(1000), side(250), (law,), (RefusedLaw("split", name, "it does not pay"),))
    console = Console(width=width, no_color=True)
    with console.capture() as shown:
        console.print(Clean(report))
    lines = shown.get().splitlines()
    assert max(map(len, lines)) <= width
    parts = [line for line in lines if "encoder.s" in line or "enc" in line]
    assert parts
    assert all("MatMul" in line or "…" in line for line in parts)
