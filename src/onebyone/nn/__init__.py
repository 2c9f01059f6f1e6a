"""PyTorch layers and blocks built on the 1×1 convolution.

>>> from onebyone import nn
>>> nn.Pointwise(256, 64)
Pointwise(256, 64)
"""

from __future__ import annotations

try:
    import torch as _torch  # noqa: F401 - only to say what to install if it is not there
except ImportError as error:
    raise ImportError("onebyone.nn needs PyTorch: pip install 'onebyone[torch]'") from error

from onebyone.nn.pointwise import Pointwise

__all__ = ["Pointwise"]
