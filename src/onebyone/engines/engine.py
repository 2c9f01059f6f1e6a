"""The engines that models are timed in: one row each, imported only when asked for.

    ENGINES[name].load(source, inputs, threads)()  ->  the outputs

Each engine runs with its own optimisations on, in float32, on a fixed number of threads.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from onebyone.algebra.weights import Array
from onebyone.errors import UnreadableModel, UsageError
from onebyone.graph.checks import one_line
from onebyone.graph.time_limit import TakesTooLong, time_limit

__all__ = ["ENGINES", "Engine", "EngineRefuses", "Run", "engine", "installed"]

Source = Path | bytes
Run = Callable[[], list[Array]]


class EngineRefuses(UnreadableModel):
    """An engine cannot load a model, or fails on its inputs."""


@dataclass(frozen=True)
class Engine:
    """A way to run a model.

    Args:
        name: as on the command line.
        title: as people write it.
        package: what `pip install` calls it.
        module: what Python calls it.
        suffix: of the files that it reads.
        loader: from a path or the bytes of a file, inputs by name and a number of threads to a
            call; raises whatever the engine raises.
    """

    name: str
    title: str
    package: str
    module: str
    suffix: str
    loader: Callable[[Source, Mapping[str, Array], int], Run]

    @property
    def version(self) -> str:
        return metadata.version(self.package)

    def load(self, source: Source, inputs: Mapping[str, Array], threads: int) -> Run:
        """A call that runs the model; it has run once.

        Raises:
            EngineRefuses: the engine cannot load the model, or fails on the inputs.
            TakesTooLong: the engine does not come to an end; another one is not asked.
        """
        try:
            run = self.loader(source, inputs, threads)
            run()
        except (TakesTooLong, UsageError):
            raise
        except Exception as error:  # each engine has exceptions of its own, without a common base
            name = source.name if isinstance(source, Path) else "the model"
            raise EngineRefuses(f"{self.title} cannot run {name}: {one_line(error)}") from error
        return run


def _onnxruntime(source: Source, inputs: Mapping[str, Array], threads: int) -> Run:
    from onnxruntime import SessionOptions

    from onebyone.engines import session

    options = SessionOptions()
    options.intra_op_num_threads = threads
    # The threads of the model that just ran would spin on while another one is timed: a model
    # against itself then measured 0.5× to 1.9×.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    model, feeds = session.session(source, options), dict(inputs)
    # The first run may have no end; those that are timed are not slowed down by a clock beside.
    with session.deadline(time_limit()) as first:
        model.run(None, feeds, first)
    return lambda: list(model.run(None, feeds))


def _openvino(source: Source, inputs: Mapping[str, Array], threads: int) -> Run:
    openvino = import_module("openvino")
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    core = openvino.Core()
    model = core.read_model(source, b"") if isinstance(source, bytes) else str(source)
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    feeds, seconds = dict(inputs), time_limit()
    request.start_async(feeds, share_inputs=True)
    if not request.wait_for(round(1e3 * seconds)):
        # OpenVINO cannot break a run off, and who frees its request waits for the end of it.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(request))
        raise TakesTooLong("a run in OpenVINO", seconds)
    return lambda: list(request.infer(feeds, share_inputs=True, share_outputs=True).values())


def _litert(source: Source, inputs: Mapping[str, Array], threads: int) -> Run:
    """`inputs` has only to name those of another shape; the others are drawn as the file says."""
    module = import_module("ai_edge_litert.interpreter")
    given = {"model_content": source} if isinstance(source, bytes) else {"model_path": str(source)}
    interpreter = module.Interpreter(num_threads=threads, **given)
    wanted = interpreter.get_input_details()
    for each in wanted:
        if each["name"] in inputs:
            interpreter.resize_tensor_input(each["index"], inputs[each["name"]].shape)
    interpreter.allocate_tensors()
    feeds = {each["index"]: _drawn(each) for each in interpreter.get_input_details()}
    results = [each["index"] for each in interpreter.get_output_details()]

    def run() -> list[Array]:
        for index, array in feeds.items():
            interpreter.set_tensor(index, array)
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in results]

    return run


def _drawn(wanted: Mapping[str, Any]) -> Array:
    random = np.random.default_rng(0)
    kind, shape = np.dtype(wanted["dtype"]), tuple(wanted["shape"])
    if kind.kind == "f":
        return random.standard_normal(shape).astype(kind)
    # Integers may be indices into something small.
    return random.integers(0, 2, shape).astype(kind)


_ROWS = (
    Engine("onnxruntime", "ONNX Runtime", "onnxruntime", "onnxruntime", ".onnx", _onnxruntime),
    Engine("openvino", "OpenVINO", "openvino", "openvino", ".onnx", _openvino),
    Engine("litert", "LiteRT", "ai-edge-litert", "ai_edge_litert", ".tflite", _litert),
)
ENGINES = {row.name: row for row in _ROWS}
"""The engines by name, in the order in which they are shown."""


def installed(name: str) -> bool:
    """Whether an engine can be imported here."""
    return find_spec(ENGINES[name].module) is not None


def engine(name: str) -> Engine:
    """The engine of this name.

    Raises:
        UsageError: there is none, or it is not installed.

    >>> engine("onnxruntime").title
    'ONNX Runtime'
    """
    if name not in ENGINES:
        raise UsageError(f"got engine {name!r}, wanted one of {', '.join(ENGINES)}")
    if not installed(name):
        row = ENGINES[name]
        raise UsageError(f"{row.title} is not installed: pip install {row.package}")
    return ENGINES[name]
