"""A classifier as a graph, with what each node gives at the original image size.

The graph is `torch.fx`'s symbolic trace: PyTorch's own layers, `Pointwise` and `ClassMaps` stay
whole, all else is looked into. The results are those of fake tensors: sizes, nothing computed.

Where the model decides something by a size, or takes it for a number, that is the size at the
original image: a crop has no other, so that each position gives what the model gives for its crop.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
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

__all__ = ["Traced", "image", "run_fake", "trace"]

BATCH = 2  # above one, so that what is the batch shows, and batch norm has something to norm
OTHER_BATCHES = (3, 1)  # what is not the same for these depends on the number of images


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
    """Draws the graph, and knows the sizes at the original image as far as it is drawn."""

    def __init__(self, example: Tensor | None = None) -> None:
        super().__init__()
        # Without an example it only draws again what it drew, as unpickling a graph does.
        batches = () if example is None else (BATCH, *OTHER_BATCHES)
        self.images = [example.new_empty(n, *example.shape[1:]) for n in batches]  # type: ignore[union-attr]
        self.drawn: list[_Drawn] = []

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Number(node, self)

    def to_bool(self, obj: fx.Proxy) -> bool:
        known = self.known(obj)
        return super().to_bool(obj) if known is None else bool(known)

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        known = self.known(obj)
        if not isinstance(known, tuple):
            return super().iter(obj)
        return iter([obj[i] for i in range(len(known))])  # type: ignore[index]

    def known(self, obj: fx.Proxy) -> Any:
        """A number, or sizes, at the original image; None for what is neither, or not known."""
        self.drawn = self.drawn or [_Drawn(self.root, self.graph, x) for x in self.images]
        value, *others = (run.value(obj.node) for run in self.drawn)
        if isinstance(value, tuple):  # the number of images is one of the sizes
            return value
        fixed = isinstance(value, bool | int | float) and all(other == value for other in others)
        return value if fixed else None

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether m stays one node."""
        return isinstance(m, Pointwise | ClassMaps) or super().is_leaf_module(
            m, module_qualified_name
        )


def _in_place(function: Callable[[Any, Any], Any]) -> Callable[[fx.Proxy, Any], fx.Proxy]:
    """`x += y` as what it is; `torch.fx` takes it for x = x + y."""

    def write(x: fx.Proxy, y: Any) -> fx.Proxy:
        return x.tracer.create_proxy("call_function", function, (x, y), {})

    return write


class _Number(fx.Proxy):
    """A value in a graph that can be taken for a number, where that is known."""

    __iadd__, __isub__ = _in_place(operator.iadd), _in_place(operator.isub)
    __imul__, __itruediv__ = _in_place(operator.imul), _in_place(operator.itruediv)

    def __int__(self) -> int:
        return int(self._known())

    def __index__(self) -> int:
        return int(self._known())

    def __float__(self) -> float:
        return float(self._known())

    def _known(self) -> Any:
        assert isinstance(self.tracer, _Tracer)
        known = self.tracer.known(self)
        if not isinstance(known, int | float):
            raise TypeError("what depends on the images or on how many there are is no number here")
        return known


class _Drawn(fx.Interpreter):
    """Runs a graph on an image without numbers, as far as it is drawn."""

    def __init__(self, root: nn.Module, graph: fx.Graph, image: Tensor) -> None:
        super().__init__(root, garbage_collect_values=False, graph=graph)
        self.fake = FakeTensorMode(allow_non_fake_inputs=True)
        self.args_iter = iter([self.fake.from_tensor(image)])

    def value(self, node: fx.Node) -> Any:
        """What a node gives."""
        with self.fake, _untraced(), torch.no_grad():
            for drawn in self.graph.nodes:
                if drawn not in self.env:
                    self.env[drawn] = self.run_node(drawn)
        return self.env[node]


# While it traces, `torch.fx` has functions of its own in these places, which draw what they run.
_PATCHED = {name: getattr(nn.Module, name) for name in ("__call__", "__getattr__")}


@contextmanager
def _untraced() -> Iterator[None]:
    """Modules run as they do outside of a trace."""
    tracing = {name: getattr(nn.Module, name) for name in _PATCHED}
    _put(_PATCHED)
    try:
        yield
    finally:
        _put(tracing)


def _put(methods: Mapping[str, Any]) -> None:
    for name, method in methods.items():
        setattr(nn.Module, name, method)


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
        graph = _Tracer(example).trace(model, concrete_args=_defaults(model))
    except Exception as error:  # whatever the model's own code raises when it meets a proxy
        raise UsageError(
            f"got a {type(model).__name__} that torch.fx cannot trace ({_first_line(error)}), "
            "wanted a forward whose control flow does not depend on the numbers in its images, or "
            "on how many there are: rewrite that line, or convert the part that can be traced"
        ) from error
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
    for module in model.modules():
        if isinstance(module, nn.Conv1d | nn.Conv3d):
            found = type(module).__name__
            axes = (
                "one axis of positions is" if found == "Conv1d" else "three axes of positions are"
            )
            raise UsageError(f"got a {found}: {axes} not supported, wanted images")
    raise UsageError("got (H, W) for a model without a convolution, wanted (C, H, W)")


def _defaults(model: nn.Module) -> dict[str, Any]:
    """The arguments of forward after the image, at their defaults: flags that choose a branch."""
    parameters = list(inspect.signature(model.forward).parameters.values())[1:]
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
