"""Tensors that cannot fit are refused before anything is computed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from onebyone.errors import UnreadableModel
from onebyone.graph.memory_limit import allowed
from onebyone.optimize import optimize
from onebyone.verify.verify import verify

from ..graphs.text import model

resource = pytest.importorskip("resource")


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """This process may have so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def test_without_a_limit_nothing_is_refused() -> None:
    with at_most(resource.RLIM_INFINITY):
        assert allowed() is None


@pytest.mark.parametrize("kind", ["float", "int64", "bool", "float16"])
def test_an_input_that_cannot_fit(kind: str) -> None:
    proto = model("y = Shape(x)", f"{kind}[3,274877906944] x", "int64[2] y")
    with at_most(64 << 30):
        assert allowed() == 64 << 30
        with pytest.raises(UnreadableModel, match=r"tensor x of shape \[3, 274877906944\] takes"):
            verify(proto, proto)


def test_a_result_that_cannot_fit() -> None:
    proto = model(
        "h = Expand(x, k) y = ReduceMax(h)",
        "float[5,1] x",
        constants={"k": np.int64([5, 2**36])},
    )
    said = r"tensor h of shape \[5, 68719476736\] takes 1 TiB, and 64 GiB may be had here"
    with at_most(64 << 30), pytest.raises(UnreadableModel, match=said):
        optimize(proto)


@pytest.mark.parametrize("kind", ["float", "string"])
def test_what_fits_is_not_refused(kind: str) -> None:
    proto = model("y = Transpose(x)", f"{kind}[3,5] x", f"{kind}[5,3] y")
    given = {"x": np.ones((3, 5), np.float32 if kind == "float" else object)}
    with at_most(64 << 30):
        assert optimize(proto, data=given).report.certificate
