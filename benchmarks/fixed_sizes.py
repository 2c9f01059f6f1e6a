"""Files for one size each, and programs that are served by them: for laws that need fixed sizes.

The programs around trained networks load one file and feed it images of many sizes. Here each size
that was fed has a file of its own, and ONNX Runtime takes the one that fits what it is given.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np

if TYPE_CHECKING:
    import onnx

__all__ = ["Twins", "fixed", "input_name", "served"]

Twins = Mapping[tuple[int, ...], Path]
"""The shape of the input -> the file for it."""


def input_name(model: onnx.ModelProto) -> str:
    """The one input; older files name their weights among the inputs."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return next(str(value.name) for value in model.graph.input if value.name not in constants)


def fixed(path: Path, shape: Sequence[int]) -> onnx.ModelProto:
    """The model of a file with its one input of this shape; all other shapes are left open."""
    import onnx

    model = onnx.load(path)
    name = input_name(model)
    for value in model.graph.input:
        if value.name == name:
            of_floats = onnx.TensorProto.FLOAT
            value.CopyFrom(onnx.helper.make_tensor_value_info(name, of_floats, shape))
    del model.graph.value_info[:]
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    return model


@contextmanager
def served(twins: Mapping[Path, Twins]) -> Iterator[None]:
    """All sessions of these files run the twin of the shape that they are given.

    Raises:
        KeyError: there is none for that shape.
    """
    import onnxruntime

    options = {"providers": ["CPUExecutionProvider"]}
    sessions = {
        (str(path), shape): onnxruntime.InferenceSession(str(twin), **options)
        for path, own in twins.items()
        for shape, twin in own.items()
    }
    plain = onnxruntime.InferenceSession.run

    def run(
        session: Any, names: Any, feed: Mapping[str, np.ndarray], options: Any = None
    ) -> list[np.ndarray]:
        if session in sessions.values():
            return list(plain(session, names, feed, options))
        [array] = feed.values()
        twin = sessions[str(session._model_path), array.shape]
        return list(plain(twin, names, feed, options))

    with mock.patch.object(onnxruntime.InferenceSession, "run", run):
        yield
