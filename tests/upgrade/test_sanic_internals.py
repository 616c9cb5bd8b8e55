"""What `upgrade` relies on inside Sanic, name by name: a release that changes one fails here.

`upgrade/sanic_http` says in its docstring what it touches.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from types import SimpleNamespace
from typing import Any

import pytest
from sanic import HTTPResponse, Request, Sanic, text
from sanic.compat import Header
from sanic.http import Http, Stage
from sanic.server import HttpProtocol

from sanic_chat import create_app
from sanic_chat.app import ChatServer
from sanic_chat.config.settings import Config
from sanic_chat.upgrade.fast_path import FastPathProtocol
from sanic_chat.upgrade.sanic_http import ChatHttp, ChatHttpProtocol, leave_body, read_body

from ..support.harness import RedisProcess, eventually
from ..support.serving import App, client_of, serving

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


async def test_the_http_protocol_of_a_connection(app: ChatServer) -> None:
    """HttpProtocol has transport, connections, recv_buffer and close_if_idle."""
    async with client_of(app) as client:
        await eventually(
            lambda: app.ctx.worker.http_connections, "Sanic has accepted the connection"
        )
        (protocol,) = app.ctx.worker.http_connections
        assert isinstance(protocol, HttpProtocol)
        assert protocol.connections is app.ctx.worker.http_connections
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
        await eventually(
            lambda: app.ctx.worker.http_connections, "Sanic has accepted the connection"
        )
        (protocol,) = app.ctx.worker.http_connections
        await eventually(lambda: protocol.http is not None, "it waits for a request")
        assert protocol.close_if_idle() is True
        assert await client.reader.read() == b""


async def test_the_stages_of_a_connection(app: ChatServer) -> None:
    """Http.stage is IDLE, then REQUEST while a head arrives; each head is counted in `state`."""
    async with client_of(app) as client:
        await eventually(
            lambda: app.ctx.worker.http_connections, "Sanic has accepted the connection"
        )
        (protocol,) = app.ctx.worker.http_connections
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
        await eventually(
            lambda: app.ctx.worker.http_connections, "Sanic has accepted the connection"
        )
        (protocol,) = app.ctx.worker.http_connections
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
        (protocol,) = app.ctx.worker.http_connections
        assert asked == [protocol]
        assert protocol._callback_check_timeouts is None
    assert "call_later" in HttpProtocol.check_timeouts.__code__.co_names


def test_the_answer_to_no_request() -> None:
    """Http makes a request from its `url`, whatever that is, for an error before there is one."""
    source = inspect.getsource(Http.create_empty_request)
    assert "self.url" in source
    assert "create_empty_request" in inspect.getsource(Http.error_response)
    assert ChatHttp.__slots__ == ()


def test_lengths() -> None:
    """Http._safe_int reads the length of a body, and that of a chunk."""
    assert 'self._safe_int(headers["content-length"])' in inspect.getsource(
        Http.http1_request_header
    )
    assert "self._safe_int(raw, 16)" in inspect.getsource(Http.read)
    assert (ChatHttp._safe_int("017 "), ChatHttp._safe_int("aF", 16)) == (17, 175)
    for wrong in ("", "-1", "+1", "1_0", " 1", "1 1", "\u0665"):
        with pytest.raises(ValueError, match="digits only"):
            ChatHttp._safe_int(wrong)


def test_chunks() -> None:
    """Http.read has what ends a chunk, or the head, before each length in the buffer."""
    read = inspect.getsource(Http.read)
    for used in (
        'self.request_bytes_left == 0 and self.request_body == "chunked"',
        "self.expecting_continue = False\n            await self._send(HTTP_CONTINUE)",
        "buf = self.recv_buffer",
        "if len(buf) > 64:",
        "await self._receive_more()",
        "raw = buf[2:pos]",
    ):
        assert used in read


async def test_a_body_in_chunks(in_process: None) -> None:
    """A body comes in chunks, byte by byte, behind a 100 if that is awaited; the next is read."""

    async def handler(request: Request[Any, Any]) -> HTTPResponse:
        return text(repr(await read_body(request, limit=100)))

    app: App = Sanic("internals")
    app.config.MOTD = False
    app.add_route(handler, "/stream", ("POST",), stream=True)
    head = b"POST /stream HTTP/1.1\r\nTransfer-Encoding: chunked\r\n"
    body = b"5;a=b\r\nhello\r\n06\r\n\r\n\n\r\n0\r\n0\r\n\r\n"
    async with serving(app, ChatHttpProtocol), client_of(app) as client:
        client.send(head + b"Expect: 100-continue\r\n\r\n")
        assert (await client.answer())[0] == 100
        for byte in body + head + b"\r\n" + body:
            client.send(bytes((byte,)))
            await asyncio.sleep(0)
        for _ in range(2):
            assert (await client.answer())[2] == repr(b"hello\r\n\n\r\n0").encode()


@pytest.mark.parametrize(("url", "path"), [(b"/a?b", b"/a"), (b"*", b"*"), (b"http://h", None)])
def test_the_path_of_a_request(url: bytes, path: bytes | None) -> None:
    """Request._parsed_url.path is None for what has no path."""
    app: Any = SimpleNamespace()
    request: Request[Any, Any] = Request(url, Header({}), "1.1", "GET", app, app)
    assert request._parsed_url.path == path


@pytest.mark.filterwarnings("ignore:websockets.legacy")
def test_the_settings_of_a_server(in_process: None) -> None:
    """`prepare` leaves in `state.server_info` what a worker serves with."""
    app = create_app(config=Config(redis_url="redis://127.0.0.1"))
    try:
        app.prepare()
        [info] = app.state.server_info
        assert info.settings["protocol"] is FastPathProtocol
        assert info.settings["backlog"] == 4096
    finally:
        Sanic.unregister_app(app)


def test_the_http_object_knows_upgrades() -> None:
    """Http.upgrade_websocket is a slot, which may be set on `request.stream`."""
    assert "upgrade_websocket" in Http.__slots__
    assert "upgrade_websocket" in inspect.getsource(Http.http1)


async def test_the_body_of_a_stream(in_process: None) -> None:
    """A route that is a stream reads its body itself, up to a bound that it sets, or leaves it."""

    async def handler(request: Any) -> HTTPResponse:
        stream = request.stream
        assert (stream.request_body, stream.request_bytes) == (True, 100_000)
        assert stream.request_max_size == float("inf")
        assert stream.protocol.request_max_size == 1000
        if request.args:
            assert await read_body(request, limit=99_999) is None
        leave_body(request)
        assert stream.keep_alive is False
        return text("it is left")

    app: App = Sanic("internals")
    app.config.update(MOTD=False, REQUEST_MAX_SIZE=1000)
    app.add_route(handler, "/stream", ("POST",), stream=True)
    async with serving(app, ChatHttpProtocol):
        for path in ("/stream", "/stream?read=1"):
            async with client_of(app) as client:
                client.send(f"POST {path} HTTP/1.1\r\nContent-Length: 100000\r\n\r\n".encode())
                status, headers, body = await client.answer()
                assert (status, headers["connection"], body) == (200, "close", b"it is left")


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
        pod = app.ctx.worker.pod
        assert pod.connected == SESSIONS
        await eventually(lambda: len(asyncio.all_tasks()) == tasks, "no task is left")
        assert app.ctx.worker.http_connections == set()
        assert http_protocols() == []
        for session in pod.heartbeat.sessions():
            assert session._transport.get_protocol() is session
    await eventually(lambda: pod.connected == 0, "the sessions are gone")
