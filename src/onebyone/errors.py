"""Everything that onebyone raises on purpose.

    OnebyoneError
    ├── CheckFailed       a check ran and said no                  exit code 1
    ├── UsageError        the caller asked for something impossible     exit code 2
    └── UnreadableModel   the input is not a model that can be used     exit code 3

Each message says what was got, what was wanted and how to fix it, on one line.
"""

from __future__ import annotations

__all__ = ["CheckFailed", "OnebyoneError", "UnreadableModel", "UsageError"]


class OnebyoneError(Exception):
    """Base of all errors raised by onebyone; `exit_code` is what the CLI exits with."""

    exit_code = 1


class CheckFailed(OnebyoneError):
    """A check ran and the answer is no: a certificate or a comparison failed."""

    exit_code = 1


class UsageError(OnebyoneError):
    """The request cannot be carried out as asked: an unknown law, a shape that does not fit."""

    exit_code = 2


class UnreadableModel(OnebyoneError):
    """The input is missing, damaged, or not a model that onebyone can use."""

    exit_code = 3
