"""What sanic_chat relies on inside Sanic, name by name: a release that changes one fails here.

`sanic_chat.upgrade`, `sanic_chat.http_connections`, `sanic_chat.supervisor` and
`sanic_chat.orphans` say in their docstrings what they touch.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import multiprocessing
import signal
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from multiprocessing.connection import Connection
from types import SimpleNamespace
from typing import Any

import pytest
from sanic import Request, Sanic
from sanic.compat import Header
from sanic.exceptions import ServerKilled
from sanic.http import Http, Stage
from sanic.server import HttpProtocol, runners
from sanic.worker.constants import ProcessState
from sanic.worker.manager import WorkerManager
from sanic.worker.serve import worker_serve

from sanic_chat import create_app
from sanic_chat.app import ChatServer
from sanic_chat.arrival import ArrivalProtocol
from sanic_chat.config import Config
from sanic_chat.http_connections import ChatHttp, ChatHttpProtocol

from .harness import RedisProcess, eventually, wait_until
from .serving import App, client_of, serving

SESSIONS = 10


@pytest.fixture
async def app(in_process: None, shared_redis: RedisProcess) -> AsyncIterator[ChatServer]:
    """The chat server inside the test's own loop."""
    app = create_app(config=Config(redis_url=shared_redis.url))
    async with serving(app, ChatHttpProtocol):
        yield app


def http_protocols() -> list[HttpProtocol]:
    """Every HTTP protocol object of Sanic's in this process."""
    gc.collect()
    return [each for each in gc.get_objects() if isinstance(each, HttpProtocol)]


# -- sanic_chat.upgrade and sanic_chat.http_connections ----------------------------------------


async def test_the_http_protocol_of_a_connection(app: ChatServer) -> None:
    """HttpProtocol has transport, connections, recv_buffer and close_if_idle."""
    async with client_of(app) as client:
        await eventually(lambda: app.ctx.http_connections, "Sanic has accepted the connection")
        (protocol,) = app.ctx.http_connections
        assert isinstance(protocol, HttpProtocol)
        assert protocol.connections is app.ctx.http_connections
        assert protocol.transport.get_protocol() is protocol
        assert protocol.recv_buffer == bytearray()
        client.send(b"GET ")
        await eventually(lambda: protocol.recv_buffer == b"GET ", "it has received the bytes")
        assert protocol.close_if_idle() is False
        protocol.transport.abort()
        assert await client.reader.read() == b""
        await eventually(lambda: not protocol.connections, "it has left its set")


async def test_an_idle_connection_closes(app: ChatServer) -> None:
    """HttpProtocol.close_if_idle closes a connection without a request."""
    async with client_of(app) as client:
        await eventually(lambda: app.ctx.http_connections, "Sanic has accepted the connection")
        (protocol,) = app.ctx.http_connections
        await eventually(lambda: protocol.http is not None, "it waits for a request")
        assert protocol.close_if_idle() is True
        assert await client.reader.read() == b""


async def test_the_stages_of_a_connection(app: ChatServer) -> None:
    """Http.stage is IDLE, then REQUEST while a head arrives; each head is counted in `state`."""
    async with client_of(app) as client:
        await eventually(lambda: app.ctx.http_connections, "Sanic has accepted the connection")
        (protocol,) = app.ctx.http_connections
        await eventually(lambda: protocol.http is not None, "it waits for a request")
        assert isinstance(protocol.http, ChatHttp)
        for count in range(2):
            assert protocol.state["requests_count"] == count
            assert protocol.http.stage is Stage.IDLE
            client.send(b"GET /ready HTTP/1.1\r\n")
            await eventually(lambda: protocol.http.stage is Stage.REQUEST, "the head has begun")
            assert protocol.state["requests_count"] == count
            client.send(b"\r\n")
            await client.answer()
            await eventually(lambda: protocol.http.stage is Stage.IDLE, "it waits again")


async def test_a_failed_connection_is_silent(app: ChatServer) -> None:
    """A connection whose stage is FAILED is closed without an answer of Sanic's."""
    async with client_of(app) as client:
        client.send(b"GET ")
        await eventually(lambda: app.ctx.http_connections, "Sanic has accepted the connection")
        (protocol,) = app.ctx.http_connections
        await eventually(
            lambda: protocol.http is not None and protocol.http.stage is Stage.REQUEST,
            "the head has begun",
        )
        protocol.http.stage = Stage.FAILED
        protocol.transport.close()
        assert await client.reader.read() == b""
        await eventually(lambda: protocol.http is None, "its task has ended")


async def test_sanic_asks_for_its_timer(app: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """HttpProtocol.check_timeouts, which is overridden, is what starts the only timer."""
    asked: list[HttpProtocol] = []
    monkeypatch.setattr(ChatHttpProtocol, "check_timeouts", lambda self: asked.append(self))
    async with client_of(app):
        await eventually(lambda: asked, "it is asked for")
        (protocol,) = app.ctx.http_connections
        assert asked == [protocol]
        assert protocol._callback_check_timeouts is None
    assert "call_later" in HttpProtocol.check_timeouts.__code__.co_names


def test_the_answer_to_no_request() -> None:
    """Http makes a request from its `url`, whatever that is, for an error before there is one."""
    source = inspect.getsource(Http.create_empty_request)
    assert "self.url" in source
    assert "create_empty_request" in inspect.getsource(Http.error_response)
    assert ChatHttp.__slots__ == ()


@pytest.mark.parametrize(("url", "path"), [(b"/a?b", b"/a"), (b"*", b"*"), (b"http://h", None)])
def test_the_path_of_a_request(url: bytes, path: bytes | None) -> None:
    """Request._parsed_url.path is None for what has no path."""
    app: Any = SimpleNamespace()
    request: Request[Any, Any] = Request(url, Header({}), "1.1", "GET", app, app)
    assert request._parsed_url.path == path


@pytest.mark.filterwarnings("ignore:websockets.legacy")
@pytest.mark.parametrize(
    "tls", [None, ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)], ids=["plain", "TLS"]
)
def test_the_settings_of_a_server(in_process: None, tls: ssl.SSLContext | None) -> None:
    """`prepare` leaves in `state.server_info` what a worker serves with: only TLS is timed."""
    app = create_app(config=Config(redis_url="redis://127.0.0.1", handshake_timeout=7))
    try:
        app.prepare(ssl=tls)
        [info] = app.state.server_info
        assert info.settings["protocol"] is ArrivalProtocol
        expected = None if tls is None else {"ssl_handshake_timeout": 7}
        assert info.settings.get("asyncio_server_kwargs") == expected
        assert "asyncio_server_kwargs" in inspect.signature(worker_serve).parameters
    finally:
        Sanic.unregister_app(app)


def test_the_http_object_knows_upgrades() -> None:
    """Http.upgrade_websocket is a slot, which may be set on `request.stream`."""
    assert "upgrade_websocket" in Http.__slots__
    assert "upgrade_websocket" in inspect.getsource(Http.http1)


@pytest.mark.parametrize("marked", [True, False], ids=["marked", "not marked"])
async def test_only_a_marked_handler_may_return_nothing(in_process: None, marked: bool) -> None:
    """A handler with `is_websocket` may return None; without it Sanic answers with an error."""

    async def handler(request: Any) -> None:
        request.stream.upgrade_websocket = True
        request.transport.write(b"HTTP/1.1 101 Mine\r\n\r\n")

    if marked:
        handler.is_websocket = True  # type: ignore[attr-defined]
    app: App = Sanic("internals")
    app.config.MOTD = False  # it looks for plugins, and imports what they need
    app.add_route(handler, "/nothing")
    async with serving(app, ChatHttpProtocol), client_of(app) as client:
        status, _, _ = await client.request("/nothing")
        assert status == 101
        behind = await client.reader.read()
        assert behind.startswith(b"HTTP/1.1 500 ") is not marked


async def test_after_an_upgrade_sanic_holds_nothing(app: ChatServer) -> None:
    """No HTTP protocol, no connection and no task of Sanic's outlives an upgrade."""
    tasks = len(asyncio.all_tasks())
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(client_of(app)) for _ in range(SESSIONS)]
        for index, client in enumerate(clients):
            status, _, _ = await client.request(f"/ws/internals-{index % 2}")
            assert status == 101
        pod = app.ctx.pod
        assert pod.connected == SESSIONS
        await eventually(lambda: len(asyncio.all_tasks()) == tasks, "no task is left")
        assert app.ctx.http_connections == set()
        assert http_protocols() == []
        for session in pod.heartbeat.sessions():
            assert session._transport.get_protocol() is session
    await eventually(lambda: pod.connected == 0, "the sessions are gone")


# -- sanic_chat.supervisor ---------------------------------------------------------------------


@pytest.fixture
def manager() -> Iterator[WorkerManager]:
    """A manager of one worker process, which waits for a signal; not started."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    context = multiprocessing.get_context("spawn")
    pipe: tuple[Connection, Connection] = multiprocessing.Pipe(True)
    manager = WorkerManager(1, signal.pause, {}, context, pipe, {})
    try:
        yield manager
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for process in manager.processes:
            process._current_process.kill()
            process._current_process.join()
            process._current_process.close()
        for end in pipe:
            end.close()


def run_a_cycle(manager: WorkerManager) -> Any:
    """One turn of the manager's loop: it reads at most one message, then the workers' states."""
    cycle = manager._poll_monitor()
    if cycle is None:
        manager._sync_states()
    return cycle


def test_the_processes_of_a_manager(manager: WorkerManager) -> None:
    """Workers are transient, with name, pid, state and exit code; `processes` are the started."""
    (process,) = manager.transient_processes
    assert list(manager.durable_processes) == []
    assert list(manager.processes) == []
    assert process.pid is None
    assert process.is_alive() is False

    manager.start()
    assert list(manager.processes) == [process]
    assert process.name == "Sanic-Server-0-0"
    assert process.pid > 0
    assert process.is_alive() is True
    assert process.state not in (ProcessState.FAILED, ProcessState.COMPLETED)


def test_a_dead_worker_is_failed(manager: WorkerManager) -> None:
    """A killed worker's state becomes FAILED, and its exit code says by which signal."""
    manager.start()
    (process,) = manager.transient_processes
    process._current_process.kill()
    wait_until(lambda: not process.is_alive(), "the worker is dead")
    run_a_cycle(manager)
    assert process.state is ProcessState.FAILED
    assert process.exitcode == -signal.SIGKILL


def test_a_message_with_a_name_restarts_that_worker(manager: WorkerManager) -> None:
    """`"{name}:"` through `monitor_publisher` makes the manager start a dead worker anew."""
    manager.start()
    (process,) = manager.transient_processes
    before = process.pid
    process._current_process.kill()
    wait_until(lambda: not process.is_alive(), "the worker is dead")
    run_a_cycle(manager)

    manager.monitor_publisher.send(f"{process.name}:")
    run_a_cycle(manager)
    assert process.pid != before
    assert process.is_alive() is True


def test_the_terminate_message_ends_the_loop(manager: WorkerManager) -> None:
    """`"__TERMINATE__"` signals the workers with SIGINT and ends the manager's loop."""
    manager.start()
    (process,) = manager.transient_processes
    manager.monitor_publisher.send("__TERMINATE__")
    assert run_a_cycle(manager).name == "BREAK"
    wait_until(lambda: not process.is_alive(), "the worker has ended")


def test_wait_for_ack_returns_when_all_workers_are_up(manager: WorkerManager) -> None:
    """`wait_for_ack` returns once every worker has said that it is up."""
    (process,) = manager.transient_processes
    process.set_state(ProcessState.ACKED)
    manager.wait_for_ack()


def test_the_state_of_a_worker(manager: WorkerManager) -> None:
    """`worker_state` has the state of each worker by name; only one that is up is ACKED."""
    (process,) = manager.transient_processes
    manager.start()
    assert manager.worker_state[process.name]["state"] == ProcessState.STARTED.name
    assert process.exitcode is None
    process.set_state(ProcessState.ACKED)
    assert manager.worker_state[process.name]["state"] == ProcessState.ACKED.name


def test_monitor_waits_for_ack_through_the_manager(
    manager: WorkerManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`monitor` looks `wait_for_ack` up on the manager."""

    def wait_for_ack() -> None:
        raise ServerKilled

    monkeypatch.setattr(manager, "wait_for_ack", wait_for_ack)
    with pytest.raises(ServerKilled):
        manager.monitor()


def test_run_ends_with_cleanup(manager: WorkerManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """`run` looks its steps up on the manager, `cleanup` last, and lets ServerKilled through."""
    steps: list[str] = []
    for step in ("start", "monitor", "join", "terminate"):
        monkeypatch.setattr(manager, step, lambda step=step: steps.append(step))

    def clean_up() -> None:
        steps.append("cleanup")
        raise ServerKilled

    monkeypatch.setattr(manager, "cleanup", clean_up)
    with pytest.raises(ServerKilled):
        manager.run()
    assert steps == ["start", "monitor", "join", "terminate", "cleanup"]


def test_a_failed_start_kills_through_the_manager(
    manager: WorkerManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that ends before it is up makes the manager call its own `kill`."""

    def kill() -> None:
        raise ServerKilled

    monkeypatch.setattr(manager, "kill", kill)
    manager.monitor_publisher.send("__TERMINATE_EARLY__")
    with pytest.raises(ServerKilled):
        manager.wait_for_ack()


# -- sanic_chat.signals ------------------------------------------------------------------------


def test_the_set_up_of_signals() -> None:
    """A worker sets its signals up in `runners._setup_system_signals`, looked up when it serves."""
    assert "_setup_system_signals" in runners._serve_http_1.__code__.co_names
    parameters = inspect.signature(runners._setup_system_signals).parameters
    assert list(parameters) == ["app", "run_multiple", "register_sys_signals", "loop"]


# -- sanic_chat.orphans ------------------------------------------------------------------------


def test_the_state_server_of_a_manager() -> None:
    """The workers' state is a proxy that knows its manager, and that its process."""
    with multiprocessing.get_context("spawn").Manager() as state_server:
        state = state_server.dict()
        assert state._manager is state_server  # type: ignore[attr-defined]
        assert state_server._process.pid > 0  # type: ignore[attr-defined]
