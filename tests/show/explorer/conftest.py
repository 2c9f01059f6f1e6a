"""The explorer in a browser, and its modules by themselves."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from onebyone.show.explorer.build import build, bundle

Opened = Callable[..., Page]


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where the page is: a file, built once."""
    file = tmp_path_factory.mktemp("explorer") / "explorer.html"
    file.write_text(build(), encoding="utf-8")
    return file.as_uri()


@pytest.fixture
def opened(browser: Browser, address: str) -> Iterator[Opened]:
    """`opened("#at=pixel", width=…, scheme=…, motion=…)`: the page, drawn.

    At the end, what the console said and what was asked of the network must be nothing.
    """
    contexts, complaints = [], []

    def opened(
        at: str = "", width: int = 1280, scheme: Any = "light", motion: Any = "no-preference"
    ) -> Page:
        viewport: Any = {"width": width, "height": 900}
        context = browser.new_context(viewport=viewport, color_scheme=scheme, reduced_motion=motion)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: _note(request.url, address, complaints))
        page.goto(address + at)
        page.wait_for_selector("html[data-complete]", state="attached")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


def _note(url: str, address: str, complaints: list[str]) -> None:
    if url.partition("#")[0] != address and not url.startswith("data:"):
        complaints.append(f"asked for {url}")


@pytest.fixture(scope="session")
def mathematics(browser: Browser) -> Iterator[Callable[..., Any]]:
    """`mathematics("mathematics/pointwise.js", "sum", [1, 2])`: a function of the page's modules.

    Arrays go and come as lists, also within objects; numbers are those of the page, bit for bit.
    """
    page = browser.new_page()

    def call(module: str, name: str, *arguments: object) -> Any:
        return page.evaluate(
            f"""arguments => {{
                const modules = (globalThis.modules ??= {{}});
                const module = (modules[{json.dumps(module)}] ??= {bundle(module)});
                const typed = a => {{
                    if (a === null || typeof a !== "object") return a;
                    if (Array.isArray(a))
                        return typeof a[0] === "object" ? a.map(typed) : Float64Array.from(a);
                    return Object.fromEntries(Object.entries(a).map(([k, v]) => [k, typed(v)]));
                }};
                const plain = v => (ArrayBuffer.isView(v) ? Array.from(v) : v);
                const result = module[{json.dumps(name)}](...arguments.map(typed));
                return Array.isArray(result) ? result.map(plain) : plain(result);
            }}""",
            list(arguments),
        )

    yield call
    page.close()
