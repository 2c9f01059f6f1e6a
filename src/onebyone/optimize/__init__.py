"""Optimise ONNX models exactly; the package itself can be called: `onebyone.optimize(model)`.

The call is `onebyone.api.optimize`, which takes PyTorch modules too; `optimize` here is the stage.
"""

from __future__ import annotations

from onebyone.callable import calls
from onebyone.cost.profile import Profile
from onebyone.optimize.report import Report
from onebyone.optimize.run import Optimized, optimize

__all__ = ["Optimized", "Profile", "Report", "optimize"]

calls(__name__, "onebyone.api", "optimize")
