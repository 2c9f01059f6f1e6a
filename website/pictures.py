"""README's pictures, and screenshots of all there is to see (`make pictures`).

    docs/pictures/      rewrite, class_maps and explorer, light and dark: kept in the repository
    build/pictures/     each panel of the explorer, and each section of reports of SegFormer-B2, a
                        YOLO-style neck and the demo: light and dark, 1280 and 375 pixels wide

Everything is drawn by the commands themselves and seen by a real browser; `CHROMIUM` names it where
it is not called chromium.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, sync_playwright

from onebyone.api import optimize
from onebyone.bundled import MODEL, held_out
from onebyone.graph.write import write
from onebyone.show.figures import class_maps, save

ROOT = Path(__file__).parents[1]
KEPT, SEEN = ROOT / "docs" / "pictures", ROOT / "build" / "pictures"
SCHEMES: tuple[Any, ...] = ("light", "dark")
WIDTHS = (1280, 375)
MODELS = {"segformer-b2": "torchscript", "yolo-neck": "torchscript"}
# Both graphs beside each other, however wide they are: nobody reads a picture of two screens.
BESIDE = """pair => {
    pair.classList.remove("stack");
    Object.assign(pair.style, {width: "max-content", columnGap: "2rem", padding: "1rem"});
    pair.style.gridTemplateColumns = "max-content 14rem max-content";
}"""
COLOURS = 128
MARGIN = 16


def onebyone(*words: str | Path) -> None:
    """Run a command of the program; raises CalledProcessError where it fails."""
    command = [sys.executable, "-m", "onebyone", *map(str, words)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def reports(folder: Path) -> dict[str, Path]:
    """Reports of the three networks, by name."""
    models = {"demo": MODEL}
    for name, exporter in MODELS.items():
        models[name] = folder / f"{name}.onnx"
        script = ROOT / "benchmarks" / "models.py"
        words = ["--export", name, "--exporter", exporter, "-o", models[name]]
        subprocess.run([sys.executable, script, *words], check=True, stdout=subprocess.DEVNULL)
    for name, model in models.items():
        shape = ["--shape", "canvas=1,1,96,112"] if name == "demo" else []
        onebyone("optimize", model, "--dry-run", "--report", folder / f"{name}.html", *shape)
    return {name: folder / f"{name}.html" for name in models}


@contextmanager
def opened(browser: Browser, path: Path, width: int, scheme: Any) -> Iterator[Page]:
    """A page as it is drawn at a width, in light or dark."""
    size: Any = {"width": width, "height": 900}
    page = browser.new_page(viewport=size, color_scheme=scheme)
    page.goto(path.as_uri())
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(700)
    yield page
    page.close()


def look(browser: Browser, pages: dict[str, Path]) -> None:
    """Each section of each page."""
    for scheme in SCHEMES:
        for width in WIDTHS:
            for name, path in pages.items():
                with opened(browser, path, width, scheme) as page:
                    for number, section in enumerate(page.locator("main section").all(), 1):
                        path = SEEN / f"{name}-{number:02}-{width}-{scheme}.png"
                        photograph(page, section, path, width)  # a table may be wider than its text


def photograph(page: Page, part: Locator, path: Path, width: int = 0) -> None:
    """A part of a page, with a margin; or as wide as the page, whose width is given."""
    part.scroll_into_view_if_needed()
    page.wait_for_timeout(300)  # what is drawn when it is first seen
    box = part.evaluate(
        "e => { const r = e.getBoundingClientRect();"
        " return [r.x + scrollX, r.y + scrollY, r.width, r.height]; }"
    )
    x, y, wide, high = box
    left, top = max(x - MARGIN, 0), max(y - MARGIN, 0)
    size = {"width": x + wide + MARGIN - left, "height": y + high + MARGIN - top}
    if width:
        left, size["width"] = 0, width
    page.screenshot(path=path, full_page=True, clip={"x": left, "y": top, **size})


def keep(browser: Browser, pages: dict[str, Path]) -> None:
    """What README and the site show."""
    for scheme in SCHEMES:
        with opened(browser, pages["segformer-b2"], 2000, scheme) as page:
            pair = page.locator("article.region .pair").first
            pair.evaluate(BESIDE)
            pair.screenshot(path=KEPT / f"rewrite-{scheme}.png")
        with opened(browser, pages["explorer"], 1000, scheme) as page:
            first = page.locator("main section .play").first
            photograph(page, first, KEPT / f"explorer-{scheme}.png")


def shrink() -> None:
    """Drawings in few colours, a third of the bytes; the explorer shows a photograph."""
    for path in (*KEPT.glob("rewrite*.png"), *KEPT.glob("class_maps*.png")):
        Image.open(path).convert("RGB").quantize(COLOURS).save(path, optimize=True)


def maps(folder: Path) -> None:
    """The class maps of a canvas of the demo, by the network as it ships and as it is rewritten."""
    truth = held_out()
    x = truth.inputs()[:1]
    write(optimize(MODEL, shapes={"canvas": x.shape}).model, folder / "after.onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # the same sums, in the same order, on every machine's cores
    both = [
        np.asarray(onnxruntime.InferenceSession(path, options).run(["maps"], {"canvas": x})[0])[0]
        for path in (MODEL, folder / "after.onnx")
    ]
    for scheme in SCHEMES:
        figure = class_maps(truth.canvases[0], *both, dark=scheme == "dark")
        save(figure, KEPT / f"class_maps-{scheme}.png")


def main() -> int:
    """Draw all; 1 where there is no browser."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        print("pictures need a browser: apt-get install chromium, or CHROMIUM=/path/to/it")
        return 1
    KEPT.mkdir(parents=True, exist_ok=True)
    SEEN.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        folder = Path(temporary)
        pages = reports(folder)
        onebyone("explore", "-o", folder / "explorer.html")
        pages["explorer"] = folder / "explorer.html"
        maps(folder)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        keep(browser, pages)
        shrink()
        look(browser, pages)
        browser.close()
    print(f"kept: {KEPT}\nto be looked at: {SEEN}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
