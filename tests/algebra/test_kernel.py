"""K×K kernels: against a direct convolution on integers, and their laws from both sides."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from onebyone.algebra.kernel import Kernel
from onebyone.algebra.pool import AveragePool
from onebyone.algebra.refusal import Refusal
from onebyone.algebra.space import apply
from onebyone.errors import UsageError

RNG = np.random.default_rng(7)
X = RNG.integers(-4, 5, (2, 6, 7, 5))
GEOMETRIES = [
    ((1, 1), (1, 1), ((0, 0), (0, 0))),
    ((1, 1), (1, 1), ((1, 1), (1, 1))),
    ((2, 1), (1, 2), ((0, 2), (1, 0))),
    ((3, 2), (2, 1), ((2, 1), (3, 3))),
]
GROUPS = [(1, 4), (2, 4), (3, 6), (6, 6), (6, 12)]
PLAIN, PADDED = GEOMETRIES[0], GEOMETRIES[1]


def kernel(geometry: tuple, groups: int = 1, c_out: int = 4, size: tuple = (3, 2)) -> Kernel:
    weight = RNG.integers(-3, 4, (c_out, 6 // groups, *size))
    return Kernel(weight, RNG.integers(-5, 6, c_out), *geometry, groups)


def loops(k: Kernel, x: np.ndarray) -> np.ndarray:
    """The definition: every output one sum of products over its window."""
    x = np.pad(x, ((0, 0), (0, 0), *k.pads))
    kh, kw = k.weight.shape[2:]
    spans = [(n - 1) * d + 1 for n, d in zip((kh, kw), k.dilation, strict=True)]
    h, w = ((x.shape[2 + i] - spans[i]) // k.stride[i] + 1 for i in range(2))
    y = np.zeros((len(x), len(k.weight), h, w), int)
    per_group, width = len(k.weight) // k.groups, k.weight.shape[1]
    for o, i, j in itertools.product(range(len(k.weight)), range(h), range(w)):
        top, left = i * k.stride[0], j * k.stride[1]
        rows = slice(top, top + spans[0], k.dilation[0])
        columns = slice(left, left + spans[1], k.dilation[1])
        first = o // per_group * width
        window = x[:, first : first + width, rows, columns]
        y[:, o, i, j] = (window * k.weight[o]).sum(axis=(1, 2, 3)) + k.bias[o]
    return y


def mixed(M: np.ndarray, x: np.ndarray, b: np.ndarray | None = None) -> np.ndarray:
    M = np.diag(M) if M.ndim == 1 else M
    y = np.einsum("oc,nchw->nohw", M, x)
    return y if b is None else y + b[:, None, None]


def result(outcome: Kernel | Refusal) -> Kernel:
    assert isinstance(outcome, Kernel), outcome
    return outcome


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize(("groups", "c_out"), GROUPS)
def test_a_kernel_is_a_sum_of_shifted_pointwise_maps(
    geometry: tuple, groups: int, c_out: int
) -> None:
    k = kernel(geometry, groups, c_out)
    y = k.apply(X)
    assert y.dtype == np.int64
    assert (y == loops(k, X)).all()


def test_terms_are_channel_matrices_times_space_maps() -> None:
    k = kernel(GEOMETRIES[2])
    sizes = dict(zip((2, 3), k.out_sizes(X.shape[2:]), strict=True))
    y = sum(mixed(W, apply(dict(zip((2, 3), T, strict=True)), X, sizes)) for W, T in k.terms())
    assert (y + k.bias[:, None, None] == k.apply(X)).all()


def test_one_axis_three_axes_and_a_size_one_kernel() -> None:
    one = Kernel(np.array([[[1, 2, 3]]]), None, (1,), (1,), ((1, 1),))
    assert one.apply(np.array([[[1, 10, 100]]])).tolist() == [[[32, 321, 210]]]
    three = Kernel(np.ones((1, 1, 1, 1, 1), int), None, (1,) * 3, (1,) * 3, ((0, 0),) * 3)
    x = np.arange(24).reshape(1, 1, 2, 3, 4)
    assert (three.apply(x) == x).all()


def test_half_precision_is_widened_before_it_is_summed() -> None:
    k = Kernel(np.full((1, 1, 2), 2048, np.float16), None, (1,), (1,), ((0, 0),))
    y = k.apply(np.array([[[1, 1 / 2048]]], np.float16))
    assert y.dtype == np.float64
    assert y.tolist() == [[[2049]]]


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("with_bias", [True, False])
def test_a_channel_map_after_it_composes(geometry: tuple, with_bias: bool) -> None:
    k, M = kernel(geometry), RNG.integers(-3, 4, (3, 4))
    b = RNG.integers(-3, 4, 3) if with_bias else None
    assert (result(k.compose_left(M, b)).apply(X) == mixed(M, k.apply(X), b)).all()


@pytest.mark.parametrize(("groups", "c_out"), GROUPS)
def test_a_diagonal_after_it_composes_with_any_groups(groups: int, c_out: int) -> None:
    k, s, b = kernel(PADDED, groups, c_out), *RNG.integers(-3, 4, (2, c_out))
    composed = result(k.compose_left(s, b))
    assert composed.groups == groups
    assert (composed.apply(X) == mixed(s, k.apply(X), b)).all()


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_a_linear_channel_map_before_it_composes_even_with_padding(geometry: tuple) -> None:
    k, M = kernel(geometry), RNG.integers(-3, 4, (6, 5))
    x = X[:, :5]
    assert (result(k.compose_right(M)).apply(x) == k.apply(mixed(M, x))).all()
    zero = np.zeros(6, int)
    assert (result(k.compose_right(M, zero)).apply(x) == k.apply(mixed(M, x))).all()


@pytest.mark.parametrize(("groups", "c_out"), GROUPS)
@pytest.mark.parametrize("geometry", [PLAIN, ((2, 1), (1, 2), ((0, 0), (0, 0)))], ids=str)
def test_a_bias_before_it_composes_without_padding(
    geometry: tuple, groups: int, c_out: int
) -> None:
    k, s, b = kernel(geometry, groups, c_out), *RNG.integers(-3, 4, (2, 6))
    assert (result(k.compose_right(s, b)).apply(X) == k.apply(mixed(s, X, b))).all()


def test_a_dense_map_with_bias_before_it_composes_without_padding() -> None:
    k, M, b = kernel(PLAIN), RNG.integers(-3, 4, (6, 5)), RNG.integers(-3, 4, 6)
    x = X[:, :5]
    assert (result(k.compose_right(M, b)).apply(x) == k.apply(mixed(M, x, b))).all()


def test_a_bias_before_padding_is_refused_and_would_be_wrong() -> None:
    k, s, b = kernel(PADDED), np.ones(6, int), np.arange(6)
    refusal = k.compose_right(s, b)
    assert isinstance(refusal, Refusal)
    assert refusal.law == "affine"
    assert "zero padding" in refusal.reason
    wrong = k.bias + np.einsum("oikl,i->o", k.weight, b)
    kept = Kernel(k.weight, wrong, k.stride, k.dilation, k.pads)
    assert (kept.apply(X) != k.apply(mixed(s, X, b))).any()
    assert str(k.compose_right(np.eye(6), b)).startswith("compose: zero padding")
    one_sided = kernel(((1, 1), (1, 1), ((0, 0), (0, 1))))
    assert isinstance(one_sided.compose_right(s, b), Refusal)


POOLS = (AveragePool(2, 2), AveragePool(4, 1)), (AveragePool(1, 2), AveragePool(2, 1, dilation=2))
LARGE = RNG.integers(-4, 5, (2, 6, 17, 12))


@pytest.mark.parametrize("pools", POOLS, ids=["windows", "dilated"])
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize(("groups", "c_out"), GROUPS)
def test_an_average_behind_it_is_one_kernel(
    pools: tuple, geometry: tuple, groups: int, c_out: int
) -> None:
    k = kernel(geometry, groups, c_out)
    pooled = result(k.averaged(pools))
    y = apply(dict(enumerate(pools, 2)), k.apply(LARGE))
    assert (pooled.apply(LARGE) == y).all()
    assert pooled.channels == k.channels
    assert pooled.out_sizes(LARGE.shape[2:]) == y.shape[2:]


@pytest.mark.parametrize("n", range(5, 12))
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_it_has_as_many_outputs_as_the_average_on_axes_of_any_size(n: int, stride: int) -> None:
    k = Kernel(RNG.integers(-3, 4, (2, 1, 3)), None, (stride,), (1,), ((1, 2),))
    pool, x = AveragePool(2, 3), RNG.integers(-4, 5, (1, 1, n))
    y = apply({2: pool}, k.apply(x))
    pooled = result(k.averaged([pool]))
    assert pooled.stride == (3 * stride,)
    assert np.array_equal(pooled.apply(x), y)


@pytest.mark.parametrize(
    "pool",
    [
        AveragePool(2, 2, before=1),
        AveragePool(2, 2, before=1, count_include_pad=True),
        AveragePool(2, 2, ceil_mode=True),
        AveragePool(2, 2, ceil_mode=True, count_include_pad=True),
        AveragePool(2, 2, auto_pad="SAME_UPPER"),
    ],
    ids=str,
)
def test_an_average_of_what_is_no_output_is_refused_and_would_be_wrong(pool: AveragePool) -> None:
    k = Kernel(np.array([[[1, 2, 3]]]), np.array([1]), (1,), (1,), ((1, 1),))
    assert str(k.averaged([pool])).startswith("pool: ")
    x = np.arange(1, 6).reshape(1, 1, 5)
    y = apply({2: pool}, k.apply(x))
    window = pool.window(5)
    (before, after), (size,) = (window.before, window.after), y.shape[2:]
    # The kernel with the pool's padding, or what rounding up adds, as its own.
    inside = result(k.averaged([AveragePool(2, 2)]))
    pads = ((1 + before, 1 + after + 2),)
    padded = Kernel(inside.weight, k.bias, (2,), (1,), pads).apply(x)[..., :size]
    assert (padded != y).any()


def test_a_dense_map_and_groups_are_refused() -> None:
    k = kernel(PLAIN, 2)
    for refusal in (k.compose_left(np.ones((3, 4))), k.compose_right(np.ones((6, 6)))):
        assert isinstance(refusal, Refusal)
        assert (refusal.law, "2 groups" in refusal.reason) == ("compose", True)


@pytest.mark.parametrize("width", [3, 5])
def test_a_width_that_does_not_fit_is_an_error(width: int) -> None:
    k = kernel(PLAIN)
    with pytest.raises(UsageError, match=rf"got M \({width},\) for Kernel \(4, 6, 3, 2\)"):
        k.compose_left(np.ones(width))
    with pytest.raises(UsageError, match=r"got M \(6,\), b \(5,\)"):
        k.compose_right(np.ones(6), np.ones(5))


def test_attributes_that_do_not_fit_are_an_error() -> None:
    with pytest.raises(UsageError, match="one stride, dilation and pads per axis"):
        Kernel(np.ones((1, 1, 3, 3)), None, (1,), (1,), ((0, 0),))
    with pytest.raises(UsageError, match="groups that divide 4"):
        kernel(PLAIN, 3, 4)


def test_parallel_kernels_of_different_size_sum() -> None:
    three = kernel(PADDED, size=(3, 3))
    one = kernel(PLAIN, size=(1, 1))
    wide = kernel(((1, 1), (1, 1), ((1, 1), (0, 0))), size=(3, 1))
    every = result(result(three.plus(one)).plus(wide))
    assert every.weight.shape == (4, 6, 3, 3)
    assert (every.apply(X) == three.apply(X) + one.apply(X) + wide.apply(X)).all()
    assert (result(one.plus(three)).apply(X) == three.apply(X) + one.apply(X)).all()


@pytest.mark.parametrize("groups", [1, 2])
def test_strided_and_dilated_kernels_sum(groups: int) -> None:
    three = kernel(((2, 1), (1, 2), ((1, 1), (2, 2))), groups, size=(3, 3))
    one = kernel(((2, 1), (1, 1), ((0, 0), (0, 0))), groups, size=(1, 1))
    assert (result(three.plus(one)).apply(X) == three.apply(X) + one.apply(X)).all()


@pytest.mark.parametrize(
    "other",
    [
        kernel(PLAIN, 2, size=(1, 1)),
        kernel(PLAIN, c_out=5, size=(1, 1)),
        kernel(((2, 2), (1, 1), ((0, 0), (0, 0))), size=(1, 1)),
        kernel(PLAIN, size=(2, 1)),
        kernel(((1, 1), (2, 1), ((1, 1), (0, 0))), size=(2, 1)),
    ],
    ids=["groups", "channels", "stride", "size", "position"],
)
def test_kernels_that_do_not_align_are_refused(other: Kernel) -> None:
    narrow = kernel(PLAIN, size=(1, 1))
    padded = kernel(PADDED, size=(3, 3))
    outcome = padded.plus(other) if other.weight.shape[2] == 1 else other.plus(narrow)
    assert isinstance(outcome, Refusal)
    assert outcome.law == "sum"
