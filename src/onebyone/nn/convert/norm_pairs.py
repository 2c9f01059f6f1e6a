"""Which BatchNorms of a network come right after a convolution, and are alone in reading it.

    x → conv → norm → …      the value between conv and norm has one reader, and each is called once

Found in the graph of `forward`. A 1×1 is one node there, as a convolution is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, cast

from torch import fx, nn

from onebyone.errors import UsageError
from onebyone.nn.convert.bridge import NORMS
from onebyone.nn.convert.parameters import CONVOLUTIONS, TRANSPOSED, is_a
from onebyone.nn.copies import computing_hooks
from onebyone.nn.pointwise import Pointwise
from onebyone.nn.tracing import Tracer, draw

__all__ = ["graphs", "is_watched", "norm_pairs"]

Pair = tuple[nn.Module, nn.Module]


def norm_pairs(root: nn.Module) -> list[Pair]:
    """Each layer of a module with the norm that can be fused into it.

    A layer is a convolution, a transposed one or a Pointwise on axis 1, the norm a BatchNorm in
    eval mode of as many channels; neither has hooks.

    Raises:
        UsageError: there are such norms, but the module cannot be traced; the message says why.

    >>> net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.BatchNorm2d(4))
    >>> norm_pairs(net.eval()) == [(net[0], net[1])]
    True
    """
    if not any(_is_fixed(m) for m in root.modules() if m is not root):
        return []
    regions = [(dict(part.named_modules()), list(graph.nodes)) for part, graph in graphs(root)]
    calls: Counter[nn.Module] = Counter()
    read: set[nn.Module] = set()
    for modules, nodes in regions:
        calls.update(modules[str(n.target)] for n in nodes if n.op == "call_module")
        # Who reads a parameter or statistic by itself sees whether it was fused.
        owners = (str(n.target).rpartition(".")[0] for n in nodes if n.op == "get_attr")
        read.update(modules[owner] for owner in owners if owner in modules)
    return [
        pair
        for modules, nodes in regions
        for pair in _neighbours(modules, nodes)
        if _fits(*pair) and all(calls[m] == 1 and m not in read for m in pair)
    ]


def _neighbours(modules: dict[str, nn.Module], nodes: list[fx.Node]) -> Iterator[Pair]:
    """Two modules of which the second alone reads what the first gives."""
    for node in nodes:
        before = node.args[0] if node.op == "call_module" and len(node.args) == 1 else None
        if isinstance(before, fx.Node) and before.op == "call_module" and len(before.users) == 1:
            yield modules[str(before.target)], modules[str(node.target)]


def _fits(layer: nn.Module, norm: nn.Module) -> bool:
    """Whether the norm is one of the layer's output channels, and nobody watches in between."""
    # A BatchNorm takes axis 1 for the channels, and a Linear has them last.
    fusable = is_a(layer, *CONVOLUTIONS, *TRANSPOSED) or (
        is_a(layer, Pointwise) and cast(Pointwise, layer).channel_dim == 1
    )
    if not fusable or not _is_fixed(norm):
        return False
    return (
        not any(map(is_watched, (layer, norm)))
        and cast(Any, layer).out_channels == cast(Any, norm).num_features
    )


def is_watched(module: nn.Module) -> bool:
    """Whether a hook is called with what goes in or out; those that compute weights look away."""
    before = len(module._forward_pre_hooks) - len(computing_hooks(module))
    return bool(module._forward_hooks) or before > 0


def _is_fixed(module: nn.Module) -> bool:
    """Whether it is a BatchNorm that is a fixed map."""
    fixed = is_a(module, *NORMS) and not module.training
    return fixed and cast(Any, module).running_mean is not None


def graphs(root: nn.Module) -> list[tuple[nn.Module, fx.Graph]]:
    """The graph of a module; of a list of modules those of its members.

    Raises:
        UsageError: it cannot be traced, or reaches a module by other ways than its name.

    >>> [(part, graph)] = graphs(nn.Sequential(nn.Conv2d(3, 4, 1)))
    >>> [node.op for node in graph.nodes]
    ['placeholder', 'call_module', 'output']
    """
    if is_a(root, nn.ModuleList, nn.ModuleDict):
        return [graph for part in root.children() for graph in graphs(part)]
    # Who reads a norm's statistics is to be seen, also where nothing comes of it.
    tracer = Tracer(whole=(Pointwise,), buffers=True)
    if tracer.is_leaf_module(root, ""):
        return []
    try:
        return [(root, draw(root, tracer))]
    except Exception as error:  # whatever a forward may raise when it is given a proxy
        raise UsageError(
            f"got {type(root).__name__}, whose forward cannot be traced "
            f"({' '.join(str(error).split())}), wanted no control flow that depends on the input: "
            "convert its parts one by one"
        ) from error
