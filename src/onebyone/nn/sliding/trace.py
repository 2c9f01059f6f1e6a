"""A classifier as a graph, with what each node gives at the original image size.

The graph is `torch.fx`'s symbolic trace: PyTorch's own layers, `Pointwise` and `ClassMaps` stay
whole, all else is looked into. The results are those of fake tensors: sizes, nothing computed.
"""

from __future__ import annotations

import copy
import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from onebyone.errors import UsageError
from onebyone.nn.class_maps import ClassMaps
from onebyone.nn.pointwise import Pointwise

__all__ = ["Traced", "image", "run_fake", "trace"]

BATCH = 2  # above one, so that what is the batch shows, and batch norm has something to norm


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
        return self.network.get_submodule(str(node.target)) if node.op == "call_module" else None


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether m stays one node."""
        return isinstance(m, Pointwise | ClassMaps) or super().is_leaf_module(
            m, module_qualified_name
        )


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
    model = copy.deepcopy(model)
    try:
        graph = _Tracer().trace(model, concrete_args=_defaults(model))
    except Exception as error:  # whatever the model's own code raises when it meets a proxy
        raise UsageError(
            f"got a {type(model).__name__} that torch.fx cannot trace ({_first_line(error)}), "
            "wanted a forward whose control flow does not depend on its input: rewrite that line, "
            "or convert the part of the model that can be traced"
        ) from error
    for node in graph.nodes:
        node.type = None  # as text (PEP 563) an annotation cannot be pickled
    network = fx.GraphModule(model, graph, type(model).__name__)
    return Traced(network, run_fake(network, example))


def run_fake(network: fx.GraphModule, example: Tensor) -> dict[fx.Node, Any]:
    """What each node gives for a batch like `example`: fake tensors, of the sizes of the real.

    Raises:
        UsageError: the network does not run on such images.
    """
    recorder = _Recorder(network)
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
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
    raise UsageError("got (H, W) for a model without a convolution, wanted (C, H, W)")


def _defaults(model: nn.Module) -> dict[str, Any]:
    """The arguments of forward after the image, at their defaults: flags that choose a branch."""
    parameters = list(inspect.signature(model.forward).parameters.values())[1:]
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
