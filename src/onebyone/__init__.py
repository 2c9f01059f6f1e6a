"""onebyone: the algebra of 1x1 convolutions, made usable.

A few functions and the errors they raise; each is imported when it is first asked for, so that
`import onebyone` and `onebyone --help` cost nothing.

    count(model)      parameters, multiply-accumulates and bytes, per layer and in total; of an
                      ONNX model, or of a PyTorch module and an example of its input
    geometry(model)   stride, receptive field, padding of the outputs and of every layer
    optimize(model)   an equal, cheaper model and the report with its proof; a PyTorch module and
                      an example of its input are exported first
    rank(W)           how many output channels are redundant; of a matrix or a PyTorch module
    scan(network, image, target)   slid over an image of any size; needs `onebyone[scan]`
    verify(a, b)      do two models compute the same?
    read, write       ONNX files, checked on the way in, atomic on the way out

`onebyone.nn` holds layers, blocks and conversions for PyTorch; it is imported by its name.

`onebyone.optimize`, `onebyone.scan` and `onebyone.verify` are packages and functions in one:
calling the package calls `onebyone.api.optimize`, `onebyone.scan.scan.scan` and
`onebyone.verify.verify.verify`.

>>> import onebyone
>>> onebyone.__all__
['count', 'errors', 'geometry', 'optimize', 'rank', 'read', 'scan', 'verify', 'write']

`onebyone.__version__` is the version that is installed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from onebyone.shown import seen_by

if TYPE_CHECKING:
    from onebyone import errors
    from onebyone.api import count, geometry, optimize, rank
    from onebyone.graph.read import read
    from onebyone.graph.write import write
    from onebyone.scan.scan import scan
    from onebyone.verify.verify import verify

    __version__: str

__all__ = ["count", "errors", "geometry", "optimize", "rank", "read", "scan", "verify", "write"]

# name -> (module, attribute); no attribute: the name is the module itself.
_HOMES = {
    "count": ("onebyone.api", "count"),
    "errors": ("onebyone.errors", None),
    "geometry": ("onebyone.api", "geometry"),
    "optimize": ("onebyone.optimize", None),
    "rank": ("onebyone.api", "rank"),
    "read": ("onebyone.graph.read", "read"),
    "scan": ("onebyone.scan", None),
    "verify": ("onebyone.verify", None),
    "write": ("onebyone.graph.write", "write"),
}


def __getattr__(name: str) -> object:
    """Import a public name on first use (PEP 562) and keep it."""
    if name == "__version__":
        from importlib.metadata import version

        return version("onebyone")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOMES[name]
    home = import_module(module)
    value = home if attribute is None else getattr(home, attribute)
    globals()[name] = value
    return value


def _views() -> Any:
    return import_module("onebyone.show.views")


seen_by(_views)  # of results, which know no view


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
