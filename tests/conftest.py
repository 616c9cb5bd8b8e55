"""Fixtures: Redis servers and chat servers that end with the test."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest
from hypothesis import HealthCheck, settings
from sanic import Sanic

from .harness import RedisProcess, ServerProcess
from .tls import Certificate

pytest.register_assert_rewrite("tests.fault_run", "tests.faults")

StartServer = Callable[..., ServerProcess]

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
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "default")
settings.load_profile(PROFILE)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests of 10 000 examples the time they need."""
    if PROFILE == "thorough":
        for item in items:
            if item.get_closest_marker("hypothesis"):
                item.add_marker(pytest.mark.timeout(3600))


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
