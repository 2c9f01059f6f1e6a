"""Mutant: one change of the text that breaks a law (see mutants.py)."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Mutant"]


@dataclass(frozen=True)
class Mutant:
    """One fault.

    Args:
        law: the law that it breaks.
        file: under src/onebyone.
        fault: what is wrong then.
        tests: names of test files, "algebra/channel" for tests/algebra/test_channel.py.
        text: what stands in the file, once.
        instead: what stands there after.
    """

    law: str
    file: str
    fault: str
    tests: str
    text: str
    instead: str

    @property
    def paths(self) -> list[str]:
        """The test files."""
        return [_path(name) for name in self.tests.split()]


def _path(name: str) -> str:
    folder, _, stem = name.rpartition("/")
    return f"tests/{folder}/test_{stem}.py"
