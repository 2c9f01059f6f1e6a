"""The functions that take an ONNX model or a PyTorch module alike.

PyTorch is imported by whoever has a module; here its name is looked up among the modules that are
imported already, so that counting an ONNX file never waits for it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from onebyone.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import onnx
    import onnx_ir as ir

    from onebyone.algebra.rank import Rank
    from onebyone.cost.profile import Profile
    from onebyone.counting.value import Count
    from onebyone.graph.receptive import ModelGeometry
    from onebyone.optimize.run import Optimized

__all__ = ["count", "geometry", "optimize", "rank"]


def optimize(
    source: str | os.PathLike[str] | onnx.ModelProto | ir.Model | Any,
    example: Any = None,
    *,
    export: Mapping[str, Any] | None = None,
    only: Collection[str] | None = None,
    without: Collection[str] = (),
    also: Collection[str] = (),
    shapes: Mapping[str, Sequence[int]] | None = None,
    data: Mapping[str, np.ndarray] | None = None,
    profile: Profile | str | os.PathLike[str] | None = None,
    lost_bits: float | None = None,
    winograd_memory: float | None = None,
    verify: bool = True,
    progress: Callable[[str, int, int], None] | None = None,
) -> Optimized:
    """Rewrite a model into an equal one that costs less, and prove it equal.

    Args:
        source: an ONNX model (a path, an `onnx.ModelProto`, an `onnx_ir.Model`, a
            `torch.onnx.ONNXProgram`), or a `torch.nn.Module`, which is exported first, as it is
            in evaluation mode. It is not changed.
        example: for a module what to call it with: a tensor, a tuple of arguments or a dictionary
            of keyword arguments.
        export: for a module, options of `torch.onnx.export`: `{"dynamo": False}` for the
            TorchScript exporter, `{"dynamic_shapes": ({0: "batch"},)}` for an open batch.
        only, without: names of laws to use alone, or to leave out.
        also: names of laws to use beside the usual ones: "winograd", which is used only where it is
            asked for.
        shapes: sizes to decide for, by input name, where an input is dynamic; the result is valid
            for all sizes. Otherwise those of `data`, or batch 1, sequence 128, image 224.
        data: the caller's own inputs, by name, for verification.
        profile: the machine to decide for, or the path of its JSON.
        lost_bits: the digits, in bits, that a rewrite may lose where the original cancels exactly
            (docs/numerics.md); what would lose more is refused. 4 if not given.
        winograd_memory: the law winograd leaves a layer where the peak memory of activations would
            be more than so many times the original's; other laws do not ask. No limit if not given.
        verify: whether to run both models and compare; without it there is no certificate.
        progress: called with (stage, done, total).

    Returns:
        The new model and the report; `report.certificate.passed` says whether it may be used. Of a
        module the report compares with the model that PyTorch exported.

    Raises:
        UnreadableModel: the source is no usable ONNX model, or contradicts itself.
        UsageError: a module without an example, or that PyTorch cannot export; an unknown law, a
            shape or data that do not fit, an unusable profile, a limit that is none or has no use.
    """
    from onebyone.optimize.run import optimize as optimize_onnx

    # A module is exported first; from there on there is one way for both.
    if _is_torch(source, "nn.Module"):
        from onebyone.nn.to_onnx import to_onnx

        source = to_onnx(cast("Any", source), example, export)
    elif example is not None or export is not None:
        raise UsageError(
            "got an example of the input and no module, wanted shapes={'input': (1, 3)}"
        )
    return optimize_onnx(
        source,
        only=only,
        without=without,
        also=also,
        shapes=shapes,
        data=data,
        profile=profile,
        lost_bits=lost_bits,
        winograd_memory=winograd_memory,
        verify=verify,
        progress=progress,
    )


def count(
    target: str | os.PathLike[str] | onnx.ModelProto | ir.Model | Any,
    example: Mapping[str, Sequence[int]] | Any = None,
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
) -> Count:
    """Count what a model holds, computes and moves; 1 MAC = 2 FLOPs.

    Args:
        target: an ONNX model (a path, an `onnx.ModelProto`, an `onnx_ir.Model`, a
            `torch.onnx.ONNXProgram`), or a `torch.nn.Module`.
        example: for ONNX the shapes of inputs by name; what is left open then is of the usual
            size: batch 1, sequence 128, image 224. For a module what to call it with: a tensor, a
            tuple of arguments or a dictionary of keyword arguments (`onebyone.nn.count.count`).
        shapes: for ONNX, another name of `example`, that of `optimize` and `verify`.

    Raises:
        UnreadableModel: the target is no usable ONNX model.
        UsageError: sizes do not fit; shapes are given for a module, or twice.

    >>> from onnx import parser
    >>> model = parser.parse_model('''<ir_version: 8, opset_import: ["": 17]>
    ...     g (float[1, 3, 5, 7] x) => (float[1, 4, 5, 7] y) <float[4, 3, 1, 1] W = {
    ...     1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}> { y = Conv(x, W) }''')
    >>> counted = count(model)
    >>> counted.parameters, counted.macs, counted.pointwise_share
    (12, 420, 1.0)
    """
    is_module = _is_torch(target, "nn.Module")
    if shapes is not None and (is_module or example is not None):
        if is_module:
            raise UsageError("got shapes for a module, wanted an example: torch.empty(1, 3, 8, 8)")
        raise UsageError("got an example and shapes, wanted them once: shapes={'input': (1, 3)}")
    if is_module:
        from onebyone.nn.count import count as count_module

        return count_module(cast("Any", target), example)
    from onebyone.graph.count import count as count_onnx

    return count_onnx(target, example if shapes is None else shapes)


def geometry(
    target: str | os.PathLike[str] | onnx.ModelProto | ir.Model | Any,
    example: Any = None,
    *,
    image: str | None = None,
    export: Mapping[str, Any] | None = None,
) -> ModelGeometry:
    """Stride, receptive field, padding, offset and period of the outputs and of every layer.

    Args:
        target: an ONNX model (a path, an `onnx.ModelProto`, an `onnx_ir.Model`, a
            `torch.onnx.ONNXProgram`), or a `torch.nn.Module`, which is exported first. Its image
            has one, two or three axes of positions: signals, images, volumes.
        example: for a module what to call it with; the sizes play no part.
        image: the name of the input that is the image, where several could be.
        export: for a module, options of `torch.onnx.export`.

    Raises:
        UnreadableModel: the target is no usable ONNX model.
        UsageError: a module without an example, or that PyTorch cannot export; no input N×C×H×W.

    >>> from onnx import parser
    >>> model = parser.parse_model('''<ir_version: 8, opset_import: ["": 17]>
    ...     g (float[1, 3, 224] x) => (float[1, 3, m] y) {
    ...     z = MaxPool<kernel_shape = [5], strides = [2]>(x)
    ...     y = MaxPool<kernel_shape = [3]>(z) }''')
    >>> geometry(model)
    <ModelGeometry: y: stride 2, receptive field 9>
    """
    from onebyone.graph.receptive import geometry as geometry_of_onnx

    if _is_torch(target, "nn.Module"):
        from onebyone.nn.to_onnx import to_onnx

        target = to_onnx(cast("Any", target), example, export)
    elif example is not None or export is not None:
        raise UsageError("got an example and no module, wanted an ONNX model alone")
    return geometry_of_onnx(target, image)


def rank(target: np.ndarray | Any, example: Any = None, **options: Any) -> Rank:
    """How many output channels are linearly independent, and what follows.

    Args:
        target: a matrix (C_out, C_in) or a convolution's weight, as an array or a tensor; or a
            `torch.nn.Module`.
        example: for a module that is more than one linear layer, what to call it with.
        options: for an array those of `onebyone.algebra.rank.rank` (`bias`, `groups`), for a
            tensor or module those of `onebyone.nn.rank.rank` (`channel_dim`).

    Raises:
        UsageError: no matrix, no finite numbers, a module that wants an example, an array with one.

    >>> import numpy as np
    >>> rank(np.array([[1, 0], [0, 1], [1, 1]]), bias=np.array([0, 0, 1])).rank
    3
    """
    if _is_torch(target, "nn.Module") or _is_torch(target, "Tensor"):
        from onebyone.nn.rank import rank as rank_of_module

        return rank_of_module(cast("Any", target), example, **options)
    if example is not None:
        raise UsageError(
            "got an array and an example, wanted an example for PyTorch modules only: "
            "give a bias as bias=…"
        )
    from onebyone.algebra.rank import rank as rank_of_matrix

    return rank_of_matrix(target, **options)


def _is_torch(target: object, name: str) -> bool:
    """Whether it is of the class torch.`name`; it cannot be while torch is not imported."""
    # Looked up and not imported: who has a module, or a tensor, has imported PyTorch.
    found: Any = sys.modules.get("torch")
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is not None and isinstance(target, found)
