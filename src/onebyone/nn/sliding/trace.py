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
            f"({_first_line(error)}): give the channels and sizes that it was made for"
        ) from error
    return recorder.results


def image(model: nn.Module, size: int | tuple[int, ...] | Tensor) -> Tensor:
    """A batch of images of the original size, on the model's device and of its dtype.

    `size` is a side, that of all axes; the sizes of these; or the channels and these; or an example
    (N, C, *sizes). Without channels, they are what the first convolution takes, which also says how
    many axes there are.
    """
    if isinstance(size, Tensor):
        shape, like = tuple(size.shape[1:]), size
    else:
        # Sizes alone: the image is made on the device and of the type of the weights.
        like = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
        shape = _shape(model, (size,) if isinstance(size, int) else tuple(size))
    if not 2 <= len(shape) <= 4 or min(shape) < 1:
        raise UsageError(
            f"got an image size of {shape}, wanted a side, (H, W), (C, H, W) or a batch of images, "
            "with one or three sizes for signals and volumes"
        )
    return like.new_empty(BATCH, *shape)


def _shape(model: nn.Module, size: tuple[int, ...]) -> tuple[int, ...]:
    """(C, *sizes)."""
    found = _first_convolution(model)
    if found is None and len(size) in (3, 4):
        return size
    if found is None:
        raise UsageError("got (H, W) for a model without a convolution, wanted (C, H, W)")
    channels, rank = found
    sizes = size * rank if len(size) == 1 else size
    if len(sizes) not in (rank, rank + 1):
        raise UsageError(
            f"got an image size of {size} for a model of {rank} axes, wanted a side, {rank} sizes, "
            "the channels and these, or a batch of images"
        )
    if len(sizes) > rank:
        return sizes
    return (channels, *sizes)


def _first_convolution(model: nn.Module) -> tuple[int, int] | None:
    """The channels that the image has, and its axes of positions.

    Convolutions of fewer axes stand behind a mean over some.
    """
    kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    found = list[tuple[int, int]]()
    for module in model.modules():
        if isinstance(module, kinds):
            found.append((module.in_channels, len(module.kernel_size)))
        elif isinstance(module, Pointwise):
            found.append((module.in_channels, 0))
    rank = max((n for _, n in found), default=0)
    # A pointwise layer alone says nothing of axes: an image has two.
    first = next((channels for channels, n in found if n in (0, rank)), None)
    if first is None:
        return None
    return first, rank or 2


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
