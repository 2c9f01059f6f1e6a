"""Random PyTorch modules out of a grammar, as both exporters write them.

Many small networks are exported together, since an exporter's time is mostly the same for one as
for forty; each is then cut out of the file with all that leads to its output, as it was written.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import pickle
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import ModelProto
from torch import Tensor, nn

from .modules import Made, module
from .trial import Subject

__all__ = ["TOGETHER", "exported"]

TOGETHER = 40
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class _Cut:
    """One network of a file."""

    model: ModelProto
    made: Made
    names: tuple[str, ...]


class _Beside(nn.Module):
    """Networks side by side, each with its own inputs."""

    def __init__(self, made: list[Made]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(each.net for each in made)
        self.counts = [len(each.shapes) for each in made]

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        outputs, at = [], 0
        for part, count in zip(self.parts, self.counts, strict=True):
            outputs.append(part(*inputs[at : at + count]))
            at += count
        return tuple(outputs)


def exported(
    number: int, dynamo: bool, folder: Path | None = None
) -> tuple[Subject, frozenset[str]]:
    """The network of a number, inputs for it, and what it is made of.

    Raises:
        ValueError: the exporter does not take this network.
    """
    cut = _together(number // TOGETHER, dynamo, folder)[number % TOGETHER]
    if isinstance(cut, str):
        raise ValueError(cut)
    rng = np.random.default_rng([number, 11])
    feeds = tuple(
        (label, dict(zip(cut.names, arrays, strict=True)))
        for label, arrays in _feeds(cut.made, rng)
    )
    opset = max(o.version for o in cut.model.opset_import if not o.domain)
    return Subject(cut.model, feeds, exact=False), frozenset({*cut.made.marks, f"opset {opset}"})


@lru_cache(maxsize=1)
def _together(batch: int, dynamo: bool, folder: Path | None) -> tuple[_Cut | str, ...]:
    """The networks of a batch, or why there is none; kept in the folder, if there is one."""
    made = [module(batch * TOGETHER + k) for k in range(TOGETHER)]
    path = folder and folder / f"{'dynamo' if dynamo else 'torchscript'}-{batch}.pickle"
    if path and path.exists():
        stored = pickle.loads(path.read_bytes())
    else:
        stored = _stored(made, batch, dynamo)
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(pickle.dumps(stored))
    return tuple(
        each[1] if each[0] is None else _Cut(ModelProto.FromString(each[0]), m, each[1])
        for each, m in zip(stored, made, strict=True)
    )


def _stored(made: list[Made], batch: int, dynamo: bool) -> list[tuple[Any, Any]]:
    """Each network's part as bytes, or None and why; of many, those that fail are looked for."""
    try:
        return _cuts(_export(made, batch, dynamo), made)
    except Exception as error:  # exporters raise what they like
        if len(made) == 1:
            return [(None, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")]
    half = len(made) // 2
    return _stored(made[:half], batch, dynamo) + _stored(made[half:], batch, dynamo)


def _names(made: list[Made]) -> list[str]:
    return [f"{name}{k}" for k, each in enumerate(made) for name in each.names]


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Exporters print graphs of what they do not take, from C++ as well."""
    with open(os.devnull, "w") as nowhere:
        kept = [os.dup(k) for k in (1, 2)]
        for k in (1, 2):
            os.dup2(nowhere.fileno(), k)
        try:
            with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
                yield
        finally:
            for k, handle in zip((1, 2), kept, strict=True):
                os.dup2(handle, k)
                os.close(handle)


def _export(made: list[Made], batch: int, dynamo: bool) -> ModelProto:
    torch.manual_seed(batch)
    inputs = tuple(torch.zeros(shape) for each in made for shape in each.shapes)
    names = _names(made)
    outputs = [f"y{k}" for k in range(len(made))]
    axes = {name: {0: f"n_{name}"} for name in names} if batch % 3 == 2 and not dynamo else None
    options: dict[str, Any] = {"input_names": names, "output_names": outputs}
    with warnings.catch_warnings(), _silence():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        net = _Beside(made).eval()
        if dynamo:
            opset = (18, 20, 22)[batch % 3]
            program = torch.onnx.export(net, inputs, dynamo=True, opset_version=opset, **options)
            return program.model_proto  # type: ignore[union-attr,no-any-return]
        file = io.BytesIO()
        opset = (11, 13, 9, 14, 17, 20)[batch % 6]
        torch.onnx.export(
            net, inputs, file, dynamo=False, opset_version=opset, dynamic_axes=axes, **options
        )
        return onnx.load_from_string(file.getvalue())


def _cuts(model: ModelProto, made: list[Made]) -> list[tuple[Any, Any]]:
    """Each network's part of a file, as bytes, with the names of its inputs."""
    found = []
    for k, each in enumerate(made):
        names = tuple(f"{name}{k}" for name in each.names)
        cut = _ancestors(model, model.graph.output[k].name)
        there = {value.name for value in cut.graph.input}
        if not there or not there <= {*names}:
            found.append((None, "an input is not read"))
            continue
        found.append((cut.SerializeToString(), names))
    return found


def _ancestors(model: ModelProto, output: str) -> ModelProto:
    """The part of a model that leads to one output."""
    graph, wanted, kept = model.graph, {output}, []
    for node in reversed(graph.node):
        if wanted & {*node.output}:
            kept.append(node)
            wanted |= {*_read(node)}
    part = ModelProto()
    part.CopyFrom(model)
    del part.graph.node[:], part.graph.input[:], part.graph.output[:]
    del part.graph.initializer[:], part.graph.value_info[:]
    part.graph.node.extend(reversed(kept))
    part.graph.input.extend(v for v in graph.input if v.name in wanted)
    part.graph.output.extend(v for v in graph.output if v.name == output)
    part.graph.initializer.extend(t for t in graph.initializer if t.name in wanted)
    made = {name for node in kept for name in node.output}
    part.graph.value_info.extend(v for v in graph.value_info if v.name in made)
    return part


def _read(node: onnx.NodeProto) -> Iterator[str]:
    yield from node.input
    for attribute in node.attribute:
        for inner in attribute.g.node:
            yield from _read(inner)


def _feeds(made: Made, rng: np.random.Generator) -> Iterator[tuple[str, list[np.ndarray]]]:
    """Inputs of all kinds; a mask is zeros and ones."""
    centre, scale = made.centre
    for label in ("normal", "near what is subtracted", "ones", "zeros", "bytes", "1e5", "1e9"):
        arrays = []
        for name, shape in zip(made.names, made.shapes, strict=True):
            if name == "m":
                kind = rng.random()
                drawn = rng.integers(0, 2, shape) if kind < 0.3 else np.full(shape, kind < 0.8)
            elif label == "normal":
                drawn = rng.standard_normal(shape)
            elif label == "bytes":
                drawn = rng.integers(0, 256, shape)
            elif label in ("ones", "zeros"):
                drawn = np.full(shape, float(label == "ones"))
            elif label in ("1e5", "1e9"):
                drawn = float(label) + max(1, float(label) / 2**23) * rng.integers(-8, 9, shape)
            else:
                drawn = centre + scale * rng.standard_normal(shape)
            arrays.append(drawn.astype(np.float32))
        yield label, arrays
