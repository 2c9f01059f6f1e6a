"""Numbers that only have to be some numbers: the same here and in the page, bit for bit.

    h(n) = a 32-bit mix of n and the seed, by shifts and products modulo 2³²
    u(n) = h(n) / 2³¹ − 1                    in [−1, 1), exact in float64

The mix is Christopher Wellons' `lowbias32` (Hash Prospector, 2018). The n-th number needs no other,
so that a page can ask for one row of a matrix. `page/mathematics/seed.js` is the same.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["uniform"]

_STEPS = ((16, 0x7FEB352D), (15, 0x846CA68B), (16, 1))
_SPREAD = 0x9E3779B9
"""Of a seed over 32 bits, so that small seeds are far from each other."""


def uniform(seed: int, count: int, start: int = 0) -> NDArray[np.float64]:
    """`count` numbers in [−1, 1), from the `start`-th on, of the sequence of `seed`.

    >>> uniform(1, 3)
    array([-0.98446973,  0.24463918, -0.94045081])
    >>> (uniform(1, 2, start=1) == uniform(1, 3)[1:]).all()
    np.True_
    """
    x = np.arange(start, start + count, dtype=np.uint32) + np.uint32(seed * _SPREAD % 2**32)
    for shift, factor in _STEPS:
        x ^= x >> np.uint32(shift)
        x *= np.uint32(factor)
    return x / 2.0**31 - 1
