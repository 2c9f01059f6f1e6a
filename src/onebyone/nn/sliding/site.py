"""What is known of a value in a network that slides, and the place where a rule looks and edits.

Beside the tensor T that a node gives at the original size stands the tensor that the converted
network will have there. While T still has its spatial axes the two are one kind of tensor; a T of
shape (N, F) becomes a map (N, F, H', W'), of size 1×1 at the original size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from typing import Any, NoReturn, TypeAlias

from torch import Tensor, fx, nn

from onebyone.algebra.geometry import Axis
from onebyone.algebra.window import Window
from onebyone.errors import UsageError
from onebyone.nn.sliding.trace import Traced

__all__ = ["Maps", "Other", "Rule", "Site", "State"]

LETTERS = ("D, H, W", "H, W", "L")
"""The axes of positions of an image, for messages: of three, two and one."""


@dataclass(frozen=True, slots=True)
class Maps:
    """A value with a position: it slides with the image.

    Of a value that has lost an axis of positions, or was flattened, the converted network has the
    map (N, C, *positions) with all of them; else a tensor of the same axes as the traced one.

    Args:
        along: where its positions look, along each axis of the image.
        axes: of the traced tensor, those of the image; None where it has no such axis any more.
        pending: (C, *sizes) where these were flattened and no linear layer has taken them yet. The
            traced tensor is then (N, F), of axes None; or (N, C, P) or (N, P, C), of axes that are
            all the one of P, which counts the positions.
        order: of the axes of `pending`, in which they were flattened.
    """

    along: tuple[Axis, ...]
    axes: tuple[int | None, ...]
    pending: tuple[int, ...] = ()
    order: tuple[int, ...] = ()

    @staticmethod
    def image(rank: int) -> Maps:
        """The image itself: (N, C, *sizes), with so many axes of positions."""
        return Maps((Axis(),) * rank, tuple(range(2, 2 + rank)))

    @property
    def rank(self) -> int:
        """How many axes of positions the image has."""
        return len(self.along)

    @property
    def first(self) -> tuple[int, ...]:
        """The axes of positions of a map (N, C, *positions)."""
        return tuple(range(2, 2 + self.rank))

    @property
    def kept(self) -> tuple[int, ...]:
        """The axes of positions that the traced tensor has left."""
        return tuple(axis for axis in self.axes if axis is not None)

    @property
    def is_vector(self) -> bool:
        """Whether the traced tensor is (N, F), and F are the channels of a map."""
        return not self.kept and not self.pending

    @property
    def is_lowered(self) -> bool:
        """Whether the converted network has axes that the traced tensor has not."""
        return bool(self.pending) or None in self.axes

    @property
    def is_image(self) -> bool:
        """Whether the traced tensor is (N, C, *positions), of all axes or of those left."""
        return not self.pending and self.kept == tuple(range(2, 2 + len(self.kept)))

    def then(self, *windows: Window) -> Maps:
        """After a layer of windows, one for each axis of the image."""
        pairs = zip(self.along, windows, strict=True)
        return replace(self, along=tuple(axis.then(Axis.of(window)) for axis, window in pairs))

    def reduced(self, extent: Sequence[int]) -> Maps:
        """After a layer of the head, whose window is the whole feature map: (N, F)."""
        seen = self.then(*(Window(n) for n in extent))
        return replace(seen, axes=(None,) * self.rank, pending=(), order=())

    def seeing_all(self) -> Maps:
        """Where each position depends on the whole image besides."""
        return replace(self, along=tuple(replace(axis, whole=True) for axis in self.along))

    def spread(self, values: Sequence[Any], other: Any) -> tuple[Any, ...]:
        """What is given for the axes that are left, for all: `other` for those that are gone."""
        given = iter(values)
        return tuple(other if axis is None else next(given) for axis in self.axes)


class Other(Enum):
    """A value without a position."""

    CONSTANT = "the same for every image"
    SIZE = "computed from the size of the image"
    WHOLE = "computed from the whole image"


State: TypeAlias = Maps | Other


@dataclass
class Site:
    """One node, with all that a rule may look at, and the ways to say what is to be done about it.

    `edits` collects what is to be done to the graph once all of it is understood, `remarks` what
    makes the conversion inexact, `changes` what becomes of the layers that nodes call. `keep_ceil`
    asks to keep `ceil_mode` where it adds nothing.
    """

    node: fx.Node
    traced: Traced
    states: dict[fx.Node, State]
    signature: tuple[str, ...]
    keep_ceil: bool
    edits: list[Callable[[], None]]
    remarks: list[str]
    changes: dict[fx.Node, object]

    @property
    def operand(self) -> fx.Node:
        """The node that the operation is applied to."""
        return _operand(self.node)

    @property
    def x(self) -> Maps:
        """The state of the operand."""
        state = self.states[self.operand]
        if not isinstance(state, Maps):
            self.refuse(f"its operand is {state.value}")
        return state

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes of the traced operand."""
        return self.traced.shape(self.operand)

    @property
    def module(self) -> nn.Module | None:
        """The layer that the node calls, if it calls one."""
        return self.traced.module(self.node)

    @property
    def name(self) -> str:
        """What the node calls: the class of a layer, or the name of a function or method."""
        return operation(self.node, self.module)

    @property
    def where(self) -> str:
        """The path of the layer, or the name of the node."""
        if self.module is not None:
            return str(self.node.target)
        return f"node {self.node.name}"

    def images(self) -> Maps:
        """The state of an operand (N, C, *positions); refused if it is of another layout."""
        x = self.x
        if not x.is_image or not x.kept or len(self.shape) != 2 + len(x.kept):
            wanted = f"(N, C, {LETTERS[3 - x.rank]})"
            self.refuse(f"got {self.shape}, wanted {wanted} with the channels first")
        return x

    def extent(self) -> tuple[int, ...]:
        """Its sizes at the original size of the image; 1 along an axis that it has lost."""
        x = self.images()
        return x.spread(self.shape[2:], 1)

    def raw(self, name: str) -> Any:
        """An argument as the graph has it; None where it is left out."""
        if self.module is not None:
            return getattr(self.module, name, None)
        return {**dict(zip(self.signature, self.node.args)), **self.node.kwargs}.get(name)  # noqa: B905

    def option(self, name: str, default: Any = None) -> Any:
        """An argument at the original size: what is computed there is filled in."""
        value = fx.node.map_arg(self.raw(name), self.traced.results.__getitem__)
        if value is None:
            return default
        return value

    def sized(self, name: str) -> bool:
        """Whether an argument is computed from the size of the image."""
        nodes: list[fx.Node] = []
        fx.node.map_arg(self.raw(name), nodes.append)
        return any(self.states[node] is Other.SIZE for node in nodes)

    def is_head(self) -> bool:
        """Whether all that is computed from this node has one position only."""
        # Only then can a pool of the whole feature map slide: what follows meets one position.
        reached, todo = set[fx.Node](), [self.node]
        while todo:
            node = todo.pop()
            reached.add(node)
            todo.extend(user for user in node.users if user not in reached)
        results = [self.traced.results[node] for node in reached]
        return all(set(r.shape[2:]) <= {1} for r in results if isinstance(r, Tensor))

    def dims(self, value: int | tuple[int, ...] | list[int]) -> set[int]:
        """Axes of the traced operand, counted from the front."""
        many = (value,) if isinstance(value, int) else tuple(value)
        return {dim % len(self.shape) for dim in many}

    def remark(self, what: str) -> None:
        """Note a reason for which the conversion is not exact."""
        self.remarks.append(f"{self.where} ({self.name}) {what}")

    def refuse(
        self, reason: str, fix: str = "rewrite it, or convert the parts around it"
    ) -> NoReturn:
        """Give up, with a line that names the node."""
        raise UsageError(
            f"{self.where} ({self.name}) stands in the way of a sliding network: {reason}; {fix}"
        )

    def bypass(self) -> None:
        """Leave the node out: what it is applied to is already what it gives."""
        node = self.node
        # Not at once: rules further on look at the graph as it was traced.
        self.edits.append(lambda: _leave_out(node))

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Have the node call a function of its operand instead."""
        node = self.node

        def edit() -> None:
            node.args, node.kwargs = (_operand(node), *args), kwargs
            node.op, node.target = "call_function", function

        self.edits.append(edit)

    def set(self, name: str, value: Any) -> None:
        """Give an option of the layer, or of the call, another value."""
        node, module, signature = self.node, self.module, self.signature

        def edit() -> None:
            if module is not None:
                setattr(module, name, value)
                return
            place = signature.index(name)
            if place < len(node.args):
                node.update_arg(place, value)
            else:
                node.update_kwarg(name, value)

        self._edit_layer(edit, (name, value))

    def become(self, layer: nn.Module) -> None:
        """Have the node call another layer, under the name of the old one."""
        network, target = self.traced.network, str(self.node.target)
        edit = partial(network.set_submodule, target, layer)
        self._edit_layer(edit, repr(layer))

    def between(self, before: Sequence[int], after: Sequence[int]) -> None:
        """Permute the axes before and after the node."""
        node = self.node

        def edit() -> None:
            x, users = _operand(node), list(node.users)
            with node.graph.inserting_before(node):
                node.replace_input_with(x, node.graph.call_method("permute", (x, *before)))
            # Only who read the node before: the permutation itself reads it now, too.
            with node.graph.inserting_after(node):
                back = node.graph.call_method("permute", (node, *after))
            for user in users:
                user.replace_input_with(node, back)

        self.edits.append(edit)

    def channels_first(self) -> None:
        """Give the node its operand as (N, C, *positions)."""
        x, node, rank = self.x, self.node, len(self.shape)
        if x.is_lowered or x.is_image:
            return
        (channels,) = {*range(1, rank)} - {*x.kept}

        def edit() -> None:
            operand = _operand(node)
            with node.graph.inserting_before(node):
                turned = node.graph.call_method("permute", (operand, 0, channels, *x.kept))
            node.replace_input_with(operand, turned)

        self.edits.append(edit)

    def _edit_layer(self, edit: Callable[[], None], what: object) -> None:
        """A layer that is called more than once is edited for all calls: they have to agree."""
        if self.node.op == "call_module":
            self.changes[self.node] = what
        self.edits.append(edit)


def _operand(node: fx.Node) -> fx.Node:
    first = node.args[0] if node.args else next(iter(node.kwargs.values()))
    assert isinstance(first, fx.Node)
    return first


def _leave_out(node: fx.Node) -> None:
    node.replace_all_uses_with(_operand(node))


Rule: TypeAlias = Callable[[Site], State]


def operation(node: fx.Node, module: nn.Module | None) -> str:
    """What a node calls: the class of a layer, or the name of a function or method."""
    if module is not None:
        return type(module).__name__
    return str(getattr(node.target, "__name__", node.target)).rstrip("_")
