"""Fixtures: Redis servers and chat servers that end with the test."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, Phase, settings
from sanic import Sanic

from .support.harness import RedisProcess, ServerProcess, StartServer
from .support.tls import Certificate

WITH_ASSERTS = "apps clients fault_run faults hub sessions settings tokens totals transports"
pytest.register_assert_rewrite(*(f"tests.support.{module}" for module in WITH_ASSERTS.split()))

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # So do shells with what they start in the background; servers would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# HYPOTHESIS_PROFILE=thorough looks for what the default, the same examples every time, misses.
settings.register_profile(
    "default",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "thorough",
    parent=settings.get_profile("default"),
    derandomize=False,
    print_blob=True,
    max_examples=10_000,
)
settings.register_profile(
    "first_failure",  # of a mutant is enough: it is not made small
    parent=settings.get_profile("default"),
    phases=[Phase.explicit, Phase.generate],
)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "default")
settings.load_profile(PROFILE)


# Folders and modules with what may be otherwise on another Python: asyncio's transports, processes
# and signals, Sanic's inside, TLS, Unicode, the texts of errors, calls that are counted.
INTERPRETER = """auth broker/test_addresses broker/test_client broker/test_connection
broker/test_endpoint broker/test_link broker/test_subscriber cli/test_main cli/test_messages
cli/test_serve config/test_environment doctor/test_findings doctor/test_site logs
pod/test_backpressure pod/test_calls process/test_cannot_replace process/test_descriptors
process/test_handover process/test_orphans process/test_os_signals process/test_sanic_internals
process/test_slots process/test_supervisor process/test_watchdog protocol server/test_commands
server/test_messages server/test_no_downtime server/test_readiness server/test_redis_access
server/test_sighup server/test_slow_clients server/test_start server/test_stop server/test_tls
server/test_upgrade session/test_closing session/test_hold session/test_inbound session/test_session
session/test_session_failures upgrade web websocket"""
# On another event loop, which only servers in processes of their own have, and see
# `names_its_loop`: transports, back pressure, timers, signals, descriptors.
EVENT_LOOP = """cli/test_serve hostile/test_autobahn logs/test_json_format process/test_descriptors
process/test_orphans process/test_os_signals process/test_supervisor server/test_backpressure
server/test_certificates server/test_client_log server/test_commands server/test_drain
server/test_messages server/test_no_downtime server/test_readiness server/test_redis_access
server/test_sighup server/test_slow_clients server/test_start server/test_stop server/test_tls
server/test_upgrade upgrade/test_connection_limit upgrade/test_deadlines"""
# With another redis-py, which applications publish with, or another hiredis, which reads replies.
REDIS_PY = """broker doctor/test_examination doctor/test_redis_access doctor/test_redis_probe
publishing server/test_cluster server/test_redis_access stats/test_reporter stats/test_store
test_redis_url"""
MARKED = {
    mark: {Path(__file__).parent / name for name in names.split()}
    for mark, names in (
        ("interpreter", INTERPRETER),
        ("event_loop", EVENT_LOOP),
        ("redis_py", REDIS_PY),
    )
}


def names_its_loop(item: pytest.Item) -> bool:
    """Whether a test has the loop as a parameter, and so runs on both wherever it runs."""
    return bool({"uvloop", "asyncio"} & {*re.split(r"[-\[\]]", item.name)})


@cache
def marks_of(path: Path) -> list[str]:
    """What the tests of a file are marked with."""
    here = {path.parent, path.with_suffix("")}
    return [mark for mark, places in MARKED.items() if places & here]


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark what is to run on more than one interpreter, event loop or redis-py."""
    for mark in marks_of(item.path):
        if mark != "event_loop" or not names_its_loop(item):
            item.add_marker(mark)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Each place that is marked exists."""
    for places in MARKED.values():
        for place in places:
            assert place.is_dir() or place.with_suffix(".py").is_file(), place


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest, and give those that compute the time they need on a busy machine."""
    items.sort(key=lambda item: item.path.parent.name != "soak")
    seconds = 3600 if PROFILE == "thorough" else 600
    for item in items:
        if item.get_closest_marker("hypothesis"):
            item.add_marker(pytest.mark.timeout(seconds))


@contextmanager
def running_redis() -> Iterator[RedisProcess]:
    with closing(RedisProcess()) as process:
        process.start()
        yield process


@pytest.fixture(scope="session")
def shared_redis() -> Iterator[RedisProcess]:
    """One Redis for all tests that do not harm it; servers are told apart by their rooms."""
    with running_redis() as process:
        yield process


@pytest.fixture(scope="module")
def own_redis() -> Iterator[RedisProcess]:
    """A Redis for a module to harm; whoever does mends it again."""
    with running_redis() as process:
        yield process


@pytest.fixture
def redis() -> Iterator[RedisProcess]:
    """A Redis of the test's own, to do harm to."""
    with running_redis() as process:
        yield process


@pytest.fixture
def room() -> str:
    """A room that no other test is in."""
    return f"room-{uuid4()}"


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sanic's test mode: applications may have the same name, and leave signals alone."""
    monkeypatch.setattr(Sanic, "test_mode", True)


@pytest.fixture
def start_server() -> Iterator[StartServer]:
    """Start servers with the real command; each must stop well, unless the test has ended it.

    `start_server(*options, workers=1, wait=True, command=(), certificate=None, **environment)`
    """
    servers: list[ServerProcess] = []

    def start(
        *arguments: str,
        workers: int = 1,
        wait: bool = True,
        command: tuple[str, ...] = (),
        certificate: Certificate | None = None,
        **environment: str,
    ) -> ServerProcess:
        if "--single-process" not in arguments:
            arguments = ("--workers", str(workers), *arguments)
        server = ServerProcess(
            *arguments, environment=environment, command=command, certificate=certificate
        )
        servers.append(server)
        if wait:
            server.wait_ready(workers)
        return server

    try:
        yield start
        for server in servers:
            if server.process.poll() is None:
                server.stop()
    finally:
        for server in servers:
            server.close()
