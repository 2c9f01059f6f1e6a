"""The oracle: ONNX Runtime with every optimisation off, one thread."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnxruntime as ort
from onnx import ModelProto

__all__ = ["differences", "run"]


def _options() -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return options


def run(model: ModelProto, *feeds: Mapping[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    """The outputs by name, for each of the feeds."""
    session = ort.InferenceSession(
        model.SerializeToString(), _options(), providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return [dict(zip(names, session.run(names, dict(feed)), strict=True)) for feed in feeds]


def differences(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]) -> list[str]:
    """What keeps two sets of outputs from being equal to the last bit; empty when they are."""
    found = [f"outputs {sorted(a)} against {sorted(b)}"] if a.keys() != b.keys() else []
    for name in a.keys() & b.keys():
        if a[name].shape != b[name].shape or a[name].dtype != b[name].dtype:
            found.append(
                f"{name}: {a[name].dtype}{a[name].shape} against {b[name].dtype}{b[name].shape}"
            )
        elif not np.array_equal(a[name], b[name]):
            wrong = int((a[name] != b[name]).sum())
            found.append(f"{name}: {wrong} of {a[name].size} elements differ")
    return found
