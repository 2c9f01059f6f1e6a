"""The work of `optimize` grows about linearly with the nodes: a guard, counted and not timed.

Counted are calls of Python functions, which do not depend on the machine. From 1,000 to 10,000
nodes, in seconds: `python benchmarks/scaling.py`.
"""

from __future__ import annotations

import cProfile
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx_ir as ir
import pytest
from onnx import ModelProto, helper, numpy_helper
from tests.quick import slow_but
from tests.timing import least_seconds

from onebyone.graph.edit import Edit
from onebyone.optimize import optimize

STEEPEST = 1.03  # of calls ~ nodes^k; 1.00 was measured, 1.05 with one loop over all for each unit


@pytest.fixture
def scaling(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmark, imported as a script imports it."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    return import_module("scaling")


def _calls(scaling: ModuleType, name: str, nodes: int) -> tuple[int, int]:
    """How many calls a network of about so many nodes takes, and how many it has."""
    model = scaling.network(name, nodes)
    profile = cProfile.Profile()
    profile.enable()
    optimize(model, verify=False)
    profile.disable()
    return sum(entry.callcount for entry in profile.getstats()), len(model.graph.node)


NETWORKS = ("residual", "chain", "dense", "fan-out", "strided", "pruned", "shuffle", "mixture")


@pytest.mark.parametrize("name", slow_but("mixture", of=NETWORKS))
def test_calls_grow_about_linearly(scaling: ModuleType, name: str) -> None:
    _calls(scaling, name, 20)  # caches that stay
    (few, small), (many, large) = (_calls(scaling, name, n) for n in (120, 480))
    assert np.log(many / few) / np.log(large / small) <= STEEPEST


def _many_rewrites(nodes: int, kind: str) -> ModelProto:
    """Blocks that are each rewritten on their own: a map of low rank, or channels picked."""
    rng, wide, taken = np.random.default_rng(nodes), 32, 24 if kind == "permute" else 32
    constants = {"order": rng.permutation(wide)[:taken]}
    made, x = [], "x"
    for k in range(nodes // 3):
        low = rng.standard_normal((wide, 1)) * rng.standard_normal(taken)
        full = rng.standard_normal((wide, taken))
        constants[f"w{k}"] = np.float32(low if kind == "rank" else full)[..., None, None]
        made.append(helper.make_node("Conv", [x, f"w{k}"], [f"m{k}"], f"m{k}"))
        if kind == "permute":
            made.append(helper.make_node("Gather", [f"m{k}", "order"], [f"g{k}"], f"g{k}", axis=1))
        x = f"v{k}"
        made.append(helper.make_node("Relu", made[-1].output, [x], x))
    ends = [helper.make_tensor_value_info(name, 1, [1, taken, 64, 48]) for name in ("x", x)]
    stored = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(made, kind, ends[:1], ends[1:], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("kind", ["rank", "permute"])
def test_what_a_law_saves_is_counted_where_it_was_used(kind: str) -> None:
    calls = []
    for nodes in (30, 120, 480):
        model = _many_rewrites(nodes, kind)
        profile = cProfile.Profile()
        profile.enable()
        report = optimize(model, only=[kind], verify=False).report
        profile.disable()
        calls.append(sum(entry.callcount for entry in profile.getstats()))
        assert len(report.laws) >= nodes // 3 - 1  # the last block may not touch the output
        saved = [law.saved_macs for law in report.laws]
        assert min(saved) > 0
        assert report.before.macs - report.after.macs == sum(saved)
    assert np.log(calls[2] / calls[1]) / np.log(4) <= STEEPEST


def _graph(nodes: int) -> ir.Graph:
    """Nodes that each have an initialiser of their own."""
    x, made, constants = ir.val("x", ir.DataType.FLOAT, (1,)), [], []
    for k in range(nodes):
        constants.append(ir.val(f"c{k}", const_value=ir.tensor([1.0], name=f"c{k}")))
        made.append(ir.node("Add", [x, constants[-1]], name=f"n{k}"))
        x = made[-1].outputs[0]
        x.name = f"v{k}"
    return ir.Graph(made[0].inputs[:1], [x], nodes=made, initializers=constants)


def test_names_are_looked_up_once() -> None:
    """What counting calls does not see, since it is done in C: unions, and searches of a number.

    A tenth of a second here, on a slow machine. With a union for each node, or every number
    tried again, it took over five.
    """
    graph = _graph(10_000)

    def names() -> None:
        edit = Edit(graph)
        minted = {edit.mint("v1") for _ in range(10_000)}
        assert len(minted) == 10_000
        assert not minted & {"x", "c1", "n1", "v1"}

    assert least_seconds(names) < 1.5


def test_the_exponent_is_that_of_the_larger_sizes(scaling: ModuleType) -> None:
    point = scaling.Point
    points = [point("n", n, 1 + 1e-6 * n**2, None, 0, n) for n in (100, 10_000, 100_000)]
    assert round(scaling.exponent(points), 1) == 2.0


def test_networks_have_about_the_nodes_asked_for(scaling: ModuleType) -> None:
    for name in scaling.NETWORKS:
        assert 0.9 * 200 <= len(scaling.network(name, 200).graph.node) <= 1.15 * 200
        report = optimize(scaling.network(name, 60)).report
        assert report.certificate is not None
        assert report.certificate.passed
