"""Benchmarks import in one direction, and only what outlives a change of sanic_chat."""

from __future__ import annotations

from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.support.imports import imports_of

TOP = Path(__file__).resolve().parents[1]

PLAIN_DATA = {"scenarios", "systems"}
MAY_IMPORT: dict[str, set[str]] = {
    "scenarios": set(),
    "systems": set(),
    "load": set(),
    "peers": set(),
    "micro": set(),
    "results": {*PLAIN_DATA, "load"},
    "measure": {*PLAIN_DATA, "load", "results"},
    "studies": {*PLAIN_DATA, "load", "results", "measure"},
    "run": {*PLAIN_DATA, "load", "results", "measure"},
    "compare": {*PLAIN_DATA, "load", "results", "measure"},
    "report": {*PLAIN_DATA, "load", "results"},
    "tests": {
        *PLAIN_DATA,
        "load",
        "peers",
        "results",
        "measure",
        "studies",
        "run",
        "compare",
        "report",
    },
}
"""The folders and files that each may import besides itself, the lowest first."""

WITHOUT_TESTS = {"scenarios", "load", "peers"}
"""Folders and files that need nothing of tests."""


@cache
def modules() -> dict[str, Path]:
    """Every module of benchmarks, by its name below it."""
    return {
        ".".join(path.relative_to(TOP).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted(TOP.rglob("*.py"))
        if path != TOP / "__init__.py"
    }


def imports(module: str, source: str) -> list[str]:
    """The full name of everything that a module of benchmarks imports, wherever it does."""
    package = modules()[module].relative_to(TOP.parent).parent.parts
    return [found.name for found in imports_of(source, package)]


def forbidden(module: str, source: str) -> list[str]:
    """The imports of the module that are not allowed."""
    return [name for name in imports(module, source) if not is_allowed(module, name)]


def is_allowed(module: str, name: str) -> bool:
    """Whether a module of benchmarks may import that."""
    room = module.partition(".")[0]
    match name.split("."):
        case ["sanic_chat", *rest]:
            return room == "micro" or rest[:1] in (["protocol"], ["websocket"])
        case ["tests", *rest]:
            return rest[:1] == ["support"] and room not in WITHOUT_TESTS
        case ["benchmarks", target, *rest]:
            if any(part == "conftest" or part.startswith("test_") for part in rest):
                return False
            return target == room or target in MAY_IMPORT[room]
    return True


@pytest.mark.parametrize(("module", "path"), modules().items(), ids=list(modules()))
def test_each_module_imports_what_it_may(module: str, path: Path) -> None:
    """Of sanic_chat what is on a wire, of tests their support, of benchmarks what is below it."""
    assert forbidden(module, path.read_text()) == []


def test_no_folder_imports_one_above_it() -> None:
    """A folder imports only those before it, so that there is no circle of folders."""
    lower: set[str] = set()
    for room, others in MAY_IMPORT.items():
        assert others <= lower
        lower.add(room)
    assert lower == {module.partition(".")[0] for module in modules()}


def test_no_circle_of_modules() -> None:
    """Within a folder, too, imports run in one direction."""
    paths = modules()
    graph = {
        module: {
            known
            for name in imports(module, path.read_text())
            for known in (
                name.removeprefix("benchmarks."),
                name.rpartition(".")[0].removeprefix("benchmarks."),
            )
            if name.startswith("benchmarks.") and known in paths
        }
        for module, path in paths.items()
    }
    assert len(list(TopologicalSorter(graph).static_order())) == len(paths)


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("measure.meter", "from sanic_chat.hub.hub import Hub"),
        ("report", "import sanic_chat"),
        ("studies.crash", "from tests.server.test_stop import stop"),
        ("studies.crash", "from tests import conftest"),
        ("load.client", "from tests.support.harness import free_port"),
        ("load.client", "from ..measure.meter import Meter"),
        ("load.client", "from .. import systems"),
        ("results.result", "def late(): from ..measure.meter import Meter"),
        ("scenarios", "from .systems import SYSTEMS"),
        ("measure.rounds", "from ..run import PAIR"),
        ("micro.test_hub", "from .conftest import loop"),
        ("tests.test_report", "from .test_check import message"),
    ],
)
def test_a_forbidden_line_is_noticed(module: str, line: str) -> None:
    """Each rule refuses what it is there to refuse."""
    assert module in modules()
    assert len(forbidden(module, line)) == 1
