"""Dimensions in one form: equal for every size, and equal expressions in equal words."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from onebyone.graph.dimensions import evaluated, parsed
from onebyone.graph.symbolic import simplified


@pytest.mark.parametrize(
    ("text", "simple"),
    [
        ("floor((h + 1)*(4*w + 4)/4)", "(h + 1)*(w + 1)"),
        ("floor(h/2)*2", "2*floor(h/2)"),
        ("floor(2*h/2 + 1)", "h + 1"),
        ("floor(floor(4*h/2)/2)", "h"),
        ("2*h + 2", "2*(h + 1)"),
        ("floor(h/2 - 1/2) + 1", "floor((h + 1)/2)"),
        ("4*floor(h/2 - 1/2) + 4", "4*floor((h + 1)/2)"),
        ("2*floor(floor(h/2 - 1/2)/2) + 2", "2*floor((h + 3)/4)"),
        ("2*floor(h/2) + 3", "2*floor(h/2) + 3"),
        ("h*w - w*h + 3", 3),
        ("floor(7/2)", 3),
        ("floor(h/2 - 1/2)", "floor((h - 1)/2)"),
    ],
)
def test_one_form(text: str, simple: str | int) -> None:
    found = simplified(ir.SymbolicDim(text))
    assert found == (simple if isinstance(simple, int) else ir.SymbolicDim(simple))
    for sizes in ({"h": 1, "w": 1}, {"h": 2, "w": 5}, {"h": 7, "w": 4}):
        assert evaluated(text, sizes) == evaluated(str(simple), sizes) is not None


def test_what_is_simple_stays_the_object_that_it_is() -> None:
    symbol, unknown = ir.SymbolicDim("h"), ir.SymbolicDim(None)
    assert simplified(symbol) is symbol
    assert simplified(unknown) is unknown
    assert simplified(5) == 5


def test_text_that_is_no_expression_is_kept() -> None:
    assert parsed("no expression!") is None
    assert simplified(ir.SymbolicDim("no expression!")).value == "no expression!"
