"""One name for ONNX models and PyTorch modules, and no PyTorch for those who have none."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import onebyone
from onebyone.counting.value import Count
from onebyone.errors import UsageError

torch = pytest.importorskip("torch")


def pointwise_model() -> object:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 5, 7])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4, 5, 7])
    weight = numpy_helper.from_array(np.ones((4, 3, 1, 1), np.float32), "W")
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "W"], ["y"])], "g", [x], [y], [weight]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_a_model_and_a_module_are_counted_alike() -> None:
    module = torch.nn.Conv2d(3, 4, 1, bias=False)
    counts = [
        onebyone.count(pointwise_model(), {"x": (2, 3, 5, 7)}),
        onebyone.count(module, torch.empty(2, 3, 5, 7)),
    ]
    assert all(type(counted) is Count for counted in counts)
    figures = [dict(counted.totals()) for counted in counts]
    assert figures[0] == figures[1]
    assert (counts[1].macs, counts[1].pointwise_share) == (2 * 12 * 35, 1.0)


def test_shapes_have_the_name_that_they_have_elsewhere() -> None:
    shapes = {"x": (2, 3, 5, 7)}
    assert onebyone.count(pointwise_model(), shapes=shapes).macs == 2 * 12 * 35
    with pytest.raises(UsageError, match="wanted them once"):
        onebyone.count(pointwise_model(), shapes, shapes=shapes)
    with pytest.raises(UsageError, match="shapes for a module"):
        onebyone.count(torch.nn.Conv2d(3, 4, 1), torch.empty(2, 3, 5, 7), shapes=shapes)


def test_rank_takes_arrays_tensors_and_modules() -> None:
    matrix = np.array([[1.0, 2.0], [2.0, 4.0], [0.0, 1.0]])
    layer = torch.nn.Linear(2, 3, bias=False)
    layer.weight.data = torch.from_numpy(matrix).float()
    assert onebyone.rank(matrix).rank == 2
    assert onebyone.rank(torch.from_numpy(matrix)).rank == 2
    assert onebyone.rank(layer).rank == 2
    assert onebyone.rank(matrix, bias=np.ones(3)).rank == 3


def test_an_array_has_no_example() -> None:
    with pytest.raises(UsageError, match="bias="):
        onebyone.rank(np.eye(2), np.ones(2))


def test_counting_a_file_imports_no_torch() -> None:
    script = (
        "import sys, onebyone\n"
        "try: onebyone.count('no-such-file.onnx')\n"
        "except onebyone.errors.UnreadableModel: pass\n"
        "import numpy; onebyone.rank(numpy.eye(2))\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
