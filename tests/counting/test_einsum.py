"""Einsums: the MACs pair by pair, and which pairs contract with a constant."""

from __future__ import annotations

import pytest

from onebyone.counting.einsum import einsum_work
from onebyone.counting.formulas import Shape


@pytest.mark.parametrize(
    ("equation", "shapes", "fixed", "macs", "pointwise"),
    [
        ("ij->ji", [(2, 3)], [False], 0, 0),
        ("bic , bjc -> bij", [(2, 5, 3), (2, 7, 3)], [False, False], 210, 0),
        # a scale per channel contracts nothing
        ("bc,c->bc", [(2, 3), (3,)], [False, True], 6, 0),
        ("bc,c->b", [(2, 3), (3,)], [False, True], 6, 6),
        ("bc,c", [(2, 3), (3,)], [False, True], 6, 6),
        # grouped: g stays
        ("bgc,gcd->bgd", [(2, 5, 3), (5, 3, 7)], [False, True], 210, 210),
        # k is summed before the product
        ("bk,cd->bcd", [(2, 9), (3, 4)], [False, True], 24, 0),
        ("...ij,...jk->...ik", [(5, 2, 3), (1, 3, 4)], [False, False], 120, 0),
        ("...ij,jk", [(5, 7, 2, 3), (3, 4)], [False, True], 840, 840),
        # pair by pair: (2·3·4) + (2·4·5), both with a constant
        ("ab,bc,cd->ad", [(2, 3), (3, 4), (4, 5)], [False, True, True], 64, 64),
        # a constant, an activation, a constant: (2·3·4) + (2·4·5)
        ("bc,ab,cd->ad", [(3, 4), (2, 3), (4, 5)], [True, False, True], 64, 64),
        # two constants first: 3·4·5, then 2·3·5 with the activation
        ("bc,cd,ab->ad", [(3, 4), (4, 5), (2, 3)], [True, True, False], 90, 30),
    ],
)
def test_einsum(
    equation: str, shapes: list[Shape], fixed: list[bool], macs: int, pointwise: int
) -> None:
    work = einsum_work(equation, shapes, fixed)
    assert (work.macs, work.pointwise_macs) == (macs, pointwise)
