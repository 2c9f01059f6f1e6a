"""A PyTorch module as an ONNX model, by PyTorch's own exporters.

dynamo=True    torch.export, then ONNX: PyTorch's default; needs the package onnxscript
dynamo=False   TorchScript: a trace of one call; needs nothing, and PyTorch no longer extends it
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, cast

import onnx
import onnx_ir as ir
import torch
from torch import nn

from onebyone.errors import UsageError
from onebyone.nn.examples import arguments

__all__ = ["to_onnx"]


def to_onnx(
    module: nn.Module, example: object, options: Mapping[str, Any] | None = None
) -> ir.Model | onnx.ModelProto:
    """Export a module as it is in evaluation mode; the module is left in the mode it is in.

    Args:
        module: any that PyTorch can export.
        example: a tensor, a tuple of arguments, or a dictionary of keyword arguments. Its sizes
            are those of the model, where `options` leave none open.
        options: of `torch.onnx.export`, such as `dynamo=False`, `opset_version=17`,
            `dynamic_shapes=({0: "batch"},)` or, without dynamo, `dynamic_axes={"x": {0: "batch"}}`.

    Raises:
        UsageError: no example, or the exporter fails.

    >>> model = to_onnx(nn.Linear(3, 4), torch.empty(2, 3), {"dynamo": False})
    >>> [node.op_type for node in model.graph.node]
    ['Gemm']
    """
    if example is None:
        raise UsageError("got a module without an example, wanted one: torch.empty(1, 3, 224, 224)")
    args, kwargs = arguments(example)
    asked = {"dynamo": True, **(options or {})}
    # Each part has a mode of its own: a frozen norm in a network that trains stays frozen.
    modes = {part: part.training for part in module.modules()}
    file = io.BytesIO()
    try:
        with _quiet():
            module.eval()
            program = torch.onnx.export(
                module,
                args,
                cast("Any", None if asked["dynamo"] else file),
                kwargs=kwargs,
                **{"verbose": False, **asked},
            )
    except Exception as error:  # the exporters raise whatever comes to hand
        raise UsageError(_failed(error, bool(asked["dynamo"]))) from error
    finally:
        for part, training in modes.items():
            part.training = training
    # The newer exporter gives a program, the older one wrote into the file.
    if program is not None:
        return program.model
    return onnx.load_model_from_string(file.getvalue())


def _failed(error: Exception, dynamo: bool) -> str:
    if isinstance(error, ImportError) and error.name:
        return (
            f"exporting with dynamo needs {error.name}: pip install {error.name}, or dynamo=False"
        )
    words = " ".join(str(error).split()) or type(error).__name__
    other = f"export={{'dynamo': {not dynamo}}}"
    return f"PyTorch cannot export this module: {words[:300]}; the other exporter is {other}"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What the exporters print and warn of on the way is for who develops them."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), open(os.devnull, "w", encoding="utf-8") as nowhere:
            warnings.simplefilter("ignore")
            with contextlib.redirect_stdout(nowhere):
                yield
    finally:
        logger.setLevel(level)
