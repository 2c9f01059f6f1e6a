"""The models that are mutated: trained networks, the backend suite, one made by hand."""

from __future__ import annotations

import importlib.util
import random
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

import onebyone.demo

__all__ = ["SOURCES", "Source", "controlled"]

FLOAT = TensorProto.FLOAT


@dataclass(frozen=True)
class Source:
    """A family of models: its name, how often it is drawn, and how one of it is drawn."""

    name: str
    weight: int
    models: Callable[[], Sequence[Callable[[], bytes]]]

    def draw(self, random_: random.Random) -> bytes:
        """The bytes of one model of the family."""
        return random_.choice(self.models())()


def controlled() -> ModelProto:
    """Two 1×1s with nothing between, a function, an If, a Loop, shape arithmetic, a string."""
    body = [helper.make_node("Mul", ["p", "p"], ["q"])]
    square = helper.make_function("my", "Square", ["p"], ["q"], body, [helper.make_opsetid("", 17)])
    float_ = helper.make_tensor_value_info("o", FLOAT, None)
    branches = [
        helper.make_graph([helper.make_node(op, ["c"], ["o"])], op, [], [float_])
        for op in ("Neg", "Abs")
    ]
    step = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["on"]),
            helper.make_node("Relu", ["kept"], ["next"]),
        ],
        "step",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("kept", FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", FLOAT, None),
        ],
    )
    nodes = [
        helper.make_node("Square", ["x"], ["s"], "call", domain="my"),
        helper.make_node("Conv", ["s", "w1"], ["a"], "wide"),
        helper.make_node("Conv", ["a", "w2", "b2"], ["b"], "narrow"),
        helper.make_node("Resize", ["b", "", "scales"], ["c"], "up", mode="linear"),
        helper.make_node("ReduceMax", ["c"], ["most"], keepdims=0),
        helper.make_node("Greater", ["most", "limit"], ["big"]),
        helper.make_node("If", ["big"], ["d"], then_branch=branches[0], else_branch=branches[1]),
        helper.make_node("Loop", ["trips", "", "d"], ["e"], body=step),
        helper.make_node("Shape", ["e"], ["sizes"]),
        helper.make_node("Gather", ["sizes", "first"], ["n"]),
        helper.make_node("Concat", ["n", "rest"], ["shape"], axis=0),
        helper.make_node("Reshape", ["e", "shape"], ["y"]),
    ]
    whole = np.random.default_rng(0).integers(-3, 4, (9, 11))
    arrays = {
        "w1": whole[:, :3, None, None].astype(np.float32),
        "w2": whole[:5, :9, None, None].astype(np.float32),
        "b2": whole[:5, 0].astype(np.float32),
        "scales": np.float32([1, 1, 2, 2]),
        "limit": np.float32(0),
        "trips": np.int64(3),
        "first": np.int64([0]),
        "rest": np.int64([-1]),
    }
    graph = helper.make_graph(
        nodes,
        "controlled",
        [helper.make_tensor_value_info("x", FLOAT, ["n", 3, 5, 7])],
        [helper.make_tensor_value_info("y", FLOAT, ["n", "rest of it"])],
        [numpy_helper.from_array(np.asarray(a), name) for name, a in arrays.items()],
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("my", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8, functions=[square])


@cache
def _controlled() -> list[Callable[[], bytes]]:
    return [controlled().SerializeToString]


@cache
def _digits() -> list[Callable[[], bytes]]:
    return [Path(onebyone.demo.__file__).with_name("digits.onnx").read_bytes]


@cache
def _suite() -> list[Callable[[], bytes]]:
    """The single-operator models of onnx's backend suite, and its small networks."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = collect_testcases(None)
    data = Path(onnx.__file__).parent / "backend" / "test" / "data"
    files = [p for p in data.glob("[ps]*/*/model.onnx") if p.stat().st_size < 200_000]
    models = [case.model.SerializeToString for case in cases if case.model is not None]
    return [*models, *(path.read_bytes for path in sorted(files))]


def _text(part: str) -> Callable[[], Sequence[Callable[[], bytes]]]:
    """One of rapidocr's three networks; none where that package is not installed."""

    @cache
    def models() -> list[Callable[[], bytes]]:
        spec = importlib.util.find_spec("rapidocr_onnxruntime")
        if spec is None or spec.origin is None:
            return []
        folder = Path(spec.origin).parent / "models"
        return [path.read_bytes for path in folder.glob(f"*{part}*.onnx")]

    return models


SOURCES = (
    Source("controlled", 38, _controlled),
    Source("operators", 53, _suite),
    # Those below take ten to a hundred times as long where a mutant still works.
    Source("digits", 4, _digits),
    Source("text-cls", 3, _text("cls")),
    Source("text-det", 1, _text("det")),
    Source("text-rec", 1, _text("rec")),
)
