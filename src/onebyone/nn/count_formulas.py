"""Which arguments of PyTorch's operators the formulas of `onebyone.counting` read.

    operator                          MACs
    convolution                       |y| · C_in/g · |kernel|, transposed |x| · C_out/g · |kernel|
    mm, addmm, bmm, baddbmm, mv, …    |A| · columns of B
    scaled-dot-product attention      N · h · L · S · (d + d_v)
    LSTM, GRU, RNN                    rows · Σ |matrix|

Any other operator is asked of `torch.utils.flop_counter`, with the formulas that users registered
there: FLOPs / 2. `linear`, `matmul`, `einsum` consist of these when they run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import flop_registry

from onebyone.counting.formulas import (
    Work,
    attention,
    convolution,
    product,
    recurrence,
    transposed_convolution,
)

__all__ = ["recurrence_of", "work_of"]

IsConstant = Callable[[object], bool]


@dataclass(frozen=True)
class Call:
    """An operator that ran: its arguments by name, its result, and which tensors are constant."""

    arguments: Mapping[str, Any]
    result: Any
    is_constant: IsConstant

    def biased(self, name: str | None) -> bool:
        return name is not None and self.is_constant(self.arguments.get(name))


def _convolution(call: Call) -> Work:
    x, weight = call.arguments["input"], call.arguments["weight"]
    facts: dict[str, Any] = {"constant": call.is_constant(weight), "biased": call.biased("bias")}
    shape, groups = tuple(call.result.shape), call.arguments.get("groups", 1)
    if call.arguments.get("transposed"):
        from_x = tuple(weight.shape), tuple(x.shape)
        return transposed_convolution(*from_x, shape, groups=groups, **facts)
    return convolution(tuple(weight.shape), shape, groups=groups, **facts)


@dataclass(frozen=True)
class _Product:
    """A product of the arguments `left` and `right`, to which `bias` is added."""

    left: str
    right: str
    bias: str | None = None

    def __call__(self, call: Call) -> Work:
        left, right = call.arguments[self.left], call.arguments[self.right]
        *rows, inner = left.shape
        columns = right.shape[1:][-1:]  # of a vector none
        constants = sum(map(call.is_constant, (left, right)))
        return product((*rows, *columns), inner, constants=constants, biased=call.biased(self.bias))


def _attention(call: Call) -> Work:
    query, key, value = (call.arguments[name] for name in ("query", "key", "value"))
    return attention(tuple(query.shape), key.shape[-2], value.shape[-1])


_FORMULAS: Mapping[str, Callable[[Call], Work]] = {
    "convolution": _convolution,
    "mm": _Product("self", "mat2"),
    "_int_mm": _Product("self", "mat2"),
    "_scaled_mm": _Product("self", "mat2", "bias"),
    "addmm": _Product("mat1", "mat2", "self"),
    "_addmm_activation": _Product("mat1", "mat2", "self"),
    "bmm": _Product("self", "mat2"),
    "baddbmm": _Product("batch1", "batch2", "self"),
    "addbmm": _Product("batch1", "batch2"),
    "mv": _Product("self", "vec"),
    "addmv": _Product("mat", "vec", "self"),
    "dot": _Product("self", "tensor"),
    "vdot": _Product("self", "other"),
    **{
        f"_scaled_dot_product_{kernel}": _attention
        for kernel in (
            "flash_attention",
            "flash_attention_for_cpu",
            "efficient_attention",
            "cudnn_attention",
            "fused_attention_overrideable",
        )
    },
}


def work_of(
    func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any, constant: IsConstant
) -> Work | None:
    """The MACs of an operator that was called so; None if it has none, or no formula."""
    if not isinstance(func, torch._ops.OpOverload):
        return _registered(func, func, args, kwargs, result)
    name = func._schema.name.removeprefix("aten::").removesuffix("_")
    formula = _FORMULAS.get(name)
    if formula is None:
        return _registered(func, func.overloadpacket, args, kwargs, result)
    named = dict(zip((a.name for a in func._schema.arguments), args, strict=False))
    return formula(Call({**named, **kwargs}, result, constant))


def _registered(
    func: Any, key: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any
) -> Work | None:
    """By the formula of PyTorch's own counter, or one that a user gave it."""
    formula = flop_registry.get(key)
    if formula is None:
        return None
    # It counts FLOPs, two for each multiply-accumulate.
    return Work(formula(*args, **kwargs, out_val=result) // 2)


def recurrence_of(args: tuple[Any, ...]) -> Work:
    """`torch.lstm` and its like: (x, state, weights, …); packed: (x, sizes, state, weights, …)."""
    # A packed sequence comes as its rows, with how many samples each step has, before the state.
    x, packed = args[0], isinstance(args[1], Tensor) and isinstance(args[3], (list, tuple))
    weights = [tuple(weight.shape) for weight in args[3 if packed else 2]]
    matrices = [shape for shape in weights if len(shape) == 2]
    return recurrence(prod(x.shape[:-1]), matrices, [s for s in weights if len(s) == 1])
