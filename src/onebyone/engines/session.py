"""ONNX Runtime: the one place that opens a model in it, and runs that come to an end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as native

from onebyone.graph.time_limit import TakesTooLong

__all__ = ["NATIVE", "deadline", "session"]

NATIVE: tuple[type[Exception], ...] = tuple(
    value
    for value in vars(native).values()
    if isinstance(value, type) and issubclass(value, Exception)
)
"""All that the engine's own code raises."""


def session(source: Path | str | bytes, options: ort.SessionOptions) -> ort.InferenceSession:
    """A model, from a path or the bytes of a file, on the CPU."""
    # What goes wrong is said once, in our words, and not by the engine on stderr.
    options.log_severity_level = 4
    content = source if isinstance(source, bytes) else str(source)
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])


@contextmanager
def deadline(seconds: float) -> Iterator[ort.RunOptions]:
    """Options of a run that the engine breaks off, between two operators, after so many seconds."""
    options = ort.RunOptions()
    options.log_severity_level = 4
    timer = threading.Timer(seconds, setattr, (options, "terminate", True))
    timer.daemon = True
    timer.start()
    try:
        yield options
    except NATIVE as error:
        if not options.terminate:
            raise
        raise TakesTooLong("a run in ONNX Runtime", seconds) from error
    finally:
        timer.cancel()
