"""Models that are more than chains of float operators: what optimisers tend to break.

Each has a pair of 1x1s, or several, that can be composed, so that something is rewritten around
what must be left alone. Weights and inputs are small integers: results are equal to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from onnx import FunctionProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from .text import integers

__all__ = ["CONTRIB", "STRANGE", "built"]

Shape = Sequence[int | str]
FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
WEIGHTS = {"w": (8, 5, 1, 1), "b": (8,), "v": (4, 8, 1, 1), "c": (4,)}
X: dict[str, tuple[int, Shape]] = {"x": (FLOAT, (2, 5, 4, 6))}
Y: dict[str, tuple[int, Shape]] = {"y": (FLOAT, (2, 4, 4, 6))}


def built(
    nodes: Sequence[NodeProto],
    inputs: Mapping[str, tuple[int, Shape]] = X,
    outputs: Mapping[str, tuple[int, Any]] = Y,
    constants: Mapping[str, Any] = WEIGHTS,
    *,
    opsets: Mapping[str, int] | None = None,
    ir_version: int = 8,
    functions: Sequence[FunctionProto] = (),
) -> ModelProto:
    """A model of these nodes; a constant given as a shape is of small integers."""
    tensors = [
        value
        if isinstance(value, TensorProto)
        else numpy_helper.from_array(
            integers(name, value) if isinstance(value, tuple) else np.asarray(value), name
        )
        for name, value in constants.items()
    ]
    ends = (
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in each.items()]
        for each in (inputs, outputs)
    )
    imports = {"": 17} if opsets is None else opsets
    return helper.make_model(
        helper.make_graph(list(nodes), "g", *ends, tensors),
        opset_imports=[helper.make_opsetid(*item) for item in imports.items()],
        ir_version=ir_version,
        functions=list(functions),
    )


def n(op: str, inputs: str, outputs: str, domain: str = "", **attributes: Any) -> NodeProto:
    """A node; names are separated by spaces, and "-" is one that is left out."""
    sides = ([name.replace("-", "") for name in text.split()] for text in (inputs, outputs))
    return helper.make_node(op, *sides, domain=domain, **attributes)


def led(proto: ModelProto) -> ModelProto:
    """Two more layers before all else, which can be composed whatever the rest is."""
    channels = proto.graph.input[0].type.tensor_type.shape.dim
    image = len(channels) == 4
    width = (channels[1] if image else channels[-1]).dim_value
    for node in proto.graph.node:
        node.input[:] = ["x2" if name == "x" else name for name in node.input]
    shapes = {"lead1": (width + 4, width, 1, 1), "lead2": (width, width + 4, 1, 1)}
    if not image:
        shapes = {"lead1": (width, width + 4), "lead2": (width + 4, width)}
    op = "Conv" if image else "MatMul"
    layers = [n(op, "x lead1", "x1"), n(op, "x1 lead2", "x2")]
    nodes = [*layers, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    proto.graph.initializer.extend(
        numpy_helper.from_array(integers(name, shape), name) for name, shape in shapes.items()
    )
    return proto


CHAIN = [n("Conv", "x w b", "t"), n("Conv", "t v c", "y")]
BEHIND = [n("Conv", "x w b", "t"), n("Conv", "t v c", "z")]  # and then something makes y of z


def subgraph(
    nodes: Sequence[NodeProto],
    outputs: Mapping[str, Shape],
    inputs: Mapping[str, tuple[int, Shape]] | None = None,
    constants: Mapping[str, Any] | None = None,
) -> onnx.GraphProto:
    ends = [helper.make_tensor_value_info(k, *v) for k, v in (inputs or {}).items()]
    outs = [
        helper.make_tensor_value_info(k, BOOL if not v else FLOAT, v) for k, v in outputs.items()
    ]
    tensors = [
        numpy_helper.from_array(integers(k, v) if isinstance(v, tuple) else v, k)
        for k, v in (constants or {}).items()
    ]
    return helper.make_graph(list(nodes), "inner", ends, outs, tensors)


# --- functions -------------------------------------------------------------------------------


def two_results(opset: int = 17) -> FunctionProto:
    body = [n("Neg", "a", "p"), n("Abs", "a", "q")]
    imports = [helper.make_opsetid("", opset)]
    return helper.make_function("local", "Two", ["a"], ["p", "q"], body, imports)


def optional_operand(opset: int = 17) -> FunctionProto:
    body = [n("Conv", "a k d", "r")]
    imports = [helper.make_opsetid("", opset)]
    return helper.make_function("local", "Layer", ["a", "k", "d"], ["r"], body, imports)


def _function(results: str, opset: int) -> ModelProto:
    read = results.replace("-", "").strip()
    nodes = [*BEHIND, n("Two", "z", results, "local"), n("Relu", read, "y")]
    return built(nodes, opsets={"": 17, "local": 1}, functions=[two_results(opset)])


def _optional(opset: int) -> ModelProto:
    nodes = [n("Layer", "x w -", "t", "local"), n("Layer", "t v", "y", "local")]
    constants = {k: WEIGHTS[k] for k in "wv"}
    return built(nodes, constants=constants, opsets={"": 17, "local": 1},
                 functions=[optional_operand(opset)])  # fmt: skip


def _all_left_out() -> ModelProto:
    nodes = [*CHAIN, n("Two", "t", "- -", "local")]
    return built(nodes, opsets={"": 17, "local": 1}, functions=[two_results()])


# --- results that are left out ---------------------------------------------------------------


def _first_left_out(op: str) -> ModelProto:
    """Only the last state of a recurrent layer is read; gates of zeros would be all the same."""
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
    rng = np.random.default_rng(1)
    constants = {
        "m": (5, 6), "k": (6, 4),
        "i": (rng.integers(-2, 3, (1, gates * 3, 4)) / 4).astype(np.float32),
        "r": (rng.integers(-2, 3, (1, gates * 3, 3)) / 4).astype(np.float32),
        "s": np.array([0]), "o": (3, 7), "q": (7, 2),
    }  # fmt: skip
    nodes = [
        n("MatMul", "x m", "a"), n("MatMul", "a k", "d"), n(op, "d i r", "- h", hidden_size=3),
        n("Squeeze", "h s", "e"), n("MatMul", "e o", "f"), n("MatMul", "f q", "y"),
    ]  # fmt: skip
    return built(nodes, {"x": (FLOAT, (6, 2, 5))}, {"y": (FLOAT, (2, 2))}, constants)


# --- subgraphs that read values of the outer graph --------------------------------------------


def _branch(before: Sequence[NodeProto], read: str, shape: Shape, more: Mapping[str, Any]
            ) -> ModelProto:  # fmt: skip
    """A condition whose branches read a value, or weights, that a rewrite may change."""
    yes = subgraph([n("Identity", read, "p")], {"p": shape})
    no = subgraph([n("Neg", read, "q")], {"q": shape})
    nodes = [*before, n("If", "go", "o", then_branch=yes, else_branch=no)]
    outputs = {**Y, "o": (FLOAT, shape)}
    return led(built(nodes, {**X, "go": (BOOL, ())}, outputs, {**WEIGHTS, **more}))


def _zeroed() -> dict[str, Any]:
    w = integers("w", (8, 5, 1, 1))
    w[2:7] = 0
    return {"w": w, "b": (integers("b", (8,)) * (np.arange(8) < 2)).astype(np.float32)}


def _in_a_loop() -> ModelProto:
    """The body uses the outer weights, and a value between the two layers."""
    body = subgraph(
        [n("Identity", "c0", "c1"), n("Conv", "t v c", "g"), n("Add", "s0 g", "s1")],
        {"c1": (), "s1": (2, 4, 4, 6)},
        {"i": (INT64, ()), "c0": (BOOL, ()), "s0": (FLOAT, (2, 4, 4, 6))},
    )
    nodes = [*BEHIND, n("Loop", "n go z", "y", body=body)]
    constants = {**WEIGHTS, "n": np.array(3), "go": np.array(True)}
    return built(nodes, constants=constants)


def _rewritten_inside() -> ModelProto:
    """Two layers inside of a branch, with weights of its own and of the outer graph."""
    yes = subgraph([n("Conv", "z k", "h"), n("Conv", "h l", "p")], {"p": (2, 4, 4, 6)},
                   constants={"k": (9, 4, 1, 1), "l": (4, 9, 1, 1)})  # fmt: skip
    no = subgraph([n("Conv", "t v c", "q")], {"q": (2, 4, 4, 6)})
    nodes = [*BEHIND, n("If", "go", "y", then_branch=yes, else_branch=no)]
    return built(nodes, {**X, "go": (BOOL, ())})


def _scan() -> ModelProto:
    body = subgraph([n("MatMul", "a m", "h"), n("Add", "s0 h", "s1"), n("Identity", "s1", "o")],
                    {"s1": (2, 3), "o": (2, 3)},
                    {"s0": (FLOAT, (2, 3)), "a": (FLOAT, (2, 4))})  # fmt: skip
    nodes = [n("MatMul", "x k", "a0"), n("MatMul", "a0 l", "b0"),
             n("Scan", "init b0", "last y", body=body, num_scan_inputs=1)]  # fmt: skip
    return built(nodes, {"x": (FLOAT, (6, 2, 5))}, {"y": (FLOAT, (6, 2, 3))},
                 {"k": (5, 9), "l": (9, 4), "m": (4, 3), "init": (2, 3)})  # fmt: skip


# --- sequences, optionals, strings, empty tensors, scalars -------------------------------------


def _sequence() -> ModelProto:
    nodes = [*BEHIND, n("SequenceConstruct", "t t", "s"), n("SequenceInsert", "s t", "s2"),
             n("ConcatFromSequence", "s2", "u", axis=1), n("Conv", "u k", "h"),
             n("SplitToSequence", "z", "parts", axis=1, keepdims=1),
             n("SequenceAt", "parts two", "e"), n("Add", "h e", "y")]  # fmt: skip
    return built(nodes, constants={**WEIGHTS, "k": (4, 24, 1, 1), "two": np.array(2)})


def _strings() -> ModelProto:
    names = helper.make_tensor("names", TensorProto.STRING, [3], [b"a", b"b", b"a"])
    nodes = [*BEHIND, n("Equal", "names names", "e"), n("Cast", "e", "f", to=FLOAT),
             n("ReduceSum", "f", "s", keepdims=0), n("Mul", "z s", "y")]  # fmt: skip
    return built(nodes, constants={**WEIGHTS, "names": names}, opsets={"": 19}, ir_version=9)


def _empty() -> ModelProto:
    nodes = [*BEHIND, n("Concat", "z nothing", "y", axis=1)]
    return built(nodes, constants={**WEIGHTS, "nothing": np.zeros((2, 0, 4, 6), np.float32)})


def _no_batch() -> ModelProto:
    return built(CHAIN, {"x": (FLOAT, (0, 5, 4, 6))}, {"y": (FLOAT, (0, 4, 4, 6))})


def _scalars() -> ModelProto:
    nodes = [*BEHIND, n("Mul", "z k", "m"), n("Add", "m l", "o"), n("Conv", "o e", "y"),
             n("ReduceSum", "y", "total", keepdims=0)]  # fmt: skip
    return built(nodes, {**X, "l": (FLOAT, ())}, {**Y, "total": (FLOAT, ())},
                 {**WEIGHTS, "k": np.float32(3), "e": (4, 4, 1, 1)})  # fmt: skip


def _optional_input() -> ModelProto:
    nodes = [*BEHIND, n("Clip", "z - six", "y")]
    return built(nodes, constants={**WEIGHTS, "six": np.float32(6)})


# --- files in other clothes ------------------------------------------------------------------


def _imports(opsets: Mapping[str, int], domain: str = "") -> ModelProto:
    proto = built(CHAIN, opsets=opsets)
    for node in proto.graph.node:
        node.domain = domain
    return proto


def _both_names() -> ModelProto:
    proto = built([*BEHIND, n("Relu", "z", "y", "ai.onnx")])
    proto.opset_import.append(helper.make_opsetid("ai.onnx", 17))
    return proto


def _ir_version(version: int) -> ModelProto:
    proto = built(CHAIN, ir_version=version, opsets={"": 11 if version < 8 else 17})
    if version < 4:
        for name, shape in WEIGHTS.items():
            proto.graph.input.append(helper.make_tensor_value_info(name, FLOAT, shape))
    return proto


def _ends() -> ModelProto:
    """An input, a weight and one value twice among the results."""
    proto = built(CHAIN)
    proto.graph.output.append(helper.make_tensor_value_info("x", FLOAT, (2, 5, 4, 6)))
    proto.graph.output.append(helper.make_tensor_value_info("w", FLOAT, WEIGHTS["w"]))
    return proto


# --- narrow numbers --------------------------------------------------------------------------


def _four_bits() -> ModelProto:
    """Weights of four bits in blocks, as large language models store them."""
    k = np.arange(32).reshape(8, 4) % 15 - 7
    constants = {
        "m": (5, 8), "l": (4, 3),
        "k": numpy_helper.from_array(k.astype(ml_dtypes.int4), "k"),
        "s": (np.arange(8).reshape(2, 4) % 3 + 1).astype(np.float32),
    }  # fmt: skip
    nodes = [n("DequantizeLinear", "k s", "d", axis=0, block_size=4), n("MatMul", "x m", "t"),
             n("MatMul", "t d", "u"), n("MatMul", "u l", "y")]  # fmt: skip
    return built(nodes, {"x": (FLOAT, (2, 3, 5))}, {"y": (FLOAT, (2, 3, 3))}, constants,
                 opsets={"": 21}, ir_version=10)  # fmt: skip


def _eight_bit_floats() -> ModelProto:
    k = (np.arange(32).reshape(8, 4) % 9 - 4).astype(ml_dtypes.float8_e4m3fn)
    constants = {"m": (5, 8), "l": (4, 3), "k": numpy_helper.from_array(k, "k")}
    nodes = [n("Cast", "k", "d", to=FLOAT), n("MatMul", "x m", "t"), n("MatMul", "t d", "u"),
             n("MatMul", "u l", "y")]  # fmt: skip
    return built(nodes, {"x": (FLOAT, (2, 3, 5))}, {"y": (FLOAT, (2, 3, 3))}, constants,
                 opsets={"": 19}, ir_version=9)  # fmt: skip


def _quantised(op: str) -> ModelProto:
    """Float layers before and after an operator on integers."""
    scale, zero, axes = np.float32(1), np.uint8(3), np.array([2, 3])
    k = np.arange(16).reshape(4, 4).astype(np.uint8)
    constants = {**WEIGHTS, "s": scale, "o": zero, "k": k, "kc": k.reshape(4, 4, 1, 1),
                 "d": (4, 9, 1, 1), "e": (9, 4, 1, 1), "axes": axes}  # fmt: skip
    head = [*BEHIND, n("Relu", "z", "r"), n("QuantizeLinear", "r s o", "q")]
    tail = [n("Conv", "u e", "h"), n("Conv", "h d", "y")]
    middle = {
        "QLinearConv": [n("QLinearConv", "q s o kc s o s o", "p"),
                        n("DequantizeLinear", "p s o", "u")],
        "QLinearMatMul": [n("Transpose", "q", "qt", perm=[0, 2, 3, 1]),
                          n("QLinearMatMul", "qt s o k s o s o", "pt"),
                          n("Transpose", "pt", "p", perm=[0, 3, 1, 2]),
                          n("DequantizeLinear", "p s o", "u")],
        "ConvInteger": [n("ConvInteger", "q kc o o", "p"), n("Cast", "p", "u", to=FLOAT)],
        "MatMulInteger": [n("Transpose", "q", "qt", perm=[0, 2, 3, 1]),
                          n("MatMulInteger", "qt k o o", "pt"), n("Cast", "pt", "f", to=FLOAT),
                          n("Transpose", "f", "u", perm=[0, 3, 1, 2])],
        "DynamicQuantizeLinear": [n("DynamicQuantizeLinear", "r", "q2 s2 o2"),
                                  n("DequantizeLinear", "q2 s2 o2", "u")],
    }[op]  # fmt: skip
    return built([*head, *middle, *tail], constants=constants)


# --- ONNX Runtime's own operators -------------------------------------------------------------


def _contrib(nodes: Sequence[NodeProto], inputs: Mapping[str, Any], outputs: Mapping[str, Any],
             constants: Mapping[str, Any]) -> ModelProto:  # fmt: skip
    return built(nodes, inputs, outputs, constants, opsets={"": 17, "com.microsoft": 1})


TOKENS = {"x": (FLOAT, (2, 3, 8))}
MS = "com.microsoft"


def _tokens(nodes: Sequence[NodeProto], constants: Mapping[str, Any]) -> ModelProto:
    """Tokens of 8 channels through two layers, something, and two layers more."""
    head = [n("MatMul", "x m1", "a"), n("MatMul", "a m2", "z")]
    tail = [n("MatMul", "u m3", "d"), n("MatMul", "d m4", "y")]
    layers = {"m1": (8, 16), "m2": (16, 8), "m3": (8, 16), "m4": (16, 4)}
    return _contrib([*head, *nodes, *tail], TOKENS, {"y": (FLOAT, (2, 3, 4))},
                    {**layers, **constants})  # fmt: skip


def _with_opset(version: int, proto: ModelProto) -> ModelProto:
    proto.opset_import[0].version = version
    return proto


def _fused_conv(activation: str) -> ModelProto:
    nodes = [*BEHIND, n("FusedConv", "z k -", "u", MS, activation=activation),
             n("Conv", "u e", "h"), n("Conv", "h d", "y")]  # fmt: skip
    return _contrib(nodes, X, Y, {**WEIGHTS, "k": (4, 4, 1, 1), "e": (9, 4, 1, 1),
                                  "d": (4, 9, 1, 1)})  # fmt: skip


def _q_gemm(zero: bool) -> ModelProto:
    """The head of a network quantised by operators: bytes with a zero point, else floats."""
    names = "q s o k s o - s o" if zero else "q s o k s o"
    nodes = [*BEHIND, n("GlobalAveragePool", "z", "g"), n("Flatten", "g", "f"),
             n("QuantizeLinear", "f s o", "q"), n("QGemm", names, "p", MS),
             *([n("DequantizeLinear", "p s o", "u")] if zero else [n("Identity", "p", "u")]),
             n("MatMul", "u m", "h"), n("MatMul", "h l", "y")]  # fmt: skip
    k = np.arange(16).reshape(4, 4).astype(np.uint8)
    constants = {**WEIGHTS, "s": np.float32(1), "o": np.uint8(3), "k": k, "m": (4, 9), "l": (9, 2)}
    return _contrib(nodes, X, {"y": (FLOAT, (2, 2))}, constants)


STRANGE: dict[str, Callable[[], ModelProto]] = {
    "function, first result left out": lambda: _function("- q", 17),
    "function, last result left out": lambda: _function("p -", 17),
    "function of another opset, first result left out": lambda: _function("- q", 16),
    "function of another opset, last result left out": lambda: _function("p -", 16),
    "function, no result read": _all_left_out,
    "function, operand left out": lambda: _optional(17),
    "function of another opset, operand left out": lambda: led(_optional(16)),
    **{f"{op}, first result left out": lambda op=op: _first_left_out(op)
       for op in ("LSTM", "GRU", "RNN")},
    "If, reads a value between": lambda: _branch(CHAIN, "t", (2, 8, 4, 6), {}),
    "If, reads the result": lambda: _branch(CHAIN, "y", (2, 4, 4, 6), {}),
    "If, reads a weight": lambda: _branch(CHAIN, "w", (8, 5, 1, 1), {}),
    "If, reads dead channels": lambda: _branch(
        [n("Conv", "x w b", "a"), n("Relu", "a", "t"), n("Conv", "t v c", "y")], "t",
        (2, 8, 4, 6), _zeroed()),
    "If, reads before a stride": lambda: _branch(
        [n("Conv", "x w b", "a"), n("Relu", "a", "t"), n("Conv", "t v c", "y0", strides=[2, 2]),
         n("Resize", "y0 - two", "y", mode="nearest")], "t", (2, 8, 4, 6),
        {"two": np.float32([1, 1, 2, 2])}),
    "If, reads what is shuffled": lambda: _branch(
        [n("Conv", "x w b", "a"), n("Gather", "a order", "t", axis=1), n("Conv", "t v c", "y")],
        "t", (2, 8, 4, 6), {"order": np.int32([7, 1, 0, 2, 6, 3, 5, 4])}),
    "Loop, reads weights and a value": lambda: led(_in_a_loop()),
    "If, layers inside": lambda: led(_rewritten_inside()),
    "Scan": _scan,
    "sequences": lambda: led(_sequence()),
    "strings": _strings,
    "nothing to concatenate": _empty,
    "no batch": _no_batch,
    "scalars": _scalars,
    "operand left out": _optional_input,
    "imports ai.onnx": lambda: _imports({"ai.onnx": 17}),
    "imports ai.onnx, nodes too": lambda: _imports({"ai.onnx": 17}, "ai.onnx"),
    "nodes of ai.onnx": lambda: _imports({"": 17}, "ai.onnx"),
    "imports both names": _both_names,
    **{f"IR version {k}": lambda k=k: _ir_version(k) for k in range(3, 13)},
    "ends": _ends,
    "four bits": lambda: led(_four_bits()),
    "floats of eight bits": lambda: led(_eight_bit_floats()),
    **{op: lambda op=op: _quantised(op) for op in (
        "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger", "DynamicQuantizeLinear")},
}  # fmt: skip
"""Name -> what makes the model."""

CONTRIB: dict[str, Callable[[], ModelProto]] = {
    **{f"FusedConv {a}": lambda a=a: _fused_conv(a) for a in ("Relu", "Sigmoid")},
    "QGemm to bytes": lambda: _q_gemm(True),
    "QGemm to floats": lambda: _q_gemm(False),
    "FusedMatMul": lambda: _tokens([n("FusedMatMul", "z k", "u", MS, transB=1, alpha=2.0)],
                                   {"k": (8, 8)}),
    "FusedGemm": lambda: _tokens(
        [n("Reshape", "z flat", "f"), n("FusedGemm", "f k", "g", MS, activation="Relu"),
         n("Reshape", "g back", "u")],
        {"k": (8, 8), "flat": np.array([6, 8]), "back": np.array([2, 3, 8])}),
    **{op: lambda op=op: _tokens([n(op, "z", "u", MS)], {})
       for op in ("Gelu", "FastGelu", "QuickGelu")},
    "BiasGelu": lambda: _tokens([n("BiasGelu", "z k", "u", MS)], {"k": (8,)}),
    "SkipLayerNormalization": lambda: _tokens(
        [n("SkipLayerNormalization", "z x k l", "u", MS)], {"k": (8,), "l": (8,)}),
    "SkipLayerNormalization, sum alone": lambda: _tokens(
        [n("SkipLayerNormalization", "z x k l", "n - - u", MS)], {"k": (8,), "l": (8,)}),
    "LayerNormalization before opset 17": lambda: _with_opset(13, _tokens(
        [n("LayerNormalization", "z k l", "u")], {"k": (8,), "l": (8,)})),
    **{f"GroupNormalization of opset {k}": lambda k=k: built(
        [*BEHIND, n("GroupNormalization", "z g h", "y", num_groups=2)],
        constants={**WEIGHTS, "g": (2 if k < 21 else 4,), "h": (2 if k < 21 else 4,)},
        opsets={"": k}, ir_version=10) for k in (18, 20, 21)},
    "SimplifiedLayerNormalization": lambda: _tokens(
        [n("SimplifiedLayerNormalization", "z k", "u")], {"k": (8,)}),
    "MatMulIntegerToFloat": lambda: _tokens(
        [n("DynamicQuantizeLinear", "z", "q s o"),
         n("MatMulIntegerToFloat", "q k s e o f", "u", MS)],
        {"k": np.arange(64).reshape(8, 8).astype(np.uint8), "e": np.float32(1), "f": np.uint8(9)}),
    "DynamicQuantizeMatMul": lambda: _tokens(
        [n("DynamicQuantizeMatMul", "z k e f", "u", MS)],
        {"k": np.arange(64).reshape(8, 8).astype(np.uint8), "e": np.float32(1), "f": np.uint8(9)}),
    "QLinearAdd": lambda: _tokens(
        [n("QuantizeLinear", "z s o", "q"), n("QLinearAdd", "q s o q s o s o", "p", MS),
         n("DequantizeLinear", "p s o", "u")], {"s": np.float32(2), "o": np.uint8(9)}),
    "Attention": lambda: _tokens(
        [n("Attention", "z k l", "u", MS, num_heads=2)], {"k": (8, 24), "l": (24,)}),
    "MultiHeadAttention": lambda: _tokens(
        [n("MultiHeadAttention", "z z z", "u", MS, num_heads=2)], {}),
    "MatMulNBits": lambda: _tokens(
        [n("MatMulNBits", "z k s", "u", MS, K=8, N=8, bits=4, block_size=16)],
        {"k": np.arange(64).reshape(8, 1, 8).astype(np.uint8) * 3,
         "s": np.full(8, 0.5, np.float32)}),
}  # fmt: skip
"""Of ONNX Runtime's own operators."""
