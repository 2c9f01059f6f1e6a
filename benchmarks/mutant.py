"""Mutant: one change of the syntax tree that breaks a law, and where it stands (see mutants.py).

What is changed is named by the function that it stands in and by the code itself, compared as
syntax trees: neither the layout of the text, nor the comments, nor the file matters. So code can
move, as long as the function keeps its name and the pair stands once in the package.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

__all__ = ["Mutant", "Place", "Scopes", "mutated", "places", "scopes"]


@dataclass(frozen=True)
class Mutant:
    """One fault.

    Args:
        law: the law that it breaks.
        scope: the function or class, with the names of those around it: "Kernel.plus".
        fault: what is wrong then.
        tests: names of test files, "algebra/channel" for tests/algebra/test_channel.py.
        code: an expression, or statements in a row, that stands in the scope.
        instead: what stands there after; no statements where it is empty.
    """

    law: str
    scope: str
    fault: str
    tests: str
    code: str
    instead: str

    @property
    def paths(self) -> list[str]:
        """The test files."""
        return [_path(name) for name in self.tests.split()]

    @cached_property
    def wanted(self) -> list[str]:
        """The code as trees in text form: one expression, or each statement."""
        return [ast.dump(node) for node in self._parsed(self.code)]

    @property
    def replacement(self) -> list[ast.AST]:
        """New nodes to stand there instead."""
        return self._parsed(self.instead)

    def _parsed(self, code: str) -> list[ast.AST]:
        # An expression is looked for wherever one may stand, unless a statement replaces it.
        both = [_expression(part) for part in (self.code, self.instead)]
        if None in both:
            return [*ast.parse(code).body]
        return [node for node in (_expression(code),) if node]


def _expression(code: str) -> ast.expr | None:
    try:
        return ast.parse(f"({code}\n)", mode="eval").body if code else None
    except SyntaxError:
        return None


def _path(name: str) -> str:
    folder, _, stem = name.rpartition("/")
    return f"tests/{folder}/test_{stem}.py"


@dataclass(frozen=True)
class Place:
    """Nodes in a row, in a field of their parent; `count` is 0 where the field is one node."""

    path: Path
    parent: ast.AST
    field: str
    start: int = 0
    count: int = 0


Scopes = dict[str, list[tuple[Path, ast.AST]]]
"""The functions and classes of each qualified name, and the files that they stand in."""


def scopes(trees: Mapping[Path, ast.Module]) -> Scopes:
    """All functions and classes of these files."""
    named: Scopes = {}
    for path, tree in trees.items():
        for name, node in _named(tree, ""):
            named.setdefault(name, []).append((path, node))
    return named


def _named(node: ast.AST, inside: str) -> Iterator[tuple[str, ast.AST]]:
    for child in ast.iter_child_nodes(node):
        name = inside
        if isinstance(child, ast.FunctionDef | ast.ClassDef):
            name += child.name
            yield name, child
            name += "."
        if isinstance(child, ast.stmt | ast.ExceptHandler):
            yield from _named(child, name)


def places(known: Scopes, mutant: Mutant) -> list[Place]:
    """Wherever a mutant's code stands in a scope of its name."""
    return [
        Place(path, parent, *where)
        for path, scope in known.get(mutant.scope, ())
        for parent in ast.walk(scope)
        for where in _stretches(parent, mutant.wanted)
    ]


def _stretches(parent: ast.AST, wanted: list[str]) -> Iterator[tuple[str, int, int]]:
    """The fields of a node, and the parts of them, that are what is wanted."""
    count = len(wanted)
    for name, value in ast.iter_fields(parent):
        if isinstance(value, list):
            dumped = [ast.dump(each) if isinstance(each, ast.AST) else "" for each in value]
            starts = range(len(dumped) - count + 1)
            yield from ((name, k, count) for k in starts if dumped[k : k + count] == wanted)
        elif isinstance(value, ast.AST) and [ast.dump(value)] == wanted:
            yield name, 0, 0


def mutated(mutant: Mutant, texts: Mapping[Path, str]) -> tuple[Path, str]:
    """The file that a mutant changes, of these, and its text after, without comments.

    Raises:
        SystemExit: the code does not stand there exactly once.
    """
    trees = {path: ast.parse(text) for path, text in texts.items()}
    found = places(scopes(trees), mutant)
    if len(found) != 1:
        raise SystemExit(f"{mutant.scope}: got {mutant.code!r} {len(found)} times, wanted it once")
    place, new = found[0], mutant.replacement
    if place.count:
        getattr(place.parent, place.field)[place.start : place.start + place.count] = new
    else:
        setattr(place.parent, place.field, new[0])
    return place.path, ast.unparse(trees[place.path])
