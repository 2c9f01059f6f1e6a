"""A classifier as a graph, with what each node gives at the original image size.

PyTorch's own layers, `Pointwise` and `ClassMaps` stay whole in the graph, all else is looked into.
The results are those of fake tensors: sizes, nothing computed.

Where the model decides something by a size, or takes it for a number, that is the size at the
original image: a crop has no other, so that each position gives what the model gives for its crop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from onebyone.errors import UsageError
from onebyone.nn.class_maps import ClassMaps
from onebyone.nn.copies import stored
from onebyone.nn.pointwise import Pointwise
from onebyone.nn.sliding.inplace import aliased, rerouted
from onebyone.nn.tracing import BATCH, Tracer, draw

__all__ = ["Traced", "image", "run_fake", "trace"]


@dataclass(frozen=True)
class Traced:
    """A copy of the network as a graph, and what each of its nodes gives for `image`."""

    network: fx.GraphModule
    results: dict[fx.Node, Any]

    def shape(self, node: fx.Node) -> tuple[int, ...]:
        """The sizes of the tensor that a node gives."""
        return tuple(self.results[node].shape)

    def module(self, node: fx.Node) -> nn.Module | None:
        """The layer that a node calls, if it calls one."""
        if node.op != "call_module":
            return None
        return self.network.get_submodule(str(node.target))


class _Recorder(fx.Interpreter):
    """Runs a graph and keeps what each node gives."""

    def __init__(self, network: fx.GraphModule) -> None:
        super().__init__(network, garbage_collect_values=False)
        self.results: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        self.results[n] = super().run_node(n)
        return self.results[n]


def trace(model: nn.Module, example: Tensor) -> Traced:
    """A copy of the model as a graph, with its results on a batch of images like `example`.

    Raises:
        UsageError: the model cannot be traced, or does not run on such images.
    """
    model = stored(model)
    try:
        graph = draw(model, Tracer(example, (Pointwise, ClassMaps)))
    except Exception as error:  # whatever the model's own code raises when it meets a proxy
        raise UsageError(
            f"got a {type(model).__name__} that torch.fx cannot trace ({_first_line(error)}), "
            "wanted a forward whose control flow does not depend on the numbers in its images, or "
            "on how many there are: rewrite that line, or convert the part that can be traced"
        ) from error
    # From here on, who reads a node reads what its memory holds then.
    rerouted(graph, dict(model.named_modules()))
    for node in graph.nodes:
        node.type = None  # as text (PEP 563) an annotation cannot be pickled
    network = fx.GraphModule(model, graph, type(model).__name__)
    results = run_fake(network, example)
    writer = aliased(network, results)
    if writer is not None:
        raise UsageError(
            f"got node {writer.name}, which writes in place to what is read under another name "
            "after it, wanted its result to be read: drop the in-place form"
        )
    return Traced(network, results)


def run_fake(network: fx.GraphModule, example: Tensor) -> dict[fx.Node, Any]:
    """What each node gives for a batch like `example`: fake tensors, of the sizes of the real.

    Raises:
        UsageError: the network does not run on such images.
    """
    recorder = _Recorder(network)
    try:
        with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
            recorder.run(torch.empty_like(example))
    except Exception as error:  # whatever the network raises
        raise UsageError(
            f"got a network that does not run on images of {tuple(example.shape[1:])} "
            f"({_first_line(error)}): give the (C, H, W) that it was made for"
        ) from error
    return recorder.results


def image(model: nn.Module, size: int | tuple[int, ...] | Tensor) -> Tensor:
    """A batch of images of the original size, on the model's device and of its dtype.

    `size` is that of a square, (H, W), (C, H, W), or an example (N, C, H, W). Without C, it is what
    the first convolution takes.
    """
    if isinstance(size, Tensor):
        shape, like = tuple(size.shape[-3:]), size
    else:
        # Sizes alone: the image is made on the device and of the type of the weights.
        shape = (size, size) if isinstance(size, int) else tuple(size)
        like = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    if len(shape) == 2:
        shape = (_channels(model), *shape)
    if len(shape) != 3 or min(shape) < 1:
        raise UsageError(
            f"got an image size of {shape}, wanted a side, (H, W), (C, H, W) or a batch of images"
        )
    return like.new_empty(BATCH, *shape)


def _channels(model: nn.Module) -> int:
    for module in model.modules():
        if isinstance(module, nn.Conv2d | Pointwise):
            return module.in_channels
    others = {nn.Conv1d: "one axis of positions is", nn.Conv3d: "three axes of positions are"}
    for module in model.modules():
        for kind, axes in others.items():
            if isinstance(module, kind):
                got = type(module).__name__
                raise UsageError(f"got a {got}: {axes} not supported, wanted images")
    raise UsageError("got (H, W) for a model without a convolution, wanted (C, H, W)")


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
