"""Put the explorer together: one HTML file that asks nothing of the network, the same every time.

    page/main.js and what it imports ──bundle──▶ one script ┐
    show/page/tokens.css, page/style.css ────────▶ one style ├──▶ page/index.html filled in
    data.py ─────────────────────────────▶ base64 blocks ────┘    with the hashes of both

To add a panel:

1. Write `page/panels/NAME.js`. It exports `panel`, an object with
   `id` (also the prefix of its names), `question` (the title), `claims` (numbers of docs/seeds.md),
   `text` (paragraphs, HTML), `state` (fields made by `integer`, `number`, `flag`, `choice` of
   `state.js`; their values prove the claim as they stand), and three functions:
   `solve(state, data)`, all that is computed, without the page: a plain object;
   `proofs(result, state)`, the numbers that prove the point, the most telling first:
   `[{name: "maps.maps", value: 64, label: "maps"}]`, `value` in full precision;
   `mount(root, ui)`, which fills `root` once and returns `draw(state, result)`, called after each
   change. `ui` has controls bound to a field (`ui.slider("w", "red")`, `ui.flag`, `ui.choice`),
   `ui.set({w: 1})`, `ui.state()` and `ui.data`. `settle(state, before)`, if there is one, makes
   fields fit each other.
2. Add it to the list of `page/panels/index.js`.
3. Mathematics goes to `page/mathematics/` (pure functions on Float64Array), a new kind of drawing
   to `page/draw/`, data to `data.py`.
4. Say what each number must be in `tests/show/explorer/expected/NAME.py`: the library's answer.
5. `python examples/explorer_data.py` links docs/seeds.md to it.

The tests of the browser (keyboard, axe, drags, links, every number) then cover it.
"""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

from onebyone.show.explorer.data import Block, blocks

__all__ = ["PAGE", "build", "bundle"]

PAGE = Path(__file__).parent / "page"
TOKENS = Path(__file__).parents[1] / "page" / "tokens.css"

# The only forms of both that a module may use.
_IMPORT = re.compile(r'^import \{([^}]*)\} from "(\.{1,2}/[\w./]+\.js)";$', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:function|const) (\w+))", re.MULTILINE)
_OTHER = re.compile(r"^\s*(?:import|export)\b.*|\bimport\s*\(.*|</script.*", re.MULTILINE)


def build(docs: str = "") -> str:
    """The page. It is byte-identical when built again.

    Args:
        docs: the address of the page of docs/seeds.md, to which claims link; without it, the page
            tells them itself and links nowhere.
    """
    style = TOKENS.read_text(encoding="utf-8") + (PAGE / "style.css").read_text(encoding="utf-8")
    script = f"{bundle('main.js')};\n"
    policy = (
        f"default-src 'none'; script-src {_source(script)}; style-src {_source(style)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    filled = {
        "policy": policy,
        "style": style,
        "script": script,
        "data": "\n".join(map(_element, blocks(docs))),
    }
    frame = (PAGE / "index.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda found: filled[found[1]], frame)


def bundle(entry: str) -> str:
    """A JavaScript expression that runs the module `page/<entry>` and has its exports for value.

    Each module becomes a function that is called once, after those that it imports.

    Raises:
        ValueError: modules import each other in a circle, or in a form that is not taken.

    >>> bundle("mathematics/seed.js").splitlines()[:3]
    ['(() => {', '"use strict";', 'const $mathematics_seed = (() => {']
    """
    parts: dict[Path, str] = {}
    _add((PAGE / entry).resolve(), parts, ())
    name = _name((PAGE / entry).resolve())
    return "\n".join(['(() => {\n"use strict";', *parts.values(), f"return {name};\n}})()"])


def _add(path: Path, parts: dict[Path, str], above: tuple[Path, ...]) -> None:
    """The module at `path` behind all that it imports, each once."""
    if path in above:
        raise ValueError(f"{path}: modules import each other in a circle")
    if path in parts:
        return
    source = path.read_text(encoding="utf-8")
    for found in _IMPORT.finditer(source):
        _add((path.parent / found[2]).resolve(), parts, (*above, path))
    parts[path] = _module(path, source)


def _module(path: Path, source: str) -> str:
    names = _EXPORT.findall(source)
    body = _IMPORT.sub(lambda found: _taken(path, found), source)
    body = _EXPORT.sub("", body)
    if other := _OTHER.search(body):
        raise ValueError(f"{path}: {other[0].strip()!r} is not taken: see bundle's forms")
    return f"const {_name(path)} = (() => {{\n{body}return {{ {', '.join(names)} }};\n}})();"


def _taken(path: Path, found: re.Match[str]) -> str:
    names = " ".join(found[1].split()).replace(" as ", ": ")
    return f"const {{ {names} }} = {_name((path.parent / found[2]).resolve())};"


def _name(path: Path) -> str:
    """`draw/bars.js` -> `$draw_bars`."""
    return "$" + "_".join(path.relative_to(PAGE.resolve()).with_suffix("").parts)


def _source(text: str) -> str:
    """What a content security policy calls an inline element with this text."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _element(block: Block) -> str:
    shape = ",".join(map(str, block.shape))
    text = base64.b64encode(block.content).decode()
    return (
        f'<script type="text/plain" data-name="{block.name}" data-shape="{shape}">{text}</script>'
    )
