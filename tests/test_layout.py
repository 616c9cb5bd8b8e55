"""Where tests live: a file a module, in the folder of its room, and nothing imported from tests."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from .support.harness import ROOT
from .support.imports import imports_of

PACKAGE, TESTS = ROOT / "sanic_chat", ROOT / "tests"

ELSEWHERE: dict[str, tuple[str, str]] = {
    "__main__": ("is the command by another name", "cli/test_main"),
    "app": ("is tried as a whole", "server/test_start upgrade/test_sanic_internals"),
    "broker/tls": ("needs a Redis behind TLS", "server/test_redis_access"),
    "config/declaration": (
        "is tried by each setting",
        "config/test_settings config/test_environment",
    ),
    "errors": ("is tried where each is raised", "protocol/test_message test_readme"),
    "pod/broker_events": ("needs pods", "server/test_events server/test_cluster pod/test_overload"),
    "cluster/cluster": ("puts parts together", "cluster/test_asking cluster/test_directory"),
    "pod/client_messages": ("needs a pod", "server/test_messages server/test_personal_rooms"),
    "pod/commands": ("needs a pod", "server/test_commands pod/test_answers"),
    "pod/drain": ("is a promise to clients", "server/test_drain server/test_stop"),
    "pod/notifier": ("needs a pod", "server/test_events"),
    "pod/pod": ("is tried call by call", "pod/test_calls pod/test_failed_sessions"),
    "pod/publishing": ("needs a pod", "server/test_publish web/test_publish"),
    "pod/readiness": ("is a promise to balancers", "server/test_readiness"),
    "pod/greeter": ("needs a pod", "server/test_events server/test_tokens"),
    "pod/renewal": ("needs a pod", "server/test_tokens"),
    "pod/rooms": ("needs a pod", "server/test_commands pod/test_answers server/test_permissions"),
    "process/manager_hooks": (
        "needs a manager",
        "process/test_supervisor process/test_cannot_replace process/test_sanic_internals",
    ),
    "process/workers": ("needs a manager", "server/test_sighup process/test_sanic_internals"),
    "process/worker_states": ("needs workers", "process/test_cannot_replace"),
    "serving/context": ("holds parts", "server/test_start"),
    "serving/main_process": ("is tried as a whole", "server/test_start process/test_supervisor"),
    "serving/worker_process": ("is tried as a whole", "server/test_start server/test_stop"),
    "session/handler": ("is a protocol for types", "session/test_session"),
    "stats/worker_families": ("is a table", "stats/test_prometheus"),
    "upgrade/sanic_http": (
        "is tried beside Sanic",
        "upgrade/test_deadlines upgrade/test_fast_path",
    ),
    "web/api": ("is a table", "web/test_access web/test_publish"),
    "web/asgi": ("needs an ASGI server", "server/test_start"),
    "web/directory": ("needs pods", "server/test_directory cluster/test_directory"),
    "web/removals": ("needs pods", "server/test_removals"),
    "web/ports": ("needs two ports", "server/test_admin"),
    "web/probes": ("is a promise to balancers", "server/test_readiness"),
    "version": ("is one constant", "cli/test_main server/test_stats"),
    "worker": ("is tried as a whole", "server/test_start pod/test_calls"),
}
"""Modules without a test file of their name: why, and the files that test them."""

NOT_ROOMS = {"conf", "hostile", "mutants", "server", "soak", "support"}
"""Folders of tests that are about more than one room."""

MODULES = sorted(
    path.relative_to(PACKAGE).with_suffix("").as_posix()
    for path in PACKAGE.rglob("*.py")
    if path.stem != "__init__"
)


def own_tests(module: str) -> Path:
    """The place of a module's own tests."""
    return TESTS / Path(module).parent / f"test_{Path(module).name}.py"


def has_tests(path: Path) -> bool:
    """Whether there is a file, with a test in it."""
    return path.exists() and any(
        isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
        for node in ast.walk(ast.parse(path.read_text()))
    )


@pytest.mark.parametrize("module", MODULES)
def test_a_module_has_tests(module: str) -> None:
    """They stand in a file of its name, or in those that the list names."""
    if module not in ELSEWHERE:
        assert has_tests(own_tests(module))
        return
    assert not own_tests(module).exists(), "it has a file of its own: take it off the list"
    for name in ELSEWHERE[module][1].split():
        assert has_tests(TESTS / f"{name}.py"), name


def test_the_list_is_of_modules() -> None:
    assert set(ELSEWHERE) <= set(MODULES)


def test_folders_are_rooms() -> None:
    """Each folder of tests has the name of a room, or is known to be about several."""
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert {path.parent.name for path in TESTS.glob("*/*.py")} <= rooms | NOT_ROOMS


def test_nothing_imports_tests() -> None:
    """What two files of tests need lives in `support`; no test imports another, nor conftest."""
    wrong = [
        (str(source), name)
        for source in TESTS.rglob("*.py")
        for name, _, _ in imports_of(
            source.read_text(), ["tests", *source.parent.relative_to(TESTS).parts]
        )
        if re.match(r"tests\.(.*\.)?(conftest|test_)", name)
    ]
    assert not wrong
