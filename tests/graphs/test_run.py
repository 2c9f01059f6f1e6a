"""The comparison sees every kind of difference."""

from __future__ import annotations

import numpy as np
import pytest

from .run import differences, run
from .text import feed, model

A = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.mark.parametrize(
    "other",
    [
        {"z": A},
        {},
        {"y": A.T},
        {"y": A.astype(np.float64)},
        {"y": np.nextafter(A, np.float32(9))},
    ],
)
def test_each_difference_is_seen(other: dict[str, np.ndarray]) -> None:
    assert differences({"y": A}, other)
    assert differences({"y": A}, {"y": A.copy()}) == []


def test_run_gives_outputs_by_name_for_each_feed() -> None:
    proto = model("y = Neg(x) z = Abs(x)", "float[N,3] x", "y, z")
    one, two = run(proto, feed(proto, N=2), feed(proto, N=5))
    assert one.keys() == two.keys() == {"y", "z"}
    assert (one["y"].shape, two["z"].shape) == ((2, 3), (5, 3))
