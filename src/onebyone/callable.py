"""Packages that are functions too: `onebyone.optimize(model)` beside `onebyone.optimize.run`.

Why a package has to be both: docs/decisions/0005-callable-package.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

__all__ = ["calls"]


def calls(package: str, module: str, name: str) -> None:
    """From now on calling `package` calls the function `name` of `module`, imported when needed.

    >>> import onebyone.verify
    >>> callable(onebyone.verify)
    True
    """

    # Python looks for `__call__` in the class of an object, never in the object: a function that
    # is put into a module does not make it callable.
    class Package(ModuleType):
        @property
        def __wrapped__(self) -> Callable[..., Any]:
            """What `inspect.signature` and `help` show of the call."""
            function: Callable[..., Any] = getattr(import_module(module), name)
            return function

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return self.__wrapped__(*args, **kwargs)

    sys.modules[package].__class__ = Package
