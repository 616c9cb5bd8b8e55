"""That what README and docs name is there: files, modules, pages, headings."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from sanic_chat import __all__ as FACE

from .support.harness import ROOT
from .support.markdown import PAGES, Page

OTHERS = [*ROOT.glob("conf/*/*"), ROOT / "conf/.env.example", ROOT / "tox.ini", ROOT / ".ci/run"]
TOPS = ("sanic_chat", "tests", "benchmarks")
_PATH = re.compile(
    r"(?<![\w/.$-])((?:[\w*.-]+/)*[\w*-]+\.(?:py|md|html|cfg|conf|ini|toml|example)"
    r"|(?:sanic_chat|tests|benchmarks|docs|conf)/[\w*./-]*[\w*])(?![\w*/-])"
)
_MODULE = re.compile(
    r"python3? -m ([\w.]+)|(?<![\w/.])((?:sanic_chat|tests|benchmarks)(?:\.[a-z_]\w*)+)\b"
)
NAMES = {path.name for top in TOPS for path in (ROOT / top).rglob("*.*")}


def exists(named: str, path: Path) -> bool:
    """Whether there is such a file: from the top, beside `path`, or in a folder of its own."""
    if named in NAMES:
        return True
    return any(
        any(place.glob(named)) for place in (ROOT, path.parent, *(ROOT / top for top in TOPS))
    )


@pytest.mark.parametrize("path", [*(page.path for page in PAGES), *OTHERS], ids=lambda p: p.name)
def test_files_exist(path: Path) -> None:
    """Every path of this repository that is named is one."""
    missing = {name for name in _PATH.findall(path.read_text()) if not exists(name, path)}
    assert not missing


@pytest.mark.parametrize("path", [*(page.path for page in PAGES), *OTHERS], ids=lambda p: p.name)
def test_modules_exist(path: Path) -> None:
    """Every module that is named, or run with `python -m`, can be imported; or is in the face."""
    for run, named in _MODULE.findall(path.read_text()):
        if named.removeprefix("sanic_chat.") in FACE:
            continue
        try:
            found = importlib.util.find_spec(run or named)
        except ModuleNotFoundError:
            found = None
        assert found, run or named
        if run and found.submodule_search_locations:
            assert importlib.util.find_spec(f"{run}.__main__"), run


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path.name)
def test_links_lead_somewhere(page: Page) -> None:
    """Every link within the repository leads to a file, and to a heading that it has."""
    for link in page.links():
        path, _, anchor = link.partition("#")
        if "://" in path:
            continue
        target = (page.path.parent / path).resolve() if path else page.path
        assert target.exists(), link
        if anchor:
            assert anchor in Page(target).anchors(), link


def test_every_page_is_led_to() -> None:
    """README leads to every page of docs."""
    linked = {
        (ROOT / link.partition("#")[0]).resolve() for link in Page(ROOT / "README.md").links()
    }
    assert not {page.path for page in PAGES if page.path.parent.name == "docs"} - linked
