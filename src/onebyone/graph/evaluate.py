"""Run a graph in NumPy with every floating tensor in one precision, float64 by default.

The nodes run in the order of the graph. A tensor is dropped after its last use, and a weight is
widened where it is used and not kept, so the memory is that of the widest moment. The common
operators have kernels in `graph.ops`; every other one runs in the reference implementation of
the onnx package, one node at a time; If, Loop and Scan run their subgraphs here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from onebyone.algebra.weights import Array
from onebyone.errors import UnreadableModel, UsageError
from onebyone.graph.exact import numbers
from onebyone.graph.ops import OPERATORS, operator_of
from onebyone.graph.ops.call import Call, call_of, is_floating
from onebyone.graph.time_limit import TakesTooLong
from onebyone.graph.values import subgraphs

__all__ = ["CannotEvaluate", "Run", "computed", "evaluate", "outputs_of", "reference"]

Outputs = list[Any]
# Before, operators broadcast along an axis of theirs, dropped out unless told not to, ...
_FIRST_OPSET = 7


class CannotEvaluate(UnreadableModel):
    """A node that neither a kernel nor the reference implementation of onnx can run."""


@dataclass(frozen=True)
class Run:
    """One evaluation: what holds for all nodes, and the values known so far."""

    opsets: Mapping[str, int]
    dtype: np.dtype[Any]
    longest: float
    rounded: Callable[[ir.Value, Array], Array] | None = None
    known: dict[ir.Value, Any] = field(default_factory=dict)

    def wanted(self, array: Any) -> Any:
        """Floating arrays in the precision of the run; sequences and all others as they are."""
        if isinstance(array, list):
            return [self.wanted(item) for item in array]
        if not isinstance(array, (np.ndarray, np.generic)):
            return array
        array = np.asarray(array)
        if is_floating(array.dtype):
            array = array.astype(self.dtype, copy=False)
        return array

    def value(self, value: ir.Value | None) -> Any:
        """The array of a value; an initialiser is converted each time, and not kept."""
        if value is None:
            return None
        if value in self.known:
            return self.known[value]
        if value.const_value is None:
            raise CannotEvaluate(f"value {value.name!r} is used before it is computed")
        return self.wanted(numbers(value.const_value))


def evaluate(
    model: ir.Model,
    inputs: Mapping[str, Array],
    *,
    dtype: npt.DTypeLike = np.float64,
    longest: float = 600.0,
    rounded: Callable[[ir.Value, Array], Array] | None = None,
) -> dict[str, Array]:
    """The outputs of a model by name, every floating tensor inside and outside in `dtype`.

    Integer, boolean and string tensors keep their type. A Cast to any of float16, bfloat16,
    float32 and float64 casts to `dtype`, so no intermediate is rounded to less. An initialiser
    that is also a graph input may be given or left out. A Loop may take `longest` seconds,
    after which it counts as one that cannot be evaluated. `rounded` gives what is kept of each
    floating tensor that a node computes, from the value and its array.

    Raises:
        UsageError: an input is missing, or one is given that the model does not have.
        CannotEvaluate: a node has no implementation, draws random numbers, or fails on its inputs.
        MemoryError: it takes more than this process may have.

    >>> text = "g (float[2] x) => (float[2] y) {y = Abs(x)}"
    >>> head = '<ir_version: 8, opset_import: ["": 13]>'
    >>> model = ir.from_proto(onnx.parser.parse_model(head + text))
    >>> evaluate(model, {"x": np.float32([-1, 2])})
    {'y': array([1., 2.])}
    """
    run = Run(model.graph.opset_imports, np.dtype(dtype), longest, rounded)
    run.known.update(_bound(model.graph, inputs, run))
    outputs = outputs_of(model.graph, run)
    return {str(v.name): array for v, array in zip(model.graph.outputs, outputs, strict=True)}


def _bound(graph: ir.Graph, inputs: Mapping[str, Array], run: Run) -> dict[ir.Value, Any]:
    named = {str(value.name): value for value in graph.inputs}
    missing = [n for n, v in named.items() if n not in inputs and v.const_value is None]
    unknown = [name for name in inputs if name not in named]
    if missing or unknown:
        raise UsageError(
            f"inputs {sorted(inputs)} given, wanted {sorted(named)}: "
            f"missing {missing}, unknown {unknown}"
        )
    return {named[name]: run.wanted(array) for name, array in inputs.items()}


def outputs_of(graph: ir.Graph, run: Run) -> Outputs:
    """Run the nodes; the values of the graph's outputs. Raises as `evaluate` does."""
    nodes = list(graph)
    dying = _last_uses(nodes, graph)
    # Overflow to infinity and 0/0 are results like others here: the engine has them too.
    with np.errstate(all="ignore"):
        for node in nodes:
            run.known.update(zip(node.outputs, computed(node, run), strict=False))
            for value in dying.get(node, ()):
                run.known.pop(value, None)
    return [run.value(value) for value in graph.outputs]


def _last_uses(nodes: Iterable[ir.Node], graph: ir.Graph) -> dict[ir.Node, list[ir.Value]]:
    """The values of this graph that nobody needs after a node, per node."""
    last: dict[ir.Value, ir.Node] = {}
    for node in nodes:
        last.update(dict.fromkeys(node.outputs, node))
        last.update(dict.fromkeys(_reads(node), node))
    kept = set(graph.outputs)
    dying: dict[ir.Node, list[ir.Value]] = {}
    for value, node in last.items():
        if value not in kept and value.graph is graph:
            dying.setdefault(node, []).append(value)
    return dying


def _reads(node: ir.Node) -> Iterator[ir.Value]:
    """The values that a node reads, those captured by its subgraphs too."""
    yield from (value for value in node.inputs if value is not None)
    for subgraph in subgraphs(node):
        yield from subgraph.outputs
        for inner in subgraph:
            yield from _reads(inner)


def computed(node: ir.Node, run: Run) -> Outputs:
    """What a node gives for the values that are known in the run; raises as `evaluate` does."""
    inputs = [run.value(value) for value in node.inputs]
    try:
        _check_meaning(node, run)
        if node.domain in ("", "ai.onnx") and node.op_type in CONTROL:
            outputs = CONTROL[node.op_type](node, inputs, run)
        else:
            outputs = _kernel(node, inputs, run)
    except (CannotEvaluate, MemoryError):
        raise
    except Exception as error:
        # A kernel meets whatever the file holds; what it raises is the reason, not a bug.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CannotEvaluate(f"{node.op_type} node {node.name!r}: {reason}") from error
    results = [run.wanted(output) for output in outputs]
    if run.rounded is not None:
        for k, (value, array) in enumerate(zip(node.outputs, results, strict=False)):
            if isinstance(array, np.ndarray) and is_floating(array.dtype):
                results[k] = run.rounded(value, array)
    return results


def _check_meaning(node: ir.Node, run: Run) -> None:
    """No operator is taken for what its name stands for since opset 7."""
    version = run.opsets.get("", _FIRST_OPSET)
    if version < _FIRST_OPSET and node.domain == "":
        schemas = [onnx.defs.get_schema(node.op_type, v) for v in (_FIRST_OPSET, version)]
        if len({schema.since_version for schema in schemas}) > 1:
            raise CannotEvaluate(f"{node.op_type} of opset {version} is not known here")


def _kernel(node: ir.Node, inputs: list[Any], run: Run) -> Outputs:
    row = OPERATORS.get(node.op_type)
    result = None
    if row is not None and row.value is not None and node.domain in ("", "ai.onnx"):
        result = row.value(_call(node, run), *inputs)
    if result is None:
        if operator_of(node).is_random:
            raise CannotEvaluate(f"{node.op_type} node {node.name!r} draws random numbers")
        return reference(node, inputs, run.opsets)
    return list(result) if isinstance(result, tuple) else [result]


def _call(node: ir.Node, run: Run) -> Call:
    version = run.opsets.get(node.domain) or run.opsets.get("ai.onnx", 1)
    return call_of(node, version, run.dtype)


def reference(node: ir.Node, inputs: Sequence[Any], opsets: Mapping[str, int]) -> Outputs:
    """One node in the reference implementation of the onnx package: its outputs, None if absent."""
    proto = ir.to_proto(node)
    # What is left out has no name; so nothing is made of a result that nobody asked for.
    named = [f"x{k}" * (x is not None) for k, x in enumerate(inputs)]
    outputs = [f"y{k}" * (value.name != "") for k, value in enumerate(node.outputs)]
    proto.input[:], proto.output[:] = named, outputs
    given = {name: x for name, x in zip(named, inputs, strict=True) if name}
    info = onnx.helper.make_empty_tensor_value_info
    ends = [info(name) for name in given], [info(name) for name in outputs if name]
    graph = onnx.helper.make_graph([proto], "one_node", *ends)
    versions = [onnx.helper.make_opsetid(*item) for item in opsets.items()]
    model = onnx.helper.make_model(graph, opset_imports=versions)
    asked = filter(None, outputs)
    results = dict(zip(asked, ReferenceEvaluator(model).run(None, given), strict=True))
    return [results.get(name) for name in outputs]


def _branch(node: ir.Node, inputs: list[Any], run: Run) -> Outputs:
    name = "then_branch" if bool(inputs[0]) else "else_branch"
    return outputs_of(node.attributes[name].as_graph(), run)


def _loop(node: ir.Node, inputs: list[Any], run: Run) -> Outputs:
    """Loop: the body maps (iteration, condition, state...) to (condition, state..., scans...)."""
    body = node.attributes["body"].as_graph()
    limit, go, *state = inputs
    scans: list[list[Array]] = [[] for _ in body.outputs[1 + len(state) :]]
    iteration, begin = 0, time.monotonic()
    # Without a limit it goes on until the condition says so, without a condition up to the limit.
    go = go is None or bool(go)
    while go and (limit is None or iteration < int(limit)):
        arguments = [np.array(iteration, np.int64), np.array(True), *state]
        run.known.update(zip(body.inputs, arguments, strict=True))
        go, *results = outputs_of(body, run)  # of the body, a condition always comes
        state, items = results[: len(state)], results[len(state) :]
        for scan, item in zip(scans, items, strict=True):
            scan.append(item)
        iteration += 1
        if time.monotonic() - begin > run.longest:
            raise CannotEvaluate(str(TakesTooLong("a Loop in NumPy", run.longest)))
    return [*state, *map(_stacked, scans, body.outputs[1 + len(state) :])]


def _stacked(items: list[Array], value: ir.Value) -> Array:
    if items:
        return np.stack(items)
    # No iteration: an empty tensor of the type that the body declares.
    kind = value.dtype or ir.DataType.FLOAT
    sizes = [n if isinstance(n, int) else 0 for n in value.shape or ()]
    return np.zeros((0, *sizes), kind.numpy())


def _scan(node: ir.Node, inputs: list[Any], run: Run) -> Outputs:
    """Scan: the body maps (state..., slices...) to (state..., slices...), one slice at a time."""
    body, call = node.attributes["body"].as_graph(), _call(node, run)
    count = call.get("num_scan_inputs")
    state, sequences = inputs[:-count], inputs[-count:]
    n_scans = len(body.outputs) - len(state)
    axes = call.get("scan_input_axes") or [0] * count
    backward = call.get("scan_input_directions") or [0] * count
    every = zip(sequences, axes, backward, strict=True)
    steps = [_oriented(np.moveaxis(x, axis, 0), flip) for x, axis, flip in every]
    scans: list[list[Array]] = [[] for _ in range(n_scans)]
    for slices in zip(*steps, strict=True):
        run.known.update(zip(body.inputs, [*state, *slices], strict=True))
        results = outputs_of(body, run)
        state = results[: len(state)]
        for scan, item in zip(scans, results[len(state) :], strict=True):
            scan.append(item)
    out_axes = call.get("scan_output_axes") or [0] * n_scans
    flips = call.get("scan_output_directions") or [0] * n_scans
    stacked = map(_stacked, scans, body.outputs[len(state) :])
    ends = zip(stacked, flips, out_axes, strict=True)
    return [*state, *(np.moveaxis(_oriented(x, flip), 0, axis) for x, flip, axis in ends)]


def _oriented(x: Array, backward: int) -> Array:
    return np.flip(x, 0) if backward else x


CONTROL = {"If": _branch, "Loop": _loop, "Scan": _scan}
