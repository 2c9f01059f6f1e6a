"""Each result: one line as repr, a page as str, safe HTML in a notebook."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from rich.text import Text

import onebyone
from onebyone.counting.explain import explain
from onebyone.shown import Shown
from tests.graphs.text import model

MODEL = model(
    "h = MatMul(x, a) y = MatMul(h, b)",
    "float[n,6] x",
    constants={"a": np.ones((6, 16), np.float32), "b": np.ones((16, 3), np.float32)},
)


def results() -> list[Shown]:
    optimized = onebyone.optimize(MODEL)
    assert optimized.report.certificate is not None
    return [
        optimized,
        optimized.report,
        optimized.report.certificate,
        onebyone.count(MODEL),
        onebyone.rank(np.eye(3)),
        explain(3, 4),
    ]


@pytest.mark.parametrize("result", results(), ids=lambda result: type(result).__name__)
def test_a_result_is_a_line_and_a_page(result: Shown) -> None:
    line = repr(result)
    assert line.startswith(f"<{type(result).__name__}: ")
    assert "\n" not in line
    assert len(line) < 200
    assert str(result).count("\n") > 3
    assert "\x1b" not in str(result)
    assert result._repr_html_().startswith(("<pre", "<iframe"))


@dataclass(frozen=True, repr=False)
class _Hostile(Shown):
    summary = "a\nb\x1b[2J"

    def __rich__(self) -> Text:
        return Text("<script>alert('x')</script> & \x1b[2J")


def test_names_steer_neither_a_page_nor_a_terminal() -> None:
    hostile = _Hostile()
    assert repr(hostile) == r"<_Hostile: a\nb\x1b[2J>"
    assert str(hostile) == r"<script>alert('x')</script> & \x1b[2J"
    assert "<script>" not in hostile._repr_html_()
    assert "&lt;script&gt;" in hostile._repr_html_()
    assert "\x1b" not in hostile._repr_html_()
