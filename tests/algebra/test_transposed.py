"""Transposed kernels: against the transpose of a convolution, and their laws from both sides."""

from __future__ import annotations

import numpy as np
import pytest

from onebyone.algebra.kernel import Kernel
from onebyone.algebra.refusal import Refusal
from onebyone.algebra.transposed import TransposedKernel
from onebyone.errors import UsageError

RNG = np.random.default_rng(11)
X = RNG.integers(-4, 5, (2, 6, 3, 5))
PLAIN = ((1, 1), (1, 1), ((0, 0), (0, 0)), (0, 0))
GEOMETRIES = [
    PLAIN,
    ((2, 1), (1, 2), ((1, 0), (0, 1)), (1, 0)),
    ((3, 2), (2, 1), ((0, 0), (1, 1)), (0, 1)),
]
GROUPS = [(1, 4), (2, 4), (3, 6), (6, 6)]


def kernel(
    geometry: tuple, groups: int = 1, c_out: int = 4, size: tuple = (3, 2)
) -> TransposedKernel:
    weight = RNG.integers(-3, 4, (6, c_out // groups, *size))
    return TransposedKernel(weight, RNG.integers(-5, 6, c_out), *geometry, groups)


def mixed(M: np.ndarray, x: np.ndarray, b: np.ndarray | None = None) -> np.ndarray:
    M = np.diag(M) if M.ndim == 1 else M
    y = np.einsum("oc,nchw->nohw", M, x)
    return y if b is None else y + b[:, None, None]


def result(outcome: TransposedKernel | Refusal) -> TransposedKernel:
    assert isinstance(outcome, TransposedKernel), outcome
    return outcome


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize(("groups", "c_out"), GROUPS)
def test_it_is_the_transpose_of_the_convolution(geometry: tuple, groups: int, c_out: int) -> None:
    k = kernel(geometry, groups, c_out)
    y = k.apply(X)
    stamp = y - k.bias[:, None, None]
    forward = Kernel(k.weight, None, k.stride, k.dilation, k.pads, groups)
    z = RNG.integers(-4, 5, y.shape)
    # <Kᵀx, z> = <x, Kz> for every z defines Kᵀ.
    assert forward.apply(z).shape == X.shape
    assert (stamp * z).sum() == (X * forward.apply(z)).sum()


def test_output_padding_grows_behind() -> None:
    k = TransposedKernel(np.array([[[1, 2]]]), None, (3,), (1,), ((0, 0),), (1,))
    assert k.apply(np.array([[[1, 10]]])).tolist() == [[[1, 2, 0, 10, 20, 0]]]


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_a_channel_map_after_it_composes(geometry: tuple) -> None:
    k, M, b = kernel(geometry), RNG.integers(-3, 4, (3, 4)), RNG.integers(-3, 4, 3)
    assert (result(k.compose_left(M, b)).apply(X) == mixed(M, k.apply(X), b)).all()


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize(("groups", "c_out"), GROUPS)
def test_diagonals_compose_with_any_groups(geometry: tuple, groups: int, c_out: int) -> None:
    k = kernel(geometry, groups, c_out)
    s, b = RNG.integers(-3, 4, (2, c_out))
    assert (result(k.compose_left(s, b)).apply(X) == mixed(s, k.apply(X), b)).all()
    t = RNG.integers(-3, 4, 6)
    assert (result(k.compose_right(t)).apply(X) == k.apply(mixed(t, X))).all()


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_a_linear_channel_map_before_it_composes(geometry: tuple) -> None:
    k, M, x = kernel(geometry), RNG.integers(-3, 4, (6, 5)), X[:, :5]
    assert (result(k.compose_right(M)).apply(x) == k.apply(mixed(M, x))).all()


@pytest.mark.parametrize("groups", [1, 2])
def test_a_bias_before_a_pointwise_one_composes(groups: int) -> None:
    k, s, b = kernel(PLAIN, groups, size=(1, 1)), *RNG.integers(-3, 4, (2, 6))
    assert k.pointwise
    assert (result(k.compose_right(s, b)).apply(X) == k.apply(mixed(s, X, b))).all()


@pytest.mark.parametrize(
    "k",
    [
        kernel(GEOMETRIES[1]),
        kernel(((2, 1), *PLAIN[1:]), size=(1, 1)),
        kernel((*PLAIN[:3], (0, 1)), size=(1, 1)),
    ],
    ids=["a stamp of 3×2", "a 1×1 with strides", "a 1×1 that grows behind"],
)
def test_a_bias_before_any_other_is_refused_and_would_be_wrong(k: TransposedKernel) -> None:
    s, b = np.ones(6, int), np.arange(6)
    refusal = k.compose_right(s, b)
    assert isinstance(refusal, Refusal)
    assert refusal.law == "affine"
    # No bias could be right: what b adds differs over positions.
    added = k.apply(mixed(s, X, b)) - k.apply(X)
    assert (added != added[:, :, :1, :1]).any()


def test_a_dense_map_and_groups_are_refused() -> None:
    k = kernel(PLAIN, 2)
    for refusal in (k.compose_left(np.ones((3, 4))), k.compose_right(np.ones((6, 6)))):
        assert isinstance(refusal, Refusal)
        assert refusal.law == "compose"


def test_what_does_not_fit_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"got M \(3,\) for TransposedKernel"):
        kernel(PLAIN).compose_left(np.ones(3))
    with pytest.raises(UsageError, match="one value of each attribute per axis"):
        TransposedKernel(np.ones((1, 1, 3)), None, (1,), (1,), ((0, 0),), ())
    with pytest.raises(UsageError, match="groups that divide 6"):
        TransposedKernel(np.ones((6, 1, 3)), None, (1,), (1,), ((0, 0),), (0,), 4)
