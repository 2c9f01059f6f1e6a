"""Rewriting in rounds: what is counted, what is refused, when it ends."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from math import inf

import numpy as np
import onnx_ir as ir
import pytest
from onnx import ModelProto

from onebyone.algebra.laws import LAWS
from onebyone.graph.read import read
from onebyone.graph.shapes import Sizes, infer
from onebyone.graph.write import to_proto
from onebyone.optimize.rewrite import MAX_ROUNDS, rewrite
from onebyone.optimize.rewritten import Rewrite, Task

from ..graphs.run import run
from ..graphs.text import feed, integers, model
from .exact import COUNTING

module = import_module(rewrite.__module__)
X = "float[2,3,5,4] x"
P = 2 * 5 * 4


def rewritten(
    proto: ModelProto, *laws: str, told: list[tuple[str, int, int]] | None = None
) -> tuple[ir.Model, list[Rewrite], list]:
    found = read(proto)
    infer(found)
    progress = None if told is None else lambda *args: told.append(args)
    done, refused = rewrite(found, Sizes(found), laws or tuple(LAWS), COUNTING, progress, inf)
    return found, done, refused


def operators(found: ir.Model) -> list[str]:
    return [node.op_type for node in found.graph]


def test_savings_add_up_over_the_laws() -> None:
    body = (
        "a = Conv(x, w) p = AveragePool<kernel_shape = [5, 2], strides = [5, 2]>(a) y = Conv(p, v)"
    )
    proto = model(body, X, constants={"w": (7, 3, 1, 1), "v": (2, 7, 1, 1)})
    found, (done,), refused = rewritten(proto)
    assert operators(found) == ["AveragePool", "Conv"]
    assert (done.root, len(done.nodes), refused) == ("y", 3, [])
    assert (done.before.macs, done.after.macs) == (P * 21 + 4 * 14, 4 * 6)
    assert sum(done.saved.values()) == done.before.macs - done.after.macs
    # One after the other: the first map behind the pool, then both multiplied.
    assert done.saved == {"commute": (P - 4) * 21, "compose": 4 * (21 + 14 - 6)}
    assert list(done.saved) == ["commute", "compose"]


def test_a_pass_that_never_has_done_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the regions, too: a fault of one law keeps nobody waiting for ever."""
    calls = 0

    def restless(_task: Task) -> Iterator[Rewrite]:
        nonlocal calls
        calls += 1
        assert calls <= 2 * MAX_ROUNDS
        yield Rewrite("y", ("y",), {"prune": 0})

    monkeypatch.setattr(module, "FIRST", (("prune", restless),))
    rewritten(model("y = Relu(x)", X))
    assert calls == MAX_ROUNDS


def test_a_pass_looks_again_where_one_behind_it_has_changed_something(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked: list[str] = []

    def idle(_task: Task) -> Iterator[Rewrite]:
        looked.append("layout")
        yield from ()

    def once(_task: Task) -> Iterator[Rewrite]:
        looked.append("prune")
        if looked.count("prune") == 1:
            yield Rewrite("y", ("y",), {"prune": 0})

    rows = (("layout", idle), ("prune", once))
    monkeypatch.setattr(module, "FIRST", rows)
    monkeypatch.setattr(module, "PASSES", rows)
    rewritten(model("y = Relu(x)", X))
    assert looked == ["layout", "prune", "prune", "layout"]


def test_the_rounds_end_when_nothing_changes() -> None:
    told: list[tuple[str, int, int]] = []
    proto = model("a = Conv(x, w) y = Conv(a, w)", X, constants={"w": (3, 3, 1, 1)})
    found, done, _ = rewritten(proto, told=told)
    assert told == [("rewrite", 0, MAX_ROUNDS), ("rewrite", 1, MAX_ROUNDS)]
    assert (operators(found), len(done)) == (["Conv"], 1)


def test_nothing_is_touched_where_nothing_pays() -> None:
    proto = model("a = Conv(x, w) r = Relu(a) y = Conv(r, w)", X, constants={"w": (3, 3, 1, 1)})
    found, done, refused = rewritten(proto)
    assert (operators(found), done, refused) == (["Conv", "Relu", "Conv"], [], [])
    assert {value.name for value in found.graph.initializers.values()} == {"w"}


def test_a_product_that_does_not_fit_its_type_is_refused_and_the_rest_done() -> None:
    huge = np.full((4, 3, 1, 1), 300, np.float16)
    small = integers("v", (2, 3, 1, 1)).astype(np.float16)
    constants = {"w": huge, "u": np.full((2, 4, 1, 1), 300, np.float16), "v": small}
    constants["t"] = integers("t", (1, 2, 1, 1)).astype(np.float16)
    body = "a = Conv(x, w) y = Conv(a, u) b = Conv(x, v) z = Conv(b, t)"
    inputs, outputs = "float16[1,3,5,4] x", "float16[1,2,5,4] y, float16[1,1,5,4] z"
    found, done, refused = rewritten(model(body, inputs, outputs, constants), "compose", "affine")
    assert [(name, refusal.law) for name, refusal in refused] == [("y", "compose")]
    assert "float16" in refused[0][1].reason
    assert [step.root for step in done] == ["z"]
    assert operators(found).count("Conv") == 3


def test_nodes_that_two_regions_place_alike_become_one() -> None:
    body = (
        "a = Conv(x, w) p = AveragePool<kernel_shape = [2, 2], strides = [2, 2]>(a) r = Relu(p) "
        "b = Conv(x, v) q = AveragePool<kernel_shape = [2, 2], strides = [2, 2]>(b) s = Relu(q)"
    )
    constants = {"w": (2, 3, 1, 1), "v": (4, 3, 1, 1)}
    found, _, _ = rewritten(model(body, X, "r, s", constants))
    assert operators(found).count("AveragePool") == 1


def test_a_shape_read_off_a_value_that_goes_is_read_elsewhere() -> None:
    body = (
        "a = Conv(x, w) s = Shape(a) h = Slice(s, two, four) d = Concat<axis = 0>(nc, h) "
        "b = Conv(a, v) r = Expand(z, d) y = Add(b, r)"
    )
    constants = {"w": (7, 3, 1, 1), "v": (2, 7, 1, 1), "z": (1, 2, 1, 1), "two": np.array([2]),
                 "four": np.array([4]), "nc": np.array([1, 2])}  # fmt: skip
    proto = model(body, "float[n,3,h,k] x", "float[n,2,h,k] y", constants)
    found, done, _ = rewritten(proto)
    assert done
    assert operators(found).count("Conv") == 1
    data = feed(proto, n=2, h=5, k=4)
    assert np.array_equal(run(proto, data)[0]["y"], run(to_proto(found), data)[0]["y"])


def test_sizes_that_become_known_on_the_way_are_folded() -> None:
    """A mean that goes leaves a Shape of ones, which is rebuilt as a constant."""
    body = (
        "a = BatchNormalization(x, g, g, g, g) m = GlobalAveragePool(a) t = Reshape(m, flat) "
        "s = Shape(m) h = Slice(s, two, four) d = Concat<axis = 0>(nc, h) y = Reshape(t, d)"
    )
    numbers = {"flat": [0, 3, -1], "two": [2], "four": [4], "nc": [0, 3]}
    constants = {name: np.array(given) for name, given in numbers.items()}
    proto = model(body, "float[n,3,h,k] x", "y, t", {**constants, "g": np.ones(3, np.float32)})
    found, done, _ = rewritten(proto)
    assert done
    assert operators(found).count("Slice") == 0
    assert operators(rewritten(to_proto(found))[0]) == operators(found)


def test_what_the_first_pass_leaves_is_simplified_though_no_other_finds_anything() -> None:
    """A dead channel goes, and with it what the Slice was for: a second run finds nothing."""
    body = (
        "a = Conv(x, w) r = Relu(a) s = Slice(r, one, four, one) y = Conv<pads = [1,1,1,1]>(s, v)"
    )
    weight = np.ones((4, 3, 1, 1), np.float32)
    constants = {"w": weight, "v": (2, 3, 3, 3), "one": np.array([1]), "four": np.array([4])}
    proto = model(body, "float[1,3,4,5] x", constants=constants)
    found, _, _ = rewritten(proto)
    assert operators(rewritten(to_proto(found))[0]) == operators(found)
    assert "Slice" not in operators(found)
