"""Sizes that a model cannot run at are told where shapes tell; others never."""

from __future__ import annotations

import numpy as np
import pytest

from onebyone.engines.engine import EngineRefuses
from onebyone.engines.unoptimised import opened
from onebyone.graph.count import count
from onebyone.graph.read import read
from tests.graphs.text import model

CASES = [
    ("y = Add(x, z)", "float[n,3] x, float[m,3] z", {}, [(2, 3), (1, 3)], [(2, 3), (5, 3)]),
    ("y = Concat <axis=-1> (x, z)", "float[n,3] x, float[m,2] z", {}, [(4, 3), (4, 2)],
     [(4, 3), (5, 2)]),
    ("y = MatMul(x, w)", "float[n,k] x", {"w": (5, 2)}, [(3, 5)], [(3, 4)]),
    ("y = MatMul(x, w)", "float[n,k] x", {"w": (5,)}, [(3, 5)], [(3, 4)]),
    ("y = Gemm <transB=1> (x, w)", "float[n,k] x", {"w": (2, 5)}, [(3, 5)], [(3, 4)]),
    ("y = Conv <group=2> (x, w)", "float[n,c,7,5] x", {"w": (4, 3, 3, 3)}, [(2, 6, 7, 5)],
     [(2, 3, 7, 5)]),
    ("y = Conv(x, w)", "float[n,3,h,5] x", {"w": (4, 3, 5, 3)}, [(2, 3, 5, 5)], [(2, 3, 2, 5)]),
    ("y = AveragePool <kernel_shape=[5,3]> (x)", "float[n,3,h,5] x", {}, [(2, 3, 5, 5)],
     [(2, 3, 3, 5)]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "inputs", "constants", "fits", "does_not"), CASES)
def test_what_does_not_fit_does_not_run(text, inputs, constants, fits, does_not):
    proto = model(text, inputs, constants=constants)
    names = [value.name for value in proto.graph.input]
    for shapes, runs in ((fits, True), (does_not, False)):
        given = dict(zip(names, shapes, strict=True))
        told = count(proto, given).misfit
        assert bool(told) != runs
        feeds = {name: np.ones(shape, np.float32) for name, shape in given.items()}
        if runs:
            with opened(read(proto)) as run:
                run(feeds)
        else:
            assert told.split()[0] in text
            with pytest.raises(EngineRefuses), opened(read(proto)) as run:
                run(feeds)
