"""A module drawn as a graph: the one symbolic tracer of this package.

It is `torch.fx`'s, with three things besides. Layers that the caller names stay whole. A module
that decides something by a size, or takes a size for a number, gets the size that it has for an
example, if there is one: the graph drawn so far is run on tensors without numbers. And what is
written in place is drawn as that: `torch.fx` takes x += y for x = x + y.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode

__all__ = ["BATCH", "Tracer", "draw"]

BATCH = 2  # above one, so that what is the batch shows, and batch norm has something to norm
OTHER_BATCHES = (3, 1)  # what is not the same for these depends on the number of images


def draw(module: nn.Module, tracer: Tracer) -> fx.Graph:
    """The graph of a module's `forward`; what has a default besides its first argument keeps it.

    Raises:
        Exception: whatever the module's code raises when it meets a value without numbers.
    """
    parameters = list(inspect.signature(module.forward).parameters.values())[1:]
    # Flags that choose a branch would else be values of the graph, and no branch could be chosen.
    flags = {p.name: p.default for p in parameters if p.default is not p.empty}
    return tracer.trace(module, concrete_args=flags)


class Tracer(fx.Tracer):
    """Draws the graph of a module, and knows sizes as far as it is drawn.

    Args:
        example: a batch of images. Sizes that the module asks for are those of its images, whatever
            their number; without an example nothing is known, as when a graph is unpickled.
        whole: classes whose modules stay one node, besides PyTorch's own layers.
        buffers: draw each reading of a buffer too, not only those whose result is used.
    """

    def __init__(
        self,
        example: Tensor | None = None,
        whole: tuple[type[nn.Module], ...] = (),
        *,
        buffers: bool = False,
    ) -> None:
        super().__init__()
        self.whole, self.proxy_buffer_attributes = whole, buffers
        batches = () if example is None else (BATCH, *OTHER_BATCHES)
        self.images = [example.new_empty(n, *example.shape[1:]) for n in batches]  # type: ignore[union-attr]
        self.drawn: list[_Drawn] = []

    # From here to `known` these are hooks of torch.fx, called while it draws.
    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Number(node, self)

    def to_bool(self, obj: fx.Proxy) -> bool:
        known = self.known(obj)
        if known is None:
            return super().to_bool(obj)
        return bool(known)

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        known = self.known(obj)
        if not isinstance(known, tuple):
            return super().iter(obj)
        return iter([obj[i] for i in range(len(known))])  # type: ignore[index]

    def known(self, obj: fx.Proxy) -> Any:
        """A number, or sizes, at the original image; None for what is neither, or not known."""
        if not self.images:
            return None
        # One run for each number of images goes on from node to node: none is computed twice.
        self.drawn = self.drawn or [_Drawn(self.root, self.graph, x) for x in self.images]
        value, *others = (run.value(obj.node) for run in self.drawn)
        if isinstance(value, tuple):  # the number of images is one of the sizes
            return value
        fixed = isinstance(value, bool | int | float) and all(other == value for other in others)
        # A number that changes with how many images there are is none of the module's own.
        if fixed:
            return value
        return None

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether m stays one node."""
        return isinstance(m, self.whole) or super().is_leaf_module(m, module_qualified_name)


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
        assert isinstance(self.tracer, Tracer)
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
