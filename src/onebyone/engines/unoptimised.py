"""ONNX Runtime as it runs a model node by node: on the CPU, its own graph optimisations off.

With them on, the engine would rewrite both models, and the comparison would be of its rewrites.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort

from onebyone.algebra.weights import Array
from onebyone.engines.engine import EngineRefuses
from onebyone.engines.session import NATIVE, deadline, session
from onebyone.errors import UnreadableModel
from onebyone.graph.time_limit import time_limit
from onebyone.graph.write import to_proto, write

__all__ = ["ENGINE", "Run", "flat", "opened"]

Run = Callable[[Mapping[str, Array]], dict[str, Array]]

ENGINE = f"ONNX Runtime {ort.__version__}, graph optimisations off"

# Larger models go to the engine by way of a file, so that no copy of the weights is made here: of
# DenseNet-121 (31 MiB) that takes 65 MiB off the peak of `optimize`, and costs no time.
_LARGEST_IN_MEMORY = 4 << 20
# The engine refuses files newer than itself; it reads 4 and all later ones in the same way.
_IR_VERSION = 10
_FAILURES: tuple[type[Exception], ...] = (*NATIVE, RuntimeError, ValueError, TypeError)


# What its messages hold where memory is short, which is nobody's refusal.
_NO_ROOM = ("bad_alloc", "Failed to allocate memory")


@contextmanager
def opened(model: ir.Model) -> Iterator[Run]:
    """A function that runs the model, as long as the context lasts.

    It maps inputs by name to outputs by name, in the types that the model declares.

    Raises:
        EngineRefuses: the engine cannot load the model, or, when called, fails on the inputs.
        TakesTooLong: when called, it does not come to an end.

    >>> import onnx.parser
    >>> text = "g (float[2] x) => (float[2] y) {y = Abs(x)}"
    >>> head = '<ir_version: 8, opset_import: ["": 13]>'
    >>> model = ir.from_proto(onnx.parser.parse_model(head + text))
    >>> with opened(model) as run:
    ...     run({"x": np.float32([-1, 2])})["y"].tolist()
    [1.0, 2.0]
    """
    seconds = time_limit(model)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        source = _source(model, Path(folder))
        with _one_line():
            loaded = session(source, _options())
        del source
        # PyTorch's TorchScript exporter writes a tensor that is returned twice as two outputs of
        # one name: they are one value.
        names = list(dict.fromkeys(output.name for output in loaded.get_outputs()))

        def answer(inputs: Mapping[str, Array]) -> dict[str, Array]:
            # NumPy makes scalars of 0-d arrays, which the engine does not take.
            arrays = {name: np.asarray(x) for name, x in inputs.items()}
            with _one_line(), deadline(seconds) as options:
                values = loaded.run(names, arrays, options)
            # Copies: an output of the engine keeps the engine's memory alive.
            return {n: np.array(x) for n, x in flat(zip(names, values, strict=True)).items()}

        yield answer


def flat(outputs: Iterable[tuple[str, Any]]) -> dict[str, Array]:
    """Outputs by name, sequences and maps taken apart; an optional one that is empty is left out.

    Raises:
        UnreadableModel: another output has the name of an element.

    >>> flat([("y", [np.zeros(2), np.zeros(3)]), ("z", [{"cat": 0.5}])]).keys()
    dict_keys(['y[0]', 'y[1]', "z[0]['cat']"])
    """
    arrays: dict[str, Array] = {}
    for name, value in outputs:
        for part, array in _parts(name, value):
            if part in arrays:
                raise UnreadableModel(f"two outputs, or elements of them, are called {part!r}")
            arrays[part] = array
    return arrays


def _parts(name: str, value: Any) -> Iterator[tuple[str, Array]]:
    if isinstance(value, list):
        value = dict(enumerate(value))
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _parts(f"{name}[{key!r}]", item)
    elif value is not None:
        yield name, np.asarray(value)


def _options() -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.use_deterministic_compute = True
    # A seventh more time and half the memory: 870 for 1670 MB, SegFormer-B5 at 512×512.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    # Threads that wait for work sleep: spinning doubles the processor time of DenseNet-121.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _source(model: ir.Model, folder: Path) -> bytes | str:
    """What the engine loads: the bytes of a small model, a file for a large one.

    External data have no folder in bytes: they go by way of a file too.
    """
    tensors = [value.const_value for value in model.graph.initializers.values()]
    apart = any(isinstance(tensor, ir.ExternalTensor) for tensor in tensors)
    if not apart and sum(t.nbytes for t in tensors if t is not None) <= _LARGEST_IN_MEMORY:
        proto = to_proto(model)
        proto.ir_version = min(proto.ir_version, _IR_VERSION)
        return bytes(proto.SerializeToString())
    older = copy(model)  # with the same graph, which writing leaves as it is
    older.ir_version = min(model.ir_version or _IR_VERSION, _IR_VERSION)
    write(older, folder / "model.onnx", largest=_LARGEST_IN_MEMORY)
    return str(folder / "model.onnx")


@contextmanager
def _one_line() -> Iterator[None]:
    """What the engine throws becomes one line."""
    try:
        yield
    except _FAILURES as error:
        text = " ".join(str(error).split())
        if any(words in text for words in _NO_ROOM):
            raise MemoryError(f"ONNX Runtime: {text[:300]}") from error
        raise EngineRefuses(f"ONNX Runtime cannot run this: {text[:300]}") from error
