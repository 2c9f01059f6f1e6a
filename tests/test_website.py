"""The documentation site: every page has its place, every link is turned, nothing is left out."""

from __future__ import annotations

import importlib.util
import os
import re
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
NAVIGATION = re.findall(r"^ +- .*: (\S+\.(?:md|html))$", (ROOT / "mkdocs.yml").read_text(), re.M)


def script(name: str) -> ModuleType:
    """A file of website/, which is no package."""
    spec = importlib.util.spec_from_file_location(
        f"website_{name}", ROOT / "website" / f"{name}.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The script, with all pages laid out but those that commands make."""
    module = script("pages")
    module.OUT = tmp_path_factory.mktemp("docs")
    module.made = lambda: None
    module.main()
    return module


def test_the_table_of_laws_is_that_of_their_rows() -> None:
    laws = script("laws")
    page = laws.PAGE.read_text(encoding="utf-8")
    assert laws.written(page) == page, "`make format` writes it anew"


def test_all_pages_can_be_reached(site: ModuleType) -> None:
    pages = {site.place(path) for path in (ROOT / "docs").glob("*.md")}
    assert {path.as_posix() for path in pages} <= set(NAVIGATION)
    made = {path.name for path in site.MADE}
    assert all((site.OUT / page).is_file() for page in NAVIGATION if page not in made)


def test_links_lead_to_files_of_the_site(site: ModuleType) -> None:
    made, found = {path.name for path in site.MADE}, 0
    for page in site.OUT.rglob("*.md"):
        if page.name.endswith(".py.md"):
            continue  # a listing of source
        for match in site.LINK.finditer(page.read_text(encoding="utf-8")):
            if "://" not in match[0]:
                path = Path(os.path.normpath(page.parent / match[0]))
                assert path.is_file() or path.name in made, (page, match[0])
                found += 1
    assert found > 50


def test_sources_that_prove_a_claim_are_pages(site: ModuleType) -> None:
    seeds = (site.OUT / "seeds.md").read_text(encoding="utf-8")
    assert "](repository/tests/seeds/test_dense.py.md)" in seeds
    listing = site.OUT / "repository" / "tests" / "seeds" / "test_dense.py.md"
    assert "def test_the_layer_has_614656_weights" in listing.read_text(encoding="utf-8")


def test_a_link_that_leads_nowhere_fails(site: ModuleType, tmp_path: Path) -> None:
    page = ROOT / "docs" / "new.md"
    with pytest.raises(FileNotFoundError, match=r"docs/new\.md links to nowhere\.md"):
        list(site.linked(page, "[a](https://example.org) [b](count.md#depth) [c](nowhere.md)"))


def test_links_are_seen_from_where_the_page_stands(site: ModuleType) -> None:
    page = ROOT / "docs" / "decisions" / "0001-onnx-ir.md"
    text = "[](../count.md#depth) [](../../README.md) [](README.md) [](../../benchmarks/README.md)"
    turned = (
        "[](../count.md#depth) [](../index.md) [](index.md) [](../repository/benchmarks/index.md)"
    )
    assert site.seen_from_site(page, text) == turned


def test_what_the_api_documents_is_there(site: ModuleType) -> None:
    for _, parts in site.API.values():
        for part in parts.split():
            home, _, name = part.rpartition(".")
            try:
                import_module(part)
            except ModuleNotFoundError:
                assert hasattr(import_module(home), name), part


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 180
