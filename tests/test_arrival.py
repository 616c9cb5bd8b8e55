"""Handshakes that are let in at once, and Sanic's way with the same bytes: one outcome."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from sanic import Request
from sanic.server import HttpProtocol

from sanic_chat import create_app, http_connections
from sanic_chat.app import ChatServer
from sanic_chat.arrival import MAX_EARLY_BYTES, ArrivalProtocol
from sanic_chat.config import Config
from sanic_chat.http_connections import ChatHttpProtocol

from .clients import RawClient
from .frames import client_frame
from .harness import RedisProcess, eventually
from .serving import client_of, serving

pytestmark = pytest.mark.usefixtures("in_process")


@asynccontextmanager
async def chat(
    redis: RedisProcess, protocol: type[ArrivalProtocol | HttpProtocol], **settings: Any
) -> AsyncIterator[ChatServer]:
    app = create_app(config=Config(redis_url=redis.url, **settings))
    async with serving(app, protocol):
        yield app


@pytest.fixture
async def app(shared_redis: RedisProcess) -> AsyncIterator[ChatServer]:
    async with chat(shared_redis, ArrivalProtocol) as app:
        yield app


@pytest.fixture
def by_sanic(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What was handed to Sanic, connection by connection."""
    handed: list[bytes] = []
    take_over = ChatHttpProtocol.take_over

    def recorded(
        self: ChatHttpProtocol, transport: asyncio.Transport, data: bytes, *, looks: int
    ) -> None:
        handed.append(data)
        take_over(self, transport, data, looks=looks)

    monkeypatch.setattr(ChatHttpProtocol, "take_over", recorded)
    return handed


def request(target: str = "/ws", **changes: str | None) -> bytes:
    return RawClient.handshake(target, **changes)


async def outcome(app: ChatServer, data: bytes) -> tuple[Any, ...]:
    """The answer to a request, and what the session is like that it makes, if any."""
    async with client_of(app) as client:
        client.send(data)
        status, headers, body = await client.answer()
        if status != 101:
            return status, headers, body
        (session,) = app.ctx.pod.heartbeat.sessions()
        client.send(client_frame(0x81, b'{"data": 1}'))
        echoes = []
        if session.echo:
            while not echoes or echoes[-1]["type"] == "system":
                echoes.append(json.loads((await client.frame())[1]))
        said = (
            headers,
            sorted(room.channel for room in session.rooms),
            (session.echo, session.system_events, session.presence),
            [(echo["type"], echo["room"]) for echo in echoes],
        )
    await eventually(lambda: not app.ctx.pod.connected, "it is gone")
    return status, *said


ALIKE = {
    "no room": request(),
    "a room": request("/ws/lobby"),
    "with the prefix": request("/api/chat-api/ws/lobby"),
    "room in the query": request("/ws?room=lobby"),
    "encoded room in the query": request("/ws?room=caf%C3%A9"),
    "the same room twice": request("/ws/lobby?room=lobby"),
    "two rooms": request("/ws/lobby?room=other"),
    "a room of an unknown kind": request("/ws?room=a/b"),
    "a room that is too long": request("/ws/" + "x" * 129),
    "a blank room": request("/ws?room="),
    "a plus": request("/ws?room=a+b"),
    "half an escape": request("/ws?room=%"),
    "no UTF-8": request("/ws?room=%ff"),
    "events": request("/ws/lobby?events=system,presence"),
    "blank events": request("/ws/lobby?events="),
    "events twice": request("/ws/lobby?events=system&events=presence"),
    "unknown events": request("/ws/lobby?events=all"),
    "no echo": request("/ws?echo=0"),
    "blank echo": request("/ws?echo="),
    "echo twice": request("/ws?echo=1&echo=0"),
    "bad echo": request("/ws?echo=2"),
    "a semicolon": request("/ws?echo=0;room=a"),
    "something else": request("/ws?what=ever&&=&x"),
    "own page": request(Origin="http://localhost"),
    "foreign page": request(Origin="https://elsewhere.example"),
    "blanks around the origin": request(Origin="  http://localhost  "),
    "no host": request(Host=None),
    "several tokens": request(Connection="keep-alive, UPGRADE", Upgrade="WebSocket"),
    "other upgrade": request(Upgrade="h2c"),
    "two upgrades": request(Upgrade="h2c, websocket"),
    "no upgrade": request(Upgrade=None),
    "no connection": request(Connection=None),
    "version 8": request(Sec_WebSocket_Version="8"),
    "short key": request(Sec_WebSocket_Key="dGhlIHNhbXBsZQ=="),
    "no key": request(Sec_WebSocket_Key=None),
    "blanks around the key": request(Sec_WebSocket_Key="  dGhlIHNhbXBsZSBub25jZQ== \t"),
    "extensions": request(Sec_WebSocket_Extensions="permessage-deflate"),
    "protocols": request(Sec_WebSocket_Protocol="chat"),
    "a token nobody asks for": request("/ws?token=x", Authorization="Bearer x"),
    "a body": request(Content_Length="0"),
    "long header": request(X="x" * 9000),
    "HTTP/1.0": request().replace(b"HTTP/1.1", b"HTTP/1.0"),
    "HTTP/2": request().replace(b"HTTP/1.1", b"HTTP/2.0"),
    "POST": request().replace(b"GET", b"POST"),
    "lower case method": request().replace(b"GET", b"get"),
    "slash at the end": request("/ws/"),
    "encoded room": request("/ws/%6Cobby"),
    "room of letters that are not ASCII": request("/ws/%D7%A9"),
    "dots": request("/ws/.."),
    "fragment": request("/ws#x"),
    "elsewhere": request("/nowhere"),
    "absolute": request("http://localhost/ws/lobby"),
    "no header": request().replace(b"Host: ", b"Host "),
    "a blank before the colon": request().replace(b"Upgrade: ", b"Upgrade : "),
    "folded header": request(X="a\r\n b"),
    "not HTTP": b"nonsense\r\n\r\n",
    "not ASCII": request(Origin="é"),
}


async def test_the_same_comes_of_both(shared_redis: RedisProcess) -> None:
    """Each request gets the answer, headers and body and all, that it gets from Sanic alone."""
    async with (
        chat(shared_redis, ArrivalProtocol) as ours,
        chat(shared_redis, ChatHttpProtocol) as sanics,
    ):
        for case, data in ALIKE.items():
            assert await outcome(ours, data) == await outcome(sanics, data), case
            assert ours.ctx.pod.refused == sanics.ctx.pod.refused, case
    assert set(ours.ctx.pod.refused) > {"bad_room", "bad_events", "forbidden_origin"}


AT_ONCE = [
    "no room",
    "a room",
    "with the prefix",
    "encoded room in the query",
    "events",
    "no echo",
    "own page",
    "several tokens",
    "extensions",
]


@pytest.mark.parametrize("case", AT_ONCE)
async def test_plain_handshakes_do_not_reach_sanic(
    app: ChatServer, by_sanic: list[bytes], case: str
) -> None:
    """What browsers and libraries send is let in at once, and leaves no task behind."""
    tasks = asyncio.all_tasks()
    async with client_of(app) as client:
        client.send(ALIKE[case])
        assert (await client.answer())[0] == 101
        assert by_sanic == []
        assert not app.ctx.http_connections
        assert app.ctx.pod.connected == 1
        await eventually(lambda: asyncio.all_tasks() == tasks, "no task is left")


async def test_in_two_packets(app: ChatServer, by_sanic: list[bytes]) -> None:
    """A handshake that does not come at once is Sanic's from its first byte on."""
    data = request("/ws/lobby?events=system")
    async with client_of(app) as client:
        client.send(data[:20])
        await eventually(lambda: by_sanic, "it was read")
        client.send(data[20:] + client_frame(0x81, b'{"data": "early"}'))
        assert (await client.answer())[0] == 101
        assert b'"welcome"' in (await client.frame())[1]
        assert b'"early"' in (await client.frame())[1]
    assert by_sanic == [data[:20]]


@pytest.mark.parametrize("by_name", [False, True], ids=["all requests", "a route"])
async def test_middleware_sees_all(
    shared_redis: RedisProcess, by_sanic: list[bytes], *, by_name: bool
) -> None:
    """Whoever adds request middleware to the application has it called for handshakes too."""
    app = create_app(config=Config(redis_url=shared_redis.url))
    seen = []

    async def look(request: Request) -> None:
        seen.append(request.path)

    if by_name:
        app.register_named_middleware(look, ["sanic_chat.chat.ws_room"])
    else:
        app.register_middleware(look)
    async with serving(app), client_of(app) as client:
        client.send(request("/api/chat-api/ws/lobby"))
        assert (await client.answer())[0] == 101
    assert seen == ["/api/chat-api/ws/lobby"]
    assert len(by_sanic) == 1


async def test_a_refusal_is_counted_once(app: ChatServer, by_sanic: list[bytes]) -> None:
    """A refused handshake is looked at twice, and answered and counted once."""
    data = request("/ws?echo=2")
    async with client_of(app) as client:
        client.send(data)
        status, _, body = await client.answer()
    assert (status, json.loads(body)["code"]) == (400, "bad_echo")
    assert app.ctx.pod.refused == {"bad_echo": 1}
    assert by_sanic == [data]


# -- while Redis makes them wait -----------------------------------------------------------------


@asynccontextmanager
async def waiting(app: ChatServer, redis: RedisProcess, data: bytes) -> AsyncIterator[RawClient]:
    """A client whose handshake waits for Redis, which is frozen; it goes on at the end."""
    async with AsyncExitStack() as stack:
        redis.signal(signal.SIGSTOP)
        stack.callback(redis.signal, signal.SIGCONT)
        client = await stack.enter_async_context(client_of(app))
        client.send(data)
        await eventually(lambda: app.ctx.pod.admission.handshakes == 1, "it waits")
        yield client


async def test_what_comes_while_it_waits(redis: RedisProcess, by_sanic: list[bytes]) -> None:
    """What a client sends before it has the answer is kept, in order, however much it is."""
    count = 2 * MAX_EARLY_BYTES // 1000
    frames = [
        client_frame(0x81, json.dumps({"data": f"{number} {'x' * 1000}"}).encode())
        for number in range(count)
    ]
    async with (
        chat(redis, ArrivalProtocol) as app,
        waiting(app, redis, request("/ws/later") + frames[0]) as client,
    ):
        for frame in frames[1:]:
            client.send(frame)
        (connection,) = app.ctx.http_connections
        await eventually(lambda: not connection.transport.is_reading(), "it is paused")
        redis.signal(signal.SIGCONT)
        assert (await client.answer())[0] == 101
        for number in range(count):
            data = json.loads((await client.frame())[1])["data"]
            assert data.startswith(f"{number} ")
    assert by_sanic == []


async def test_gone_while_it_waits(redis: RedisProcess) -> None:
    """A client that does not wait leaves no handshake, no task and no subscription."""
    async with chat(redis, ArrivalProtocol, unsubscribe_delay=0.1) as app:
        tasks = asyncio.all_tasks()
        async with waiting(app, redis, request("/ws/later")) as client:
            client.writer.transport.abort()
            await eventually(lambda: not app.ctx.pod.admission.handshakes, "its place is free")
        await eventually(lambda: asyncio.all_tasks() == tasks, "no task is left")
        assert not app.ctx.http_connections
        subscriber = app.ctx.pod.subscriber
        await eventually(lambda: b"realtime:room:later" not in subscriber.wanted, "it is forgotten")


async def test_a_drain_that_begins_while_it_waits(redis: RedisProcess) -> None:
    """It is refused then, by Sanic, as any other."""
    async with chat(redis, ArrivalProtocol) as app:
        async with waiting(app, redis, request("/ws/later")) as client:
            app.ctx.pod.begin_drain()
            redis.signal(signal.SIGCONT)
            status, headers, body = await client.answer()
        assert (status, json.loads(body)["code"]) == (503, "draining")
        assert "retry-after" in headers
        assert app.ctx.pod.refused == {"draining": 1}
        assert app.ctx.pod.connected == 0


async def test_an_unexpected_error(
    redis: RedisProcess, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A bug of ours costs the one connection, and stands in the log."""
    async with chat(redis, ArrivalProtocol) as app:

        def fail(*_: Any, **__: Any) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(app.ctx.entrance, "let_in", fail)
        async with waiting(app, redis, request("/ws/later")) as client:
            redis.signal(signal.SIGCONT)
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await client.answer()
        assert "A handshake failed" in caplog.text
        assert "ZeroDivisionError" in caplog.text
        assert app.ctx.pod.admission.handshakes == 0


# -- deadlines -----------------------------------------------------------------------------------


async def test_looks_are_not_forgotten(app: ChatServer, by_sanic: list[bytes]) -> None:
    """The time for a request's head begins with the connection, not with its first byte."""
    looks = http_connections.LOOKS - 2
    limits = dict.fromkeys(http_connections.Phase, http_connections.LOOKS)
    async with client_of(app) as client:
        await eventually(lambda: app.ctx.http_connections, "it is accepted")
        (silent,) = app.ctx.http_connections
        app.ctx.http_deadlines.stop()
        for _ in range(looks + 1):  # the first one sees that it is there
            silent.look(limits)
        client.send(b"GET /ws")
        await eventually(lambda: by_sanic, "Sanic has it")
        (begun,) = app.ctx.http_connections
        begun.look(limits)
        assert not begun.transport.is_closing()
        begun.look(limits)
        assert begun.transport.is_closing()
        assert (await client.answer())[0] == 408
