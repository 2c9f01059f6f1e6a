"""Dimension expressions are evaluated exactly, and hostile ones not at all."""

from __future__ import annotations

import pytest

from onebyone.graph.dimensions import evaluated, names, plain

VALUES = {"h": 225, "w": 7, "decoder.45_dim_1": 3}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("h", 225),
        ("12", 12),
        ("2*h - w", 443),
        ("h//4", 56),
        ("-h//4", -57),
        ("h % 4", 1),
        ("h/5", 45),
        ("floor(h/4 - 1/4) + 1", 57),
        ("ceiling(h/2)", 113),
        ("Max(h, w)*Min(h, w, 3)", 675),
        ("Mod(h, w)", 1),
        ("w**2", 49),
        ("sqrt(h)", 15),
        ("h**(1/2)", 15),
        ("decoder.45_dim_1 + 1", 4),
        ("(((h - 1)//4)) + 1", 57),
    ],
)
def test_values(text, value):
    assert evaluated(text, VALUES) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "h/2",
        "sqrt(w)",
        "unknown",
        "h/0",
        "w**-1",
        "9**9**9**9",
        "2**63",
        "9" * 5000,
        "(" * 900,
        "h if h else w",
        "__import__('os')",
        "h.real()",
        "floor(h, w)",
        "7?",
        "h,w",
    ],
)
def test_what_has_no_value(text):
    assert evaluated(text, VALUES) is None


def test_names_do_not_include_functions():
    assert names("floor(floor/2) + Max(a.b, _d1)") == {"floor", "a.b", "_d1"}


@pytest.mark.parametrize("text", ["batch", "2*n", "s0//16 + 1", "floor(h/2 - 1/2) + 1", "max"])
def test_plain(text):
    assert plain(text)


@pytest.mark.parametrize("text", ["", "7", "two words", "n**2", "n+" * 300 + "n", "?", "1" * 12])
def test_not_plain(text):
    assert not plain(text)
