"""Operations that write over their operand, made visible in a graph.

    y.relu_(); z = f(y)      f reads what relu_ gives, although its argument is y

A graph shows what reads what. So a reader of a tensor that was written over is given the result of
the writing in its place: the same memory, and now nothing looks unused that is not.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor, fx, nn

__all__ = ["aliased", "rerouted", "written"]

_OPERATORS = frozenset({"iadd", "isub", "imul", "itruediv"})


def rerouted(graph: fx.Graph, modules: Mapping[str, nn.Module]) -> None:
    """Have whoever reads a tensor after it was written over read the result of that.

    >>> graph = fx.Graph()
    >>> x = graph.placeholder("x")
    >>> _ = graph.call_method("relu_", (x,))
    >>> rerouted(graph, {}) if graph.output(x) else None
    >>> [str(node.args) for node in graph.nodes]
    ['()', '(x,)', '(relu_,)']
    """
    latest: dict[fx.Node, fx.Node] = {}
    for node in graph.nodes:
        for read in node.all_input_nodes:
            # Written over more than once, it is the last writing that counts.
            now = read
            while now in latest:
                now = latest[now]
            if now is not read:
                node.replace_input_with(read, now)
        over = written(node, modules)
        if over is not None:
            latest[over] = node


def written(node: fx.Node, modules: Mapping[str, nn.Module]) -> fx.Node | None:
    """The node whose tensor this one writes over, if it does.

    >>> graph = fx.Graph()
    >>> x = graph.placeholder("x")
    >>> written(graph.call_module("act", (x,)), {"act": nn.ReLU(inplace=True)})
    x
    """
    if node.op == "call_module":
        over = getattr(modules.get(str(node.target)), "inplace", False) is True
    else:
        name = str(getattr(node.target, "__name__", node.target))
        # PyTorch's convention: a name that ends in one underscore writes into its first argument.
        over = name in _OPERATORS or (name.endswith("_") and not name.endswith("__"))
        over = over or _option(node, "inplace") is True
    first: Any = node.kwargs.get("out")
    if first is None and over and node.args:
        first = node.args[0]
    if isinstance(first, fx.Node):
        return first
    return None


def aliased(network: fx.GraphModule, results: Mapping[fx.Node, Any]) -> fx.Node | None:
    """A node that writes over what is read afterwards under another name, through a view.

    A view of a part (`x[:, :, 1:].relu_()`) leaves the other positions of x as they were.

    Args:
        results: what each node gives; the memory of its tensors tells which are views.
    """
    modules = dict(network.named_modules())
    place: dict[fx.Node, int] = {node: i for i, node in enumerate(network.graph.nodes)}
    for node in place:
        over = written(node, modules)
        # Of two nodes with one memory the graph cannot say that one is read after the other is
        # written: it has no order but that of the nodes.
        if over is not None and any(
            other is not over
            and _memory(results[other]) == _memory(results[over])
            and max((place[user] for user in other.users), default=0) > place[node]
            for other in list(place)[: place[node]]
        ):
            return node
    return None


def _memory(value: object) -> int:
    if isinstance(value, Tensor):
        return int(value.untyped_storage()._cdata)
    return id(value)


def _option(node: fx.Node, name: str) -> Any:
    """An argument of a function of Python, given by name or by position."""
    if name in node.kwargs or node.op != "call_function":
        return node.kwargs.get(name)
    try:
        names = list(inspect.signature(node.target).parameters)  # type: ignore[arg-type]
    except (TypeError, ValueError):  # a function of C
        return None
    return dict(zip(names, node.args, strict=False)).get(name)
