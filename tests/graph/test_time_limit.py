"""How long a run may take: where there is a Loop, and where somebody says."""

from __future__ import annotations

import pytest

from onebyone.errors import UsageError
from onebyone.graph.read import read
from onebyone.graph.time_limit import VARIABLE, WITH_LOOP, WITHOUT, TakesTooLong, time_limit

from ..graphs.text import model

LOOP = (
    "w = Loop(m, , x) <body = b (int64 i, bool go, float[3] v) => (bool on, float[3] u) "
    "{ on = Identity(go) u = Neg(v) }>"
)


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        (f"{LOOP} y = Relu(w)", WITH_LOOP),
        (
            f"y = If(c) <then_branch = t () => (float[3] w) {{ {LOOP} }}, "
            "else_branch = e () => (float[3] z) { z = Neg(x) }>",
            WITH_LOOP,
        ),
        ("y = Relu(x)", WITHOUT),
    ],
)
def test_a_loop_is_seen_in_a_branch_too(body: str, seconds: float) -> None:
    assert time_limit(read(model(body, "float[3] x, int64 m, bool c", "float[3] y"))) == seconds


def test_somebody_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "1.5")
    assert time_limit() == 1.5
    assert time_limit(read(model("y = Relu(x)", "float[3] x"))) == 1.5


def test_nobody_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "")
    assert time_limit() == WITHOUT


@pytest.mark.parametrize("said", ["soon", "0", "-1", "inf", "nan"])
def test_what_is_no_time(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, said)
    with pytest.raises(UsageError, match=f"got {VARIABLE}='{said}', wanted a number of seconds"):
        time_limit()


def test_the_message_says_how_to_go_on() -> None:
    assert str(TakesTooLong("a run", 0.25)).endswith(f"set {VARIABLE}=2.5")
