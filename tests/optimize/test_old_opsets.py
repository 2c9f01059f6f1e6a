"""Models of opsets 7 to 10: rewritten with the meaning that they have, or left as they are."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper, version_converter

from onebyone.errors import UnreadableModel
from onebyone.graph.count import count
from onebyone.graph.write import to_proto
from onebyone.optimize import optimize
from onebyone.verify.verify import verify

from ..graphs.run import differences, run
from ..graphs.text import feed, integers

WEIGHTS = {"w": (8, 5, 1, 1), "b": (8,), "v": (4, 8, 1, 1), "c": (4,)}


def network(opset: int, mode: str, scales: list[float]) -> ModelProto:
    """Two 1x1s with a resize between them, in the words of the opset."""
    arrays = {name: integers(name, shape) for name, shape in WEIGHTS.items()}
    given: dict[str, Any] = {}
    if opset < 9:
        given = {"scales": scales}
    else:
        arrays["s"] = np.array(scales, np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["t"]),
        helper.make_node("Resize" if opset == 10 else "Upsample",
                         ["t", "s"] if opset >= 9 else ["t"], ["u"], mode=mode, **given),
        helper.make_node("Conv", ["u", "v", "c"], ["y"]),
    ]  # fmt: skip
    return wrapped(nodes, arrays, opset)


def wrapped(nodes: list[NodeProto], arrays: Mapping[str, Any], opset: int) -> ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 5, 3, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 4, "height", "width"])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    if opset < 7:  # as their IR version wants it
        for name, array in arrays.items():
            graph.input.append(helper.make_tensor_value_info(name, 1, array.shape))
    imports = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=imports, ir_version=4 if opset > 6 else 3)


@pytest.mark.parametrize("opset", [7, 8, 9, 10])
@pytest.mark.parametrize("mode", ["linear", "nearest"])
@pytest.mark.parametrize("scales", [[1.0, 1.0, 2.0, 4.0], [1.0, 1.0, 1.25, 1.5]])
def test_resizes_sample_where_they_did(opset: int, mode: str, scales: list[float]) -> None:
    proto = network(opset, mode, scales)
    result = optimize(proto, lost_bits=inf)
    certificate = result.report.certificate
    assert certificate is not None
    assert certificate.passed
    assert certificate.trials[0].reference == "A in float64"
    assert result.report.after.macs < result.report.before.macs
    after, fed = to_proto(result.model), feed(proto)
    (before,), (now,) = run(proto, fed), run(after, fed)
    if mode == "nearest" or scales[2] == 2:  # quarters and eighths of small integers: exact
        assert differences(before, now) == []
    else:  # coordinates are rounded; u = 2**-24 of |v||w||x| below 8·8·5·8, a few roundings
        np.testing.assert_allclose(now["y"], before["y"], rtol=0, atol=8 * 2560 * 2.0**-24)


@pytest.mark.parametrize("opset", [7, 9, 10])
def test_another_sampling_is_not_certified(opset: int) -> None:
    """What onnx's own converter makes of it is another function: A is run as it is given."""
    proto = network(opset, "linear", [1.0, 1.0, 2.0, 2.0])
    certificate = verify(proto, version_converter.convert_version(proto, 11))
    assert not certificate.passed


@pytest.mark.parametrize("opset", [7, 10])
def test_what_changed_its_meaning_leaves_the_model_whole(opset: int) -> None:
    proto = network(opset, "nearest", [1.0, 1.0, 2.0, 2.0])
    proto.graph.node[1].CopyFrom(
        helper.make_node("ConvTranspose", ["t", "k"], ["u"], strides=[2, 2], auto_pad="SAME_UPPER")
    )
    proto.graph.initializer.append(numpy_helper.from_array(integers("k", (8, 8, 3, 3)), "k"))
    result = optimize(proto, lost_bits=inf)
    (refusal,) = result.report.refusals
    assert refusal.node == "u"
    assert refusal.reason.startswith(f"opset {opset}: ConvTranspose with a given output size")
    after = to_proto(result.model)
    assert after.graph.node == proto.graph.node
    assert after.opset_import == proto.opset_import
    assert result.report.before == result.report.after
    (before,), (now,) = run(proto, feed(proto)), run(after, feed(proto))
    assert differences(before, now) == []


@pytest.mark.parametrize("opset", [1, 3, 6])
def test_before_opset_7_what_never_changed_is_taken(opset: int) -> None:
    """Convolutions are those of today; ONNX Runtime runs them at any opset."""
    arrays = {name: integers(name, shape) for name, shape in WEIGHTS.items()}
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["t"], kernel_shape=[1, 1]),
             helper.make_node("Conv", ["t", "v", "c"], ["y"], kernel_shape=[1, 1])]  # fmt: skip
    proto = wrapped(nodes, arrays, opset)
    result = optimize(proto, lost_bits=inf)
    after = to_proto(result.model)
    assert len(after.graph.node) == 1
    (before,), (now,) = run(proto, feed(proto)), run(after, feed(proto))
    assert differences(before, now) == []


def test_before_opset_7_what_changed_is_counted_as_it_is() -> None:
    """The shapes behind an Add that broadcasts along an axis are known, the old way."""
    arrays = {name: integers(name, shape) for name, shape in WEIGHTS.items()}
    nodes = [helper.make_node("Conv", ["x", "w"], ["t"], kernel_shape=[1, 1]),
             helper.make_node("Add", ["t", "b"], ["u"], broadcast=1, axis=1),
             helper.make_node("Conv", ["u", "v", "c"], ["y"], kernel_shape=[1, 1])]  # fmt: skip
    counted = count(wrapped(nodes, arrays, 6))
    assert counted.macs == 2 * 3 * 4 * (5 * 8 + 8 * 4)


def test_what_nothing_here_runs_comes_back_too() -> None:
    proto = network(10, "nearest", [1.0, 1.0, 2.0, 2.0])
    arrays = {name: integers(name, shape) for name, shape in WEIGHTS.items()}
    proto.graph.node[1].CopyFrom(helper.make_node("Add", ["t", "b"], ["u"], broadcast=1, axis=1))
    proto = wrapped(list(proto.graph.node), arrays, 6)
    result = optimize(proto)
    assert to_proto(result.model).graph.node == proto.graph.node
    assert result.report.certificate is None
    assert result.report.refusals[0].reason.startswith("opset 6: ")
    with pytest.raises(UnreadableModel):
        verify(proto, proto)
