"""Handshakes that are let in at once, and Sanic's way with the same bytes: one outcome."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from sanic import Request

from sanic_chat import create_app
from sanic_chat.app import ChatServer
from sanic_chat.config.settings import Config
from sanic_chat.upgrade import deadlines
from sanic_chat.upgrade.fast_path import FastPathProtocol
from sanic_chat.upgrade.sanic_http import ChatHttpProtocol

from ..support.clients import RawClient
from ..support.frames import client_frame
from ..support.harness import RedisProcess, eventually
from ..support.serving import chat, client_of, serving

pytestmark = pytest.mark.usefixtures("in_process")


def request(target: str = "/ws", **changes: str | None) -> bytes:
    return RawClient.handshake(target, **changes)


MAX_HEADER_BYTES = Config().max_header_bytes


def longest(size: int) -> bytes:
    """A handshake of so many bytes, which all belong to its head."""
    return request(X="x" * (size - len(request(X=""))))


async def outcome(app: ChatServer, data: bytes) -> tuple[Any, ...]:
    """The answer to a request, and what the session is like that it makes, if any."""
    async with client_of(app) as client:
        client.send(data)
        status, headers, body = await client.answer(has_body=not data.startswith(b"HEAD"))
        if status != 101:
            return status, headers, body
        (session,) = app.ctx.worker.pod.heartbeat.sessions()
        client.send(client_frame(0x81, b'{"data": 1}'))
        echoes = []
        if session.echo:
            while not echoes or echoes[-1]["type"] == "system":
                echoes.append(json.loads((await client.frame())[1]))
        said = (
            headers,
            sorted(channel.name for channel in session.channels),
            (session.echo, session.system_events, session.presence),
            [(echo["type"], echo["room"]) for echo in echoes],
        )
    await eventually(lambda: not app.ctx.worker.pod.connected, "it is gone")
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
    "too many parameters": request("/ws?" + "&" * 64),
    "as many escapes as may be": request("/ws?x=" + "%41" * 2048),
    "too many escapes": request("/ws?x=" + "%41" * 2049),
    "too many escapes in the path": request("/ws/" + "%41" * 2049),
    "slashes": request("/ws" + "/" * 9000),
    "slashes behind a room": request("/ws/lobby" + "/" * 9000),
    "slashes everywhere": request("/ws/" + "a/" * 4000),
    "something else": request("/ws?what=ever&&=&x"),
    "a blank room beside one": request("/ws/lobby?room="),
    "two blank rooms": request("/ws?room=&room="),
    "own page": request(Origin="http://localhost"),
    "foreign page": request(Origin="https://elsewhere.example"),
    "blanks around the origin": request(Origin="  http://localhost  "),
    "no host": request(Host=None),
    "several tokens": request(Connection="keep-alive, UPGRADE", Upgrade="WebSocket"),
    "two connection lines": request(Connection="keep-alive", connection="Upgrade"),
    "two upgrade lines": request(Upgrade="h2c", upgrade="websocket"),
    "two lines without it": request(Connection="keep-alive", connection="close"),
    "empty elements": request(Connection=" ,, upgrade ,", Upgrade=", websocket"),
    "other upgrade": request(Upgrade="h2c"),
    "two upgrades": request(Upgrade="h2c, websocket"),
    "no upgrade": request(Upgrade=None),
    "no connection": request(Connection=None),
    "version 8": request(Sec_WebSocket_Version="8"),
    "short key": request(Sec_WebSocket_Key="dGhlIHNhbXBsZQ=="),
    "no key": request(Sec_WebSocket_Key=None),
    "blanks around the key": request(Sec_WebSocket_Key="  dGhlIHNhbXBsZSBub25jZQ== \t"),
    "extensions": request(Sec_WebSocket_Extensions="permessage-deflate"),
    "other protocols": request(Sec_WebSocket_Protocol="chat, superchat"),
    "our protocol": request(Sec_WebSocket_Protocol="sanic-chat.v1"),
    "our protocol among others": request(Sec_WebSocket_Protocol="chat,sanic-chat.v1 , x"),
    "our protocol on a second line": request(
        Sec_WebSocket_Protocol="chat", sec_websocket_protocol="sanic-chat.v1"
    ),
    "our protocol in capitals": request(Sec_WebSocket_Protocol="Sanic-Chat.v1"),
    "no protocol": request(Sec_WebSocket_Protocol=""),
    "a file's page": request(Origin="file://"),
    "a token nobody asks for": request("/ws?token=x", Authorization="Bearer x"),
    "a body": request(Content_Length="0"),
    "long header": request(X="x" * 9000),
    "the longest head": longest(MAX_HEADER_BYTES),
    "too long a head": longest(MAX_HEADER_BYTES + 1),
    "HTTP/1.0": request().replace(b"HTTP/1.1", b"HTTP/1.0"),
    "HTTP/2": request().replace(b"HTTP/1.1", b"HTTP/2.0"),
    "HEAD": request().replace(b"GET", b"HEAD"),
    "HEAD of a room": request("/ws/lobby").replace(b"GET", b"HEAD"),
    "HEAD with a bad room": request("/ws/a+b").replace(b"GET", b"HEAD"),
    "OPTIONS": request().replace(b"GET", b"OPTIONS"),
    "OPTIONS of the page": request("/").replace(b"GET", b"OPTIONS"),
    "HAProxy's check": b"OPTIONS / HTTP/1.0\r\n\r\n",
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
        chat(shared_redis, FastPathProtocol) as ours,
        chat(shared_redis, ChatHttpProtocol) as sanics,
    ):
        for case, data in ALIKE.items():
            assert await outcome(ours, data) == await outcome(sanics, data), case
            assert ours.ctx.worker.pod.refused == sanics.ctx.worker.pod.refused, case
    assert set(ours.ctx.worker.pod.refused) > {"bad_room", "bad_events", "forbidden_origin"}


AT_ONCE = [
    "no room",
    "a room",
    "with the prefix",
    "encoded room in the query",
    "events",
    "no echo",
    "own page",
    "several tokens",
    "two connection lines",
    "two upgrade lines",
    "a blank room",
    "a blank room beside one",
    "other protocols",
    "our protocol",
    "long header",
    "the longest head",
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
        assert not app.ctx.worker.http_connections
        assert app.ctx.worker.pod.connected == 1
        await eventually(lambda: asyncio.all_tasks() <= tasks, "no task is left")


@pytest.mark.parametrize("case", [case for case in ALIKE if "protocol" in case])
async def test_subprotocols(app: ChatServer, case: str) -> None:
    """Ours is selected if it is offered, by its exact name; of others none is."""
    async with client_of(app) as client:
        client.send(ALIKE[case])
        status, headers, _ = await client.answer()
    assert status == 101
    ours = case.startswith("our protocol") and "capitals" not in case
    assert headers.get("sec-websocket-protocol") == ("sanic-chat.v1" if ours else None)


STATUSES = {
    "two connection lines": 101,
    "two upgrade lines": 101,
    "two lines without it": 400,
    "empty elements": 101,
    "a blank room": 101,
    "a blank room beside one": 101,
    "two blank rooms": 101,
    "a file's page": 403,
    "long header": 101,
    "the longest head": 101,
    "too long a head": 431,
    "as many escapes as may be": 101,
    "too many escapes": 400,
    "too many escapes in the path": 400,
    "slashes": 101,
    "slashes behind a room": 101,
    "slashes everywhere": 404,
    "HEAD": 426,
    "HEAD of a room": 426,
    "HEAD with a bad room": 400,
    "OPTIONS": 405,
    "OPTIONS of the page": 204,
    "HAProxy's check": 204,
}


async def test_statuses(app: ChatServer) -> None:
    """What people and programs send at the edges is answered as they expect."""
    assert {case: (await outcome(app, ALIKE[case]))[0] for case in STATUSES} == STATUSES


async def test_a_check_in_a_drain(app: ChatServer) -> None:
    """HAProxy's check, if it is told of none, fails from a drain's first moment on."""
    app.ctx.worker.pod.begin_drain()
    status, headers, body = await outcome(app, ALIKE["HAProxy's check"])
    assert (status, json.loads(body)["code"]) == (503, "draining")
    assert "retry-after" in headers


@pytest.mark.parametrize("limit", [1024, 65536])
async def test_the_limit_of_a_head(
    shared_redis: RedisProcess, by_sanic: list[bytes], limit: int
) -> None:
    """CHAT_MAX_HEADER_BYTES is what a head may have at most, whole in a packet or in parts."""
    async with chat(shared_redis, FastPathProtocol, max_header_bytes=limit) as app:
        for size, status in ((limit, 101), (limit + 1, 431)):
            data = longest(size)
            for parts in ([data], [data[:100], data[100:]]):
                async with client_of(app) as client:
                    for number, part in enumerate(parts):
                        client.send(part)
                        if number < len(parts) - 1:
                            await eventually(lambda: by_sanic, "the first part was read")
                    answer, _, body = await client.answer()
                    assert answer == status
                if status == 431:
                    assert json.loads(body) == {
                        "code": "request_header_fields_too_large",
                        "message": f"The head of a request may have {limit} bytes "
                        "(CHAT_MAX_HEADER_BYTES)",
                    }
                by_sanic.clear()


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


async def test_looks_are_not_forgotten(app: ChatServer, by_sanic: list[bytes]) -> None:
    """The time for a request's head begins with the connection, not with its first byte."""
    looks = deadlines.LOOKS - 2
    limits = dict.fromkeys(deadlines.Phase, deadlines.LOOKS)
    async with client_of(app) as client:
        await eventually(lambda: app.ctx.worker.http_connections, "it is accepted")
        (silent,) = app.ctx.worker.http_connections
        app.ctx.worker._deadlines.stop()
        for _ in range(looks + 1):  # the first one sees that it is there
            silent.look(limits)
        client.send(b"GET /ws")
        await eventually(lambda: by_sanic, "Sanic has it")
        (begun,) = app.ctx.worker.http_connections
        begun.look(limits)
        assert not begun.transport.is_closing()
        begun.look(limits)
        assert begun.transport.is_closing()
        assert (await client.answer())[0] == 408
