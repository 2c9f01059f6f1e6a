"""Text for terminals that can show less, and names that are too long."""

from __future__ import annotations

import pytest

from onebyone.algebra.laws import LAWS
from onebyone.show.terminal.text import READABLE, shortened, stand_ins
from onebyone.text import escaped, shape_option


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp437", "latin-1"])
def test_every_law_can_be_read_in_every_encoding(encoding: str) -> None:
    for law in LAWS.values():
        for text in (law.equation, law.conditions):
            shown = stand_ins(text, encoding)
            assert shown.encode(encoding).decode(encoding) == shown
            assert "\\" not in shown, f"{text}: an escape is no stand-in"
            assert text.encode(encoding, READABLE).decode(encoding) == shown


def test_what_an_encoding_has_stays() -> None:
    assert stand_ins("3×3 · 5", "cp1252") == "3×3 · 5"
    assert stand_ins("3×3 → 5", "utf-8") == "3×3 → 5"


def test_a_character_without_a_stand_in_is_its_escape() -> None:
    assert stand_ins("名", "ascii") == r"\u540d"


@pytest.mark.parametrize("most", range(12))
def test_a_long_name_keeps_its_ends_and_its_length(most: int) -> None:
    name = "block.layer"
    shown = shortened(name, most)
    assert len(shown) == max(1, min(most, len(name)))
    if 3 <= most < len(name):
        assert (shown[0], shown[-1], shown.count("…")) == (name[0], name[-1], 1)


def test_escapes_keep_what_they_are_told_to() -> None:
    assert escaped("a\nb\t", keep="\n") == "a\nb\\t"


def test_a_shape_can_be_pasted_into_a_shell() -> None:
    assert shape_option("$x; y", (1, 2)) == "--shape '$x; y=1,2'"
