"""How long a model may run before it counts as one without end.

Only a Loop can be without end. Nobody can tell such a one from one that takes its time, so there
is a limit, and a way to raise it: the environment variable ONEBYONE_TIME_LIMIT, in seconds.
"""

from __future__ import annotations

import os
from math import isfinite

import onnx_ir as ir

from onebyone.errors import UnreadableModel, UsageError
from onebyone.graph.checks import all_nodes

__all__ = ["VARIABLE", "TakesTooLong", "time_limit"]

VARIABLE = "ONEBYONE_TIME_LIMIT"
# Seconds for one run. 500 words through 12 layers of 512 → 2048 → 512 take 5 on one busy core.
WITH_LOOP = 120.0
# Without a Loop it comes to an end: this is for who forgot how large the model is.
WITHOUT = 600.0


class TakesTooLong(UnreadableModel):
    """A run, or a Loop in it, did not come to an end within the limit.

    >>> str(TakesTooLong("a run", 60))
    'a run took over 60 s: is there a loop without end? If not, set ONEBYONE_TIME_LIMIT=600'
    """

    def __init__(self, what: str, seconds: float) -> None:
        super().__init__(
            f"{what} took over {seconds:g} s: is there a loop without end? "
            f"If not, set {VARIABLE}={10 * seconds:g}"
        )


def time_limit(model: ir.Model | None = None) -> float:
    """Seconds for one run of a model; without it, of one that has no Loop.

    Raises:
        UsageError: ONEBYONE_TIME_LIMIT is no number of seconds.

    >>> import onnx.parser
    >>> text = "g (float[2] x) => (float[2] y) {y = Abs(x)}"
    >>> head = '<ir_version: 8, opset_import: ["": 13]>'
    >>> time_limit(ir.from_proto(onnx.parser.parse_model(head + text)))
    600.0
    """
    given = os.environ.get(VARIABLE)
    if not given:
        nodes = () if model is None else all_nodes(model)
        return WITH_LOOP if any(node.op_type == "Loop" for node in nodes) else WITHOUT
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if not (isfinite(seconds) and seconds > 0):
        raise UsageError(f"got {VARIABLE}={given!r}, wanted a number of seconds, like 600")
    return seconds
