"""Parallel convolutions of one input, summed into one kernel: RepVGG's 3×3 + 1×1 + identity.

    Kx + Wx + x = (K + W ⊗ T₀ + I ⊗ T₀)x        T₀: the tap that reads the centre

Each branch is brought to one kernel first (what follows it, a batch normalisation say, multiplied
in); where its taps fall among those of the largest kernel is for `algebra.kernel` to find.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from onebyone.algebra.channel import ChannelMap
from onebyone.algebra.expression import Convolution, Sum, Term, flatten
from onebyone.algebra.kernel import Kernel
from onebyone.algebra.refusal import Refusal
from onebyone.algebra.weights import Array
from onebyone.algebra.word import Word, product
from onebyone.optimize.search import steps
from onebyone.optimize.steps import KernelNode

__all__ = ["sum_kernels"]


def sum_kernels(node: Sum) -> Term | None:
    """The sum with the convolutions of one input made one; None if there are no two."""
    terms = flatten(node)
    for term in terms:
        if not isinstance(term.node, Convolution) or term.node.kernel.transposed:
            continue
        others = [t for t in terms if t is not term]
        found = _absorb(term.node, _own(term), others)
        if found is not None:
            merged, rest = found
            return merged if not rest else Term(Word(), Sum((merged, *rest)))
    return None


def _absorb(
    node: Convolution, kernel: Kernel | None, others: list[Term]
) -> tuple[Term, list[Term]] | None:
    """`kernel` plus all branches that read what it reads, and the branches that do not."""
    if kernel is None or node.term.word.spaces or node.term.word.maps:
        return None
    rest: list[Term] = []
    for term in others:
        total = _plus(kernel, _branch(term, node, kernel))
        if total is None or total.weight.shape != kernel.weight.shape:
            rest.append(term)
        else:
            kernel = total
    if len(rest) == len(others):
        return None
    known = replace(node.kernel, weights=kernel, biased=kernel.bias is not None)
    return Term(Word(), Convolution(known, node.channels, node.term)), rest


def _plus(kernel: Kernel, branch: Kernel | None) -> Kernel | None:
    total = None if branch is None else kernel.plus(branch)
    return None if isinstance(total, Refusal) else total


def _branch(term: Term, node: Convolution, kernel: Kernel) -> Kernel | None:
    """A summand as a kernel on the operand of `node`; None if it is none."""
    if isinstance(term.node, Convolution):
        below = term.node.term
        same = below.node is node.term.node and not below.word.spaces and not below.word.maps
        return _own(term) if same and not term.node.kernel.transposed else None
    if term.node is not node.term.node:
        return None
    return _pointwise(term, kernel)


def _own(term: Term) -> Kernel | None:
    """A convolution with the channel maps after it multiplied in."""
    assert isinstance(term.node, Convolution)
    kernel = _kernel(term.node.kernel)
    if kernel is None or term.word.spaces:
        return None
    if not term.word.maps:
        return kernel
    f = product(term.word.maps)
    result = kernel.compose_left(f.weight[:, 0] if f.is_diagonal else f.dense(), f.bias)
    return None if isinstance(result, Refusal) else result


def _kernel(known: KernelNode) -> Kernel | None:
    """The node's kernel with its real strides and pads; None where the engine works them out."""
    plain = known.kernel()
    attributes, axes = known.node.attributes, known.before.rank - 2
    if not isinstance(plain, Kernel) or "auto_pad" in attributes:
        return None
    pads = attributes.get_ints("pads", (0,) * 2 * axes)
    return replace(
        plain,
        stride=tuple(attributes.get_ints("strides", (1,) * axes)),
        dilation=tuple(attributes.get_ints("dilations", (1,) * axes)),
        pads=tuple(zip(pads[:axes], pads[axes:], strict=True)),
    )


def _pointwise(term: Term, kernel: Kernel) -> Kernel | None:
    """A 1×1 branch, or the identity, as a kernel of one tap with as many groups as `kernel` has."""
    axes = len(kernel.stride)
    stride = _stride(term.word, axes)
    if stride is None:
        return None
    f = product(term.word.maps) if term.word.maps else _identity(term)
    grouped = _in_groups(f, kernel.groups)
    if grouped is None:
        return None
    weight = grouped.weight.reshape(*grouped.weight.shape, *(1,) * axes)
    return Kernel(weight, f.bias, stride, (1,) * axes, ((0, 0),) * axes, kernel.groups)


def _stride(word: Word, axes: int) -> tuple[int, ...] | None:
    """The stride of a 1×1 branch; None where it also pads, or maps positions otherwise."""
    if not word.spaces:
        return (1,) * axes
    window = steps(word)[0].window if len(word.spaces) == 1 else None
    return None if window is None or any(window.pads) else window.strides


def _identity(term: Term) -> ChannelMap:
    return ChannelMap.diagonal(np.ones(term.node.channels))


def _in_groups(f: ChannelMap, groups: int) -> ChannelMap | None:
    """f with another number of groups, where its zeros allow that."""
    if f.groups == groups:
        return f
    if f.groups % groups:
        return None
    dense, rows, columns = f.dense(), f.out_channels // groups, f.in_channels // groups
    blocks = list(_diagonal_blocks(dense, groups, rows, columns))
    return ChannelMap(np.concatenate(blocks), f.bias, groups)


def _diagonal_blocks(dense: Array, groups: int, rows: int, columns: int) -> Iterator[Array]:
    for g in range(groups):
        yield dense[g * rows : (g + 1) * rows, g * columns : (g + 1) * columns]
