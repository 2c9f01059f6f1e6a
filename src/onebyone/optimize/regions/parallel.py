"""Parallel convolutions of one input, summed into one kernel: RepVGG's 3×3 + 1×1 + identity.

    Kx + Wx + x = (K + W ⊗ T₀ + I ⊗ T₀)x        T₀: the tap that reads the centre

Each branch is brought to one kernel first (what follows it, a batch normalisation say, multiplied
in); where its taps fall among those of the largest kernel is for `algebra.kernel` to find.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from onebyone.algebra.channel import ChannelMap
from onebyone.algebra.expression import Convolution, Sum, Term, flatten
from onebyone.algebra.kernel import Kernel
from onebyone.algebra.laws import LAWS
from onebyone.algebra.refusal import Refusal
from onebyone.algebra.word import Word, product
from onebyone.optimize.regions.operations import as_factor
from onebyone.optimize.regions.plan import absorbing
from onebyone.optimize.regions.steps import KernelNode, steps

__all__ = ["sum_kernels"]


def sum_kernels(node: Sum, laws: Collection[str] = tuple(LAWS)) -> Term | None:
    """The sum with the convolutions of one input made one; None if there are no two.

    What multiplies maps into a kernel needs its own law: `affine` for a batch normalisation,
    `compose` for a 1×1.
    """
    terms = flatten(node)
    # The largest first: a small kernel fits into a large one, not the other way round.
    for term in sorted(terms, key=_taps, reverse=True):
        if not isinstance(term.node, Convolution) or term.node.kernel.transposed:
            continue
        others = [t for t in terms if t is not term]
        found = _absorb(term.node, _own(term, laws), others, laws)
        if found is not None:
            merged, rest = found
            if not rest:
                return merged
            return Term(Word(), Sum((merged, *rest)))
    return None


def _taps(term: Term) -> int:
    """The weights of a convolution: what is small goes into what is large."""
    if not isinstance(term.node, Convolution):
        return 0
    kernel: KernelNode = term.node.kernel
    return kernel.taps * kernel.in_channels // kernel.groups


def _absorb(
    node: Convolution, kernel: Kernel | None, others: list[Term], laws: Collection[str]
) -> tuple[Term, list[Term]] | None:
    """`kernel` plus all branches that read what it reads, and the branches that do not."""
    if kernel is None or node.term.word.spaces or node.term.word.maps:
        return None
    rest: list[Term] = []
    for term in others:
        total = _plus(kernel, _branch(term, node, kernel, laws))
        if total is None or total.weight.shape != kernel.weight.shape:
            rest.append(term)
        else:
            kernel = total
    if len(rest) == len(others):
        return None
    # A 1×1 that was multiplied in may have changed the channels.
    channels, biased = kernel.channels[1], kernel.bias is not None
    known = replace(node.kernel, weights=kernel, out_channels=channels, biased=biased)
    return Term(Word(), Convolution(known, channels, node.term)), rest


def _plus(kernel: Kernel, branch: Kernel | None) -> Kernel | None:
    if branch is None:
        return None
    total = kernel.plus(branch)
    return None if isinstance(total, Refusal) else total


def _branch(term: Term, node: Convolution, kernel: Kernel, laws: Collection[str]) -> Kernel | None:
    """A summand as a kernel on the operand of `node`; None if it is none."""
    if isinstance(term.node, Convolution):
        below = term.node.term
        moved = below.word.spaces or below.word.maps or term.node.kernel.transposed
        if below.node is not node.term.node or moved:
            return None
        return _regrouped(_own(term, laws), kernel.groups)
    if term.node is not node.term.node:
        return None
    return _pointwise(term, kernel, laws)


def _own(term: Term, laws: Collection[str]) -> Kernel | None:
    """A convolution with the channel maps after it multiplied in."""
    assert isinstance(term.node, Convolution)
    kernel: Kernel | None = term.node.kernel.placed()
    if kernel is None or term.word.spaces:
        return None
    if not term.word.maps:
        return kernel
    if not set(absorbing(term.word.maps)) <= set(laws):
        return None
    f = product(term.word.maps)
    result = kernel.compose_left(as_factor(f), f.bias)
    return None if isinstance(result, Refusal) else result


def _pointwise(term: Term, kernel: Kernel, laws: Collection[str]) -> Kernel | None:
    """A 1×1 branch, or the identity, as a kernel of one tap with as many groups as `kernel` has."""
    axes = len(kernel.stride)
    stride = _stride(term.word, axes)
    # The one that mixes channels becomes the kernel; only what else there is takes a law.
    others = sorted(term.word.maps, key=lambda f: f.is_diagonal)[1:]
    if stride is None or not set(absorbing(others)) <= set(laws):
        return None
    # Without maps it is the identity.
    f = product(term.word.maps or (ChannelMap.diagonal(np.ones(term.node.channels)),))
    # One tap; `Kernel.plus` puts it into the middle of the larger one.
    weight = f.weight.reshape(*f.weight.shape, *(1,) * axes)
    own = Kernel(weight, f.bias, stride, (1,) * axes, ((0, 0),) * axes, f.groups)
    return _regrouped(own, kernel.groups)


def _stride(word: Word, axes: int) -> tuple[int, ...] | None:
    """The stride of a 1×1 branch; None where it also pads, or maps positions otherwise."""
    if not word.spaces:
        return (1,) * axes
    window, *others = (step.window for step in steps(word))
    if others or window is None or any(window.pads):
        return None
    return window.strides


def _regrouped(kernel: Kernel | None, groups: int) -> Kernel | None:
    """The kernel in another number of groups, where its zeros allow that."""
    if kernel is None or kernel.groups == groups:
        return kernel
    if kernel.groups % groups == 0:
        return _joined(kernel, groups)
    if kernel.groups == 1:
        return _cut(kernel, groups)
    return None


def _joined(kernel: Kernel, groups: int) -> Kernel:
    """Fewer groups, with zeros between those that become one."""
    each = kernel.groups // groups
    rows, (columns, *taps) = len(kernel.weight) // kernel.groups, kernel.weight.shape[1:]
    blocks = kernel.weight.reshape(groups, each, rows, columns, *taps)
    zeros = np.zeros((groups, each, rows, each, columns, *taps), blocks.dtype)
    for k in range(each):
        zeros[:, k, :, k] = blocks[:, k]
    weight = zeros.reshape(len(kernel.weight), each * columns, *taps)
    return replace(kernel, weight=weight, groups=groups)


def _cut(kernel: Kernel, groups: int) -> Kernel | None:
    """Groups in place of none: a sum of maps in different groups is stored as a dense one."""
    (out, into, *taps) = kernel.weight.shape
    if out % groups or into % groups:
        return None
    blocks = kernel.weight.reshape(groups, out // groups, groups, into // groups, *taps)
    weight = np.concatenate([blocks[k, :, k] for k in range(groups)])
    # Something outside the blocks is not zero.
    if np.count_nonzero(weight) < np.count_nonzero(blocks):
        return None
    return replace(kernel, weight=weight, groups=groups)
