"""Record what a module runs, operator by operator, by PyTorch's dispatch: nothing is patched.

A *view* shares the memory of what it was made from; it is no step, and a tensor is told apart by
its memory and by how often that was written. A tensor is *constant* if it was computed from
parameters, buffers and other stored tensors alone: W.t(), W + B @ A. Its *origins* are the
parameters and buffers among them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count as numbers
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from onebyone.counting.formulas import Shape, Work
from onebyone.nn.count_formulas import recurrence_of, work_of

__all__ = ["Operand", "Recorder", "Recurrences", "Step", "tracked"]

RECURRENCES = frozenset({"gru", "lstm", "rnn_relu", "rnn_tanh"})
# They read the shape and the type of what they are given, never a number.
_UNREAD = frozenset(
    f"{verb}_{what}"
    for verb, whats in {
        "empty": ["like"],
        "full": ["like"],
        "ones": ["like"],
        "zeros": ["like"],
        "new": ["empty", "empty_strided", "full", "ones", "zeros"],
    }.items()
    for what in whats
)
# They write over their first argument without reading it.
_OVERWRITES = frozenset({"copy_", "fill_", "zero_"})


@dataclass(frozen=True)
class Operand:
    """A tensor as an operator reads or writes it.

    Args:
        value: a number for its contents; views of them have the same.
        shape: its sizes.
        bytes: of the elements in memory that it covers: an expanded axis adds none.
        offset: where in its memory it begins, to tell views apart.
        integral: whether its type is an integer or a truth value.
        constant: whether it does not depend on the input.
        origins: the parameters and buffers that a constant is computed from.
    """

    value: int
    shape: Shape
    bytes: int
    offset: int
    integral: bool
    constant: bool
    origins: tuple[str, ...]


@dataclass(frozen=True)
class Step:
    """One operator that ran: the path of the module that ran it, and what it read and wrote."""

    path: str
    op: str
    inputs: tuple[Operand, ...]
    outputs: tuple[Operand, ...]
    work: Work | None

    @property
    def constant(self) -> bool:
        """Whether it computed on constants alone."""
        return all(output.constant for output in self.outputs)


@dataclass
class _Memory:
    """What is known of a storage. The reference keeps its address from being given out again."""

    owner: object
    value: int
    constant: bool
    origins: tuple[str, ...] = ()


@dataclass
class Ledger:
    """What each storage holds, and whose tensors are weights.

    Args:
        weights: the name of each parameter and buffer, by the tensor's identity.
    """

    weights: Mapping[int, str]
    memories: dict[object, _Memory] = field(default_factory=dict)
    fresh: Iterator[int] = field(default_factory=numbers)

    def write(self, tensor: Tensor, constant: bool, origins: tuple[str, ...] = ()) -> None:
        """From now on the memory of `tensor` holds something new."""
        key, owner = _storage(tensor)
        self.memories[key] = _Memory(owner, next(self.fresh), constant, origins)

    def operand(self, tensor: Tensor) -> Operand:
        """The tensor as it is now; one that no operator made is a stored constant."""
        key, _ = _storage(tensor)
        if key not in self.memories:
            self.write(tensor, constant=True)
        memory = self.memories[key]
        name = self.weights.get(id(tensor))
        return Operand(
            memory.value,
            tuple(tensor.shape),
            _covered(tensor),
            int(tensor.storage_offset()) if tensor.layout is torch.strided else 0,
            not (tensor.is_floating_point() or tensor.is_complex()),
            memory.constant,
            (name,) if name and memory.constant else memory.origins,
        )

    def is_constant(self, tensor: object) -> bool:
        """Whether it is a tensor that does not depend on the input."""
        return isinstance(tensor, Tensor) and self.operand(tensor).constant


def _storage(tensor: Tensor) -> tuple[object, object]:
    """What tells the memory of a tensor from that of others, and what keeps it so."""
    if tensor.layout is not torch.strided:
        return ("no storage", id(tensor)), tensor
    # Weak, so that recording keeps no activation alive, and still no address is given out twice.
    reference = StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]
    return reference.cdata, reference


def _covered(tensor: Tensor) -> int:
    if tensor.layout is not torch.strided:
        return int(tensor.numel() * tensor.element_size())
    axes = zip(tensor.shape, tensor.stride(), strict=True)
    # An expanded axis has step 0: all its positions are one element.
    elements = prod(size if step or not size else 1 for size, step in axes)
    return elements * tensor.element_size()


def tensors(tree: object) -> list[Tensor]:
    """The tensors in nested arguments or results, in order."""
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While it is entered, each operator becomes a step.

    Args:
        ledger: with the module's weights.
        inputs: what the module is called with.
    """

    supports_higher_order_operators = True

    def __init__(self, ledger: Ledger, inputs: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.ledger = ledger
        self.steps: list[Step] = []
        self.paths = [""]
        self.silent = False
        for tensor in inputs:
            ledger.write(tensor, constant=False)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        """Run the operator; record it unless it consists of others, which are then recorded."""
        kwargs = kwargs or {}
        if _may_decompose(func):
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        read = tensors((args, kwargs))
        if self.silent:
            return func(*args, **kwargs)
        # Before the call: afterwards what it wrote over is something else.
        operands = [self.ledger.operand(tensor) for tensor in read]
        result = func(*args, **kwargs)
        work = work_of(func, args, kwargs, result, self.ledger.is_constant)
        self.note(operator(func), read, operands, result, work, _facts(func, args, kwargs))
        return result

    def note(
        self,
        op: str,
        read: list[Tensor],
        operands: list[Operand],
        result: object,
        work: Work | None,
        facts: Facts,
    ) -> None:
        """Record one operator, that read `read` when they were `operands`, and gave `result`."""
        # Random numbers differ from call to call: what is made of them is no weight.
        constant = not facts.random and (op in _UNREAD or all(o.constant for o in operands))
        origins = tuple(dict.fromkeys(name for o in operands for name in o.origins))
        # What shares memory with what was read, and was not written to, is a view of it.
        shared = {_storage(tensor)[0] for tensor in read} - {
            _storage(tensor)[0] for tensor in facts.written
        }
        results = [t for t in tensors(result) if _storage(t)[0] not in shared]
        written = list({id(tensor): tensor for tensor in (*results, *facts.written)}.values())
        for tensor in written:
            self.ledger.write(tensor, constant, origins if constant else ())
        if facts.view or not written:
            return
        kept = zip(read, operands, strict=True)
        overwritten = op in _OVERWRITES
        inputs = [o for t, o in kept if not (overwritten and any(t is w for w in facts.written))]
        outputs = [self.ledger.operand(tensor) for tensor in written]
        self.steps.append(Step(self.paths[-1], op, tuple(inputs), tuple(outputs), work))


class Recurrences(TorchFunctionMode):
    """While it is entered, each LSTM, GRU or RNN is one step, whatever PyTorch makes of it."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name not in RECURRENCES or self.recorder.silent:
            return func(*args, **kwargs)
        # What PyTorch makes of it (one kernel, or one step at a time) hangs on the device.
        read = tensors((args, kwargs))
        operands = [self.recorder.ledger.operand(tensor) for tensor in read]
        self.recorder.silent = True
        try:
            result = func(*args, **kwargs)
        finally:
            self.recorder.silent = False
        self.recorder.note(name, read, operands, result, recurrence_of(args), Facts())
        return result


@dataclass(frozen=True)
class Facts:
    """What an operator's schema says.

    Args:
        written: the tensors that it writes to.
        random: whether it draws numbers.
        view: whether it gives views of what it reads. These have memory of their own where a
            stored tensor, which has numbers, is viewed by one that has none. One that turns its
            argument into a view of itself (`squeeze_`) writes nothing.
    """

    written: tuple[Tensor, ...] = ()
    random: bool = False
    view: bool = False


def _facts(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Facts:
    if not isinstance(func, torch._ops.OpOverload):
        return Facts()  # operators of a higher order have no schema
    schema = func._schema.arguments
    given = [*zip(schema, args, strict=False), *((a, kwargs.get(a.name)) for a in schema)]
    writes = [value for a, value in given if a.alias_info is not None and a.alias_info.is_write]
    random = torch.Tag.nondeterministic_seeded in func.tags
    returned = [r.alias_info for r in func._schema.returns if r.alias_info is not None]
    if torch.Tag.inplace_view in func.tags:
        return Facts((), random, view=True)
    view = bool(returned) and not any(alias.is_write for alias in returned)
    return Facts(tuple(tensors(writes)), random, view)


def _may_decompose(func: Any) -> bool:
    """Whether asking is allowed: operators of TorchScript's runtime (prim) do not exist there."""
    return isinstance(func, torch._ops.OpOverload) and func.namespace != "prim"


def operator(func: Any) -> str:
    """`convolution`, `mylibrary::operator`, `higher_order::cond`."""
    full = str(func.name())
    if not isinstance(func, torch._ops.OpOverload):
        return f"higher_order::{full}"
    namespace, _, name = full.rpartition("::")
    name = name.partition(".")[0]
    if namespace in ("", "aten"):
        return name
    return f"{namespace}::{name}"


@contextmanager
def tracked(
    module: nn.Module, enter: Callable[[str], None], leave: Callable[[], object]
) -> Iterator[None]:
    """Say which submodule runs, by hooks on each; they are gone afterwards."""
    # First before all other hooks and last behind them: what they run belongs to the module.
    handles = []
    for name, part in module.named_modules():
        if not isinstance(part, torch.jit.ScriptModule):
            handles.append(part.register_forward_pre_hook(_calling(enter, name), prepend=True))
            handles.append(part.register_forward_hook(_calling(leave), always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _calling(action: Callable[..., object], *words: str) -> Callable[..., None]:
    """A hook; it returns nothing, since what a hook returns takes the place of the result."""

    def hook(*_: object) -> None:
        action(*words)

    return hook
