"""Optimise ONNX models exactly; the package itself can be called: `onebyone.optimize(model)`.

The call is `onebyone.api.optimize`, which takes PyTorch modules too; `optimize` here is the stage.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from onebyone import api
from onebyone.cost.profile import Profile
from onebyone.optimize.report import Report
from onebyone.optimize.run import Optimized, optimize

__all__ = ["Optimized", "Profile", "Report", "optimize"]


class _Callable(ModuleType):
    """`onebyone.optimize` names both this package and its one function."""

    def __call__(self, *args: Any, **kwargs: Any) -> Optimized:
        return api.optimize(*args, **kwargs)


__wrapped__ = api.optimize
"""What `inspect.signature` and `help` show of the call."""

sys.modules[__name__].__class__ = _Callable
