"""A report: one HTML file that asks nothing of anyone.

    result ──blocks──▶ values ──templates──▶ HTML, with its own style, script and JSON inside

Whatever a model is called, its name is text: Jinja2 escapes it, in JSON `<`, `>` and `&` are
escapes, and the page's policy lets no other style and script run than its own, by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onebyone.errors import UsageError
from onebyone.graph.files import replace
from onebyone.show.html.words import named
from onebyone.text import finite

if TYPE_CHECKING:
    from jinja2 import Environment

    from onebyone.graph.receptive import ModelGeometry
    from onebyone.show.html.blocks import Reported

__all__ = ["available", "page", "safe_json", "save"]

_NEEDED = ("jinja2", "fast_sugiyama")


def available() -> None:
    """Nothing, if what a report is made with is installed.

    Raises:
        UsageError: it is not.
    """
    from importlib.util import find_spec

    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"a report needs {' and '.join(missing)}: pip install 'onebyone[report]', "
            "on Python 3.11 or newer"
        )


def page(
    result: Reported, title: str = "onebyone", geometry: ModelGeometry | str | None = None
) -> str:
    """The whole file.

    Args:
        result: what the report is of.
        title: of the page, such as the name of the model.
        geometry: of the model, or why it has none; without it that part is left out.

    Raises:
        UsageError: what it is made with is not installed.
    """
    available()
    from onebyone.show.html.blocks import blocks

    found = blocks(result, geometry)
    style, script = _style(), _script()
    tables = [block.value.data for block in found if block.template == "layers"]  # type: ignore[attr-defined]
    return (
        _templates()
        .get_template("page.html")
        .render(
            title=named(title, 120),
            kind=type(result).__name__.lower(),
            blocks=found,
            style=_trusted(style),
            script=_trusted(script),
            policy=_policy(style, script),
            result=safe_json(result.to_dict()),
            layers=safe_json(tables[0]) if tables else None,
        )
    )


def save(text: str, path: str | os.PathLike[str]) -> None:
    """Write a page: the whole new file under its name, or the old one.

    Raises:
        UsageError: the file cannot be written.
    """
    replace(path, text.encode("utf-8"))


def is_page(path: Path) -> bool:
    """Whether what is in a file begins as a page does."""
    try:
        with path.open("rb") as file:
            return file.read(64).lstrip().lower().startswith(b"<!doctype html")
    except OSError:
        return False


def safe_json(value: Any) -> Any:
    r"""JSON that can stand in a page's script element, whatever its texts are.

    >>> str(safe_json({"name": "</script>&"}))
    '{"name":"\\u003c/script\\u003e\\u0026"}'
    """
    text = json.dumps(finite(value), allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return _trusted(text)


def _trusted(text: str) -> Any:
    """Text that is HTML already: the page's own, or made safe."""
    from markupsafe import Markup

    return Markup(text)


@cache
def _templates() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("onebyone.show.html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _style() -> str:
    shared = files("onebyone.show").joinpath("page/tokens.css").read_text(encoding="utf-8")
    return shared + files(__package__).joinpath("page/report.css").read_text(encoding="utf-8")


@cache
def _script() -> str:
    folder = files(__package__).joinpath("page")
    names = ("theme.js", "strip.js", "table.js")
    return "".join(folder.joinpath(name).read_text(encoding="utf-8") for name in names)


def _policy(style: str, script: str) -> str:
    return (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
