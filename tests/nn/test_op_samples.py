"""PyTorch's own samples of convolutions and of linear layers, through `Pointwise`.

Three kinds, each with its value, gradient and second gradient:

    linear     all samples of `nn.functional.linear`, as they are
    kernel 1   all samples of `nn.functional.conv1d/2d/3d` whose kernel is one, as they are
    one tap    all other samples of these, their weight cut to its middle tap; the rest as given

A padding is applied before, by `pad`: a 1×1 has none. A dilation says nothing about one tap.
No sample is left out, and none is beyond `Pointwise`; how many there are of each kind is asserted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from math import prod

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.nn import functional

from onebyone.nn.pointwise import Pointwise
from tests.quick import slow_but

CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


@dataclass(frozen=True)
class Case:
    """A sample: operands, what PyTorch computes of them, and the layer that is to compute it."""

    kind: str
    name: str
    operands: tuple[Tensor, ...]
    theirs: Callable[..., Tensor]
    layer: Pointwise

    def ours(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        parameters = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
        return torch.func.functional_call(self.layer, parameters, (x,))


def samples(name: str) -> Iterator[tuple[str, object]]:
    # Seconds, which only a process that runs these tests should take.
    from torch.testing._internal.common_methods_invocations import op_db

    (entry,) = [op for op in op_db if op.name == f"nn.functional.{name}"]
    for index, sample in enumerate(entry.sample_inputs("cpu", torch.float64, requires_grad=True)):
        yield f"{name} {index}", sample


def linear_cases() -> Iterator[Case]:
    for name, sample in samples("linear"):
        assert not sample.kwargs, "an option of linear that this test does not know"
        weight, *bias = sample.args
        layer = Pointwise(
            weight.shape[1], weight.shape[0], bool(bias), channel_dim=-1, dtype=weight.dtype
        )
        operands = (sample.input, weight, *bias)
        yield Case("linear", name, operands, functional.linear, layer)


def convolution_cases(axes: int) -> Iterator[Case]:
    for name, sample in samples(f"conv{axes}d"):
        options = dict(sample.kwargs)
        options.pop("dilation", None)
        padding = options.pop("padding", 0)
        stride, groups = options.pop("stride", 1), options.pop("groups", 1)
        assert not options, "an option of convolutions that this test does not know"
        weight, bias = sample.args
        kind = "kernel 1" if prod(weight.shape[2:]) == 1 else "one tap"
        operands = [padded(sample.input, padding, axes), tap(weight)]
        if bias is not None:
            operands.append(bias)
        yield Case(
            kind,
            name,
            tuple(x.detach().requires_grad_() for x in operands),
            strided(CONVOLUTIONS[axes], stride, groups),
            Pointwise(
                weight.shape[1] * groups,
                weight.shape[0],
                bias is not None,
                stride,
                groups,
                1 if sample.input.ndim == axes + 2 else -1 - axes,
                spatial_dims=axes,
                dtype=weight.dtype,
            ),
        )


def tap(weight: Tensor) -> Tensor:
    """The middle tap of a kernel, as a kernel of one."""
    for axis in range(2, weight.ndim):
        weight = weight.narrow(axis, weight.shape[axis] // 2, 1)
    return weight


def padded(x: Tensor, padding: int | str | tuple[int, ...], axes: int) -> Tensor:
    """The input with its zeros written out; "same" and "valid" add none to a kernel of one."""
    if isinstance(padding, str):
        return x
    each = (padding,) * axes if isinstance(padding, int) else padding
    # `pad` counts from the last axis, two numbers for each.
    return functional.pad(x, [zeros for size in reversed(each) for zeros in (size, size)])


def strided(
    convolution: Callable[..., Tensor], stride: int | tuple[int, ...], groups: int
) -> Callable[..., Tensor]:
    def of(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return convolution(x, weight, bias, stride, groups=groups)

    return of


CONVS = {f"conv{axes}d": axes for axes in CONVOLUTIONS}
OPS = ("linear", *CONVS)
each_op = pytest.mark.parametrize("op", OPS)


@cache
def cases(op: str) -> list[Case]:
    return list(convolution_cases(CONVS[op]) if op in CONVS else linear_cases())


def test_all_samples_are_tried() -> None:
    counted = Counter(case.kind for op in OPS for case in cases(op))
    there = Counter(name.split()[0] for op in OPS for name, _ in samples(op))
    assert counted["linear"] == there["linear"]
    assert counted["kernel 1"] + counted["one tap"] == sum(there[name] for name in CONVS)
    assert all(there[name] for name in OPS)
    # PyTorch 2.13 has as many; another release may have more, not fewer.
    assert counted["linear"] >= 18
    assert counted["kernel 1"] >= 2
    assert counted["one tap"] >= 58


@each_op
def test_the_value(op: str) -> None:
    """γ(2(n+1)) of the sum of magnitudes: two sums of n products and a bias, in any order.

    γ(m) = mu / (1 - mu), u = 2^-53 (Higham, 2002, section 3.1); each side is within γ(n+1) of the
    exact value, so they are within twice that of each other.
    """
    for case in cases(op):
        ours, theirs = case.ours(*case.operands), case.theirs(*case.operands)
        assert ours.shape == theirs.shape, case
        magnitude = case.theirs(*(x.abs() for x in case.operands))
        terms = case.operands[1].shape[1] + 1
        gamma = terms * 2**-53 / (1 - terms * 2**-53)
        # The magnitude is itself rounded: once more γ covers it, and is of second order.
        bound = 2 * gamma * (1 + 2 * gamma) * magnitude
        assert ((ours - theirs).abs() <= bound).all(), case


def is_large(case: Case) -> bool:
    """Whether the whole Jacobian takes seconds; along random directions then, as PyTorch does."""
    return case.operands[0].numel() > 200


@each_op
def test_the_gradient(op: str) -> None:
    for case in cases(op):
        assert gradcheck(case.ours, case.operands, fast_mode=is_large(case)), case


@pytest.mark.parametrize("op", slow_but("linear", "conv1d", "conv3d", of=OPS))
def test_the_second_gradient(op: str) -> None:
    for case in cases(op):
        assert gradgradcheck(case.ours, case.operands, fast_mode=is_large(case)), case
