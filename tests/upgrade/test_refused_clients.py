"""Refused clients that are told why over a WebSocket: which, what, and for how long."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    suppress,
)
from typing import Any
from urllib.parse import quote

import pytest

from sanic_chat.app import ChatServer
from sanic_chat.upgrade import refused_clients
from sanic_chat.upgrade.fast_path import FastPathProtocol
from sanic_chat.upgrade.sanic_http import ChatHttpProtocol

from ..support.clients import RawClient
from ..support.frames import client_frame
from ..support.harness import RedisProcess, eventually
from ..support.serving import chat, client_of
from ..support.users import SECRET, token

pytestmark = pytest.mark.usefixtures("in_process")

OURS = "sanic-chat.v1"
TEXT, CLOSE = 0x81, 0x88
A_CLOSE = client_frame(CLOSE, b"\x11\x30")


def offering(target: str = "/ws", *others: str, **changes: str | None) -> bytes:
    """A handshake that offers our subprotocol."""
    changes.setdefault("Sec_WebSocket_Protocol", ", ".join((OURS, *others)))
    return RawClient.handshake(target, **changes)


@asynccontextmanager
async def told(app: ChatServer, data: bytes) -> AsyncIterator[tuple[RawClient, dict[str, Any]]]:
    """A client that is refused and told why, up to the close frame, which it does not answer."""
    async with client_of(app) as client:
        client.send(data)
        status, headers, _ = await client.answer()
        assert (status, headers.get("sec-websocket-protocol")) == (101, OURS)
        opcode, event = await client.frame()
        assert opcode == 1
        yield client, json.loads(event)


def guarded_chat(
    redis: RedisProcess, protocol: type[FastPathProtocol | ChatHttpProtocol] = FastPathProtocol
) -> AbstractAsyncContextManager[ChatServer]:
    """An application whose clients need tokens."""
    return chat(redis, protocol, auth_enabled=True, auth_secret=SECRET, subprotocols=("chat.v1",))


@pytest.fixture
def in_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients are cut off at once if they do not answer."""
    monkeypatch.setattr(refused_clients, "TICK_SECONDS", 0.01)


def is_rid_of(app: ChatServer) -> bool:
    """Whether nothing is left of refused clients."""
    worker = app.ctx.worker
    return not (worker.pod.admission.handshakes or worker.http_connections)


# -- who is told, and what ------------------------------------------------------------------------

BEARER = f"bearer.{token()}"
REFUSALS = {
    "a bad room": (offering("/ws/a%2Bb", BEARER), "bad_room", 4400),
    "a bad option": (offering("/ws/lobby?echo=2", BEARER), "bad_echo", 4400),
    "too many parameters": (offering("/ws?" + "&" * 64), "bad_handshake", 4400),
    "no token": (offering(), "unauthorized", 4401),
    "an expired token": (offering("/ws", f"bearer.{token(exp=1)}"), "token_expired", 4401),
    "a room that is not allowed": (
        offering("/ws/secret", f"bearer.{token(rooms=[])}"),
        "forbidden_room",
        4403,
    ),
}


@pytest.mark.parametrize("way", ["whole", "in two packets", "by Sanic alone"])
async def test_a_refusal_is_told(shared_redis: RedisProcess, way: str) -> None:
    """As an event with code and sentence, and as a close frame; it is counted once."""
    protocol = ChatHttpProtocol if way == "by Sanic alone" else FastPathProtocol
    async with guarded_chat(shared_redis, protocol) as app:
        for case, (data, refusal, code) in REFUSALS.items():
            app.ctx.worker.pod.refused.clear()
            async with client_of(app) as client:
                if way == "in two packets":
                    client.send(data[:30])
                    await eventually(lambda: sanics(app), "Sanic has it")
                    data = data[30:]
                client.send(data)
                status, headers, _ = await client.answer()
                assert (status, headers["sec-websocket-protocol"]) == (101, OURS), case
                opcode, payload = await client.frame()
                message = json.loads(payload)
                assert opcode == 1
                assert list(message) == ["id", "type", "room", "from", "data", "timestamp"]
                assert (message["type"], message["room"], message["from"]) == (
                    "system", None, "server",
                )  # fmt: skip
                sentence = message["data"].pop("message")
                assert message["data"] == {"event": "error", "code": refusal, "id": None}
                opcode, payload = await client.frame()
                assert (opcode, int.from_bytes(payload[:2])) == (8, code)
                assert payload[2:].decode() == sentence[:123]
                assert app.ctx.worker.pod.refused == {refusal: 1}
                assert app.ctx.worker.pod.connected == 0
            await eventually(lambda: is_rid_of(app), "nothing is left")


def sanics(app: ChatServer) -> list[ChatHttpProtocol]:
    """The connections that Sanic reads."""
    return [one for one in app.ctx.worker.http_connections if isinstance(one, ChatHttpProtocol)]


async def test_a_long_sentence(shared_redis: RedisProcess) -> None:
    """The event has all of it, the close frame as many whole characters as fit."""
    room = "ü" * 128
    data = offering(f"/ws?room={quote(room)}", f"bearer.{token(rooms=[])}")
    async with guarded_chat(shared_redis) as app, told(app, data) as (client, event):
        sentence = event["data"]["message"]
        reason = (await client.frame())[1][2:]
    assert repr(room) in sentence
    assert len(reason) in (122, 123)
    assert sentence.startswith(reason.decode())


BROKEN = {
    "no upgrade": (offering("/ws?echo=2", Upgrade=None), 400),
    "another version": (offering("/ws", Sec_WebSocket_Version="8"), 426),
    "no key": (offering("/ws", Sec_WebSocket_Key=None), 400),
    "no key and a bad room": (offering("/ws/a+b", Sec_WebSocket_Key=None), 400),
    "HTTP/1.0": (offering("/ws/a+b").replace(b"HTTP/1.1", b"HTTP/1.0"), 400),
    "HEAD": (offering("/ws/a+b").replace(b"GET", b"HEAD"), 400),
    "POST": (offering("/ws/a+b").replace(b"GET", b"POST"), 405),
    "a foreign page": (offering("/ws", Origin="https://elsewhere.example"), 403),
    "a foreign page and a bad room": (offering("/ws/a+b", Origin="https://elsewhere.example"), 403),
    "no endpoint": (offering("/nowhere"), 404),
}


async def test_what_keeps_its_status(app: ChatServer) -> None:
    """A handshake that is none, or a foreign page's, is answered in HTTP for everybody."""
    for case, (data, status) in BROKEN.items():
        async with client_of(app) as client:
            client.send(data)
            answer = await client.answer(has_body=case != "HEAD")
        assert answer[0] == status, case
    assert app.ctx.worker.pod.admission.handshakes == 0


async def test_a_drain_and_a_full_server(shared_redis: RedisProcess) -> None:
    """They are 503 for everybody, whatever else is wrong: a balancer is to ask another server."""
    async with chat(shared_redis, FastPathProtocol, max_connections=1) as app:
        for begin_drain in (False, True):
            async with client_of(app) as inside, client_of(app) as late:
                if begin_drain:
                    app.ctx.worker.pod.begin_drain()
                else:
                    assert (await inside.request("/ws"))[0] == 101
                late.send(offering("/ws/a+b"))
                status, headers, _ = await late.answer()
                assert status == 503
                assert "retry-after" in headers
        assert set(app.ctx.worker.pod.refused) == {"too_many_connections", "draining"}


# -- for how long ---------------------------------------------------------------------------------

BEFORE = {
    "nothing": b"",
    "texts": client_frame(TEXT, b'{"data": "hello"}') * 5,
    "a large text": client_frame(TEXT, b"x" * 50_000),
    "what breaks the protocol": client_frame(TEXT, b"hello", masked=False) + client_frame(0xFF),
}


async def test_an_orderly_end(app: ChatServer) -> None:
    """The client's close frame ends the connection, and resets nothing, whatever comes before."""
    for before in BEFORE.values():
        for early in (b"", before, before + A_CLOSE):
            async with told(app, offering("/ws/a+b") + early) as (client, _):
                assert (await client.frame())[0] == 8
                if not early.endswith(A_CLOSE):
                    client.send(before + A_CLOSE)
                assert await client.reader.read() == b""
            await eventually(lambda: is_rid_of(app), "nothing is left")


async def test_a_client_that_goes(app: ChatServer) -> None:
    """It leaves nothing behind, and no task was made for it."""
    tasks = asyncio.all_tasks()
    async with told(app, offering("/ws/a+b")):
        assert app.ctx.worker.pod.admission.handshakes == 1
        assert len(app.ctx.worker.http_connections) == 1
        await eventually(lambda: asyncio.all_tasks() <= tasks, "no task is left")
    await eventually(lambda: is_rid_of(app), "nothing is left")


async def test_clients_that_do_not_answer(app: ChatServer) -> None:
    """They are gone within two seconds, and not before one has passed."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with told(app, offering("/ws/a+b")) as (client, _):
        await client.frame()
        assert await client.reader.read() == b""
        assert loop.time() - began >= 1
    ticks = refused_clients.PATIENCE_TICKS * refused_clients.TICK_SECONDS
    assert ticks <= 1.75
    assert is_rid_of(app)


@pytest.mark.usefixtures("in_no_time")
async def test_one_after_the_other(app: ChatServer) -> None:
    """Each has its time, and there is no timer while nobody has."""
    refused = app.ctx.worker.upgrader._refused_clients
    for _ in range(2):
        async with AsyncExitStack() as stack:
            for _ in range(3):
                client, _ = await stack.enter_async_context(told(app, offering("/ws/a+b")))
            await client.frame()
            with suppress(ConnectionError):
                assert await client.reader.read() == b""
            await eventually(lambda: is_rid_of(app), "nobody is left")
        await eventually(lambda: not refused._is_ticking, "there is no timer")


GARBAGE = {
    "large frames": client_frame(TEXT, b"x" * 60_000) * 4,
    "many frames": client_frame(TEXT) * 100,
    "no frames": b"\xff" * 200_000,
}


@pytest.mark.usefixtures("in_no_time")
async def test_garbage_is_not_read(app: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond what a page may have sent a client is left unread until it is cut off."""
    for garbage in GARBAGE.values():
        monkeypatch.setattr(refused_clients, "PATIENCE_TICKS", 10**6)
        async with told(app, offering("/ws/a+b")) as (client, _):
            (connection,) = app.ctx.worker.http_connections
            client.send(garbage)
            await eventually(lambda: not connection.transport.is_reading(), "it is not read")  # noqa: B023
            client.send(A_CLOSE)
            connection.due = 0
            with suppress(ConnectionError):
                await client.reader.read()
        await eventually(lambda: is_rid_of(app), "nothing is left")


# -- what they count as ---------------------------------------------------------------------------


async def test_they_keep_nobody_out(shared_redis: RedisProcess) -> None:
    """Each has a place, which a new client gets if there is none else; never more are there."""
    async with (
        chat(shared_redis, FastPathProtocol, max_connections=2) as app,
        AsyncExitStack() as stack,
    ):
        admission = app.ctx.worker.pod.admission
        refused = [
            (await stack.enter_async_context(told(app, offering("/ws/a+b"))))[0] for _ in range(3)
        ]
        assert admission.handshakes == 2
        await refused[0].frame()
        assert await refused[0].reader.read() == b""
        clients = [await stack.enter_async_context(client_of(app)) for _ in range(3)]
        answers = [(await client.request("/ws"))[0] for client in clients]
        assert answers == [101, 101, 503]
        assert admission.handshakes == 0
        await eventually(lambda: is_rid_of(app), "the refused ones are gone")


async def test_they_count_as_connections(shared_redis: RedisProcess) -> None:
    """Of too many connections they are closed as others are that are still HTTP."""
    async with chat(shared_redis, FastPathProtocol, max_connections=1) as app:
        limit = app.ctx.worker.connection_limit
        limit._bound = 2
        async with (
            told(app, offering("/ws/a+b")) as (client, _),
            client_of(app),
            client_of(app),
        ):
            await client.frame()
            assert await client.reader.read() == b""
        assert limit.closed == 1
        await eventually(lambda: is_rid_of(app), "nobody is left")


async def test_a_worker_ends(shared_redis: RedisProcess) -> None:
    """It waits a second for them at most."""
    async with AsyncExitStack() as clients:
        async with chat(shared_redis, FastPathProtocol) as app:
            for _ in range(3):
                await clients.enter_async_context(told(app, offering("/ws/a+b")))
            assert len(app.ctx.worker.http_connections) == 3
        await eventually(lambda: is_rid_of(app), "nobody is left")
