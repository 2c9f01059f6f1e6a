"""What open sizes are taken to be: by their names, their places and their tensors."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from onebyone.graph.shapes import Sizes, infer

FLOAT, INT64, BOOL, UINT8 = (
    ir.DataType.FLOAT,
    ir.DataType.INT64,
    ir.DataType.BOOL,
    ir.DataType.UINT8,
)


def sizes(*shapes: tuple[ir.DataType, list[int | str | None]]) -> list[tuple[int, ...]]:
    """The sizes of inputs of these types and shapes."""
    inputs = [ir.val(f"x{k}", kind, shape) for k, (kind, shape) in enumerate(shapes)]
    model = ir.Model(ir.Graph(inputs, [], nodes=[], opset_imports={"": 17}), ir_version=8)
    infer(model)
    return list(Sizes(model).inputs.values())


@pytest.mark.parametrize(
    ("kind", "shape", "wanted"),
    [
        # by names, as exporters write them
        (FLOAT, ["batch_size", "num_channels", "height", "width"], (1, 3, 224, 224)),
        (FLOAT, ["B", "C", "H", "W"], (1, 3, 224, 224)),
        (INT64, ["batch_size", "sequence_length"], (1, 128)),
        (FLOAT, ["sequence", 1, 512], (128, 1, 512)),
        (FLOAT, [3, "imageHeight", "imageWidth"], (3, 224, 224)),
        (FLOAT, ["batch", 8, "past_sequence_length", 64], (1, 8, 128, 64)),
        (INT64, ["batch", "past_sequence_length + sequence_length"], (1, 256)),
        (FLOAT, ["SEQ", "BATCH", 80], (128, 1, 80)),
        # by places and types
        (INT64, ["a", "k"], (1, 128)),
        (BOOL, ["a", 1, "k", "m"], (1, 1, 128, 128)),
        (UINT8, ["a", "k", "m", 3], (1, 224, 224, 3)),
        (FLOAT, [None, None], (1, 128)),
        (FLOAT, [None, None, 768], (1, 128, 768)),
        (FLOAT, ["n", 3, "n_points"], (1, 3, 128)),
        (FLOAT, [None, None, None, None], (1, 3, 224, 224)),
        (FLOAT, [None, 1, None, None, None], (1, 1, 64, 64, 64)),
        (FLOAT, ["n", 1, "depth", "height", "width"], (1, 1, 64, 64, 64)),
        (FLOAT, ["x0_dynamic_axes_1", 3, "x0_dynamic_axes_2", 8], (1, 3, 224, 8)),
        (INT64, [], ()),
    ],
)
def test_usual_sizes(
    kind: ir.DataType, shape: list[int | str | None], wanted: tuple[int, ...]
) -> None:
    assert sizes((kind, shape)) == [wanted]


def test_a_name_has_one_size_wherever_it_stands() -> None:
    assert sizes((FLOAT, [3, "n"]), (INT64, ["n", "m"])) == [(3, 1), (1, 128)]
    assert sizes((FLOAT, [1, 3, "k", 5]), (INT64, [2, "k"])) == [(1, 3, 128, 5), (2, 128)]


def test_the_name_of_an_input_is_no_name_of_a_size() -> None:
    value = ir.val("sequence", FLOAT, [None, None, 4])
    model = ir.Model(ir.Graph([value], [], nodes=[], opset_imports={"": 17}), ir_version=8)
    infer(model)
    assert Sizes(model).inputs == {"sequence": (1, 128, 4)}
