"""Who offers `sanic-chat.v1` is told over the WebSocket why it is refused; others as ever.

What the parts do, case by case, is in `tests/upgrade/test_refused_clients.py`.
"""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from ..support.clients import RawClient, running_server
from ..support.frames import client_frame
from ..support.harness import DEADLINE, SLOW, RedisProcess, ServerProcess, eventually, memory
from ..support.tls import self_signed_certificate
from ..support.users import KNOWS_USERS, token

OURS = "sanic-chat.v1"


BAD = f"/ws/a%2Bb?token={token()}"
PLAIN = False, "true"
"""Without TLS, on uvloop."""


@pytest.fixture(
    scope="module",
    params=[PLAIN, (True, "true"), (True, "false")],
    ids=["plain", "TLS", "TLS, asyncio"],
)
def server(
    request: pytest.FixtureRequest,
    shared_redis: RedisProcess,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ServerProcess]:
    has_tls, uvloop = request.param
    directory = tmp_path_factory.mktemp("certificate")
    with running_server(
        certificate=self_signed_certificate(directory) if has_tls else None,
        REDIS_URL=shared_redis.url,
        SANIC_USE_UVLOOP=uvloop,
        **KNOWS_USERS,
        CHAT_SUBPROTOCOLS="chat.v1",
    ) as server:
        yield server


def page(server: ServerProcess, path: str, *offered: str) -> connect:
    """A client that offers these subprotocols, as a page does."""
    return connect(
        server.url(f"/api/chat-api{path}"),
        subprotocols=offered,
        ssl=server.tls,
        proxy=None,
        open_timeout=DEADLINE,
    )


async def test_a_page_is_told(server: ServerProcess) -> None:
    """It gets 101, an event with code and sentence, and a close code that says the same."""
    before = server.pod()["upgrades_refused"]
    told = {}
    for path, text in {
        "/ws/a%2Bb": token(),
        "/ws": token(exp=1),
        "/ws/secret": token(rooms=[{"room": "lobby", "allow": ["join"]}]),
    }.items():
        async with page(server, path, OURS, f"bearer.{text}") as client:
            assert client.subprotocol == OURS
            event = json.loads(await client.recv())["data"]
            with pytest.raises(ConnectionClosed):
                await client.recv()
            assert client.close_reason == event["message"][:123]
            told[event["code"]] = client.close_code
    assert told == {"bad_room": 4400, "token_expired": 4401, "forbidden_room": 4403}
    pod = server.pod()
    assert pod["upgrades_refused"] == Counter(before) + Counter(told.keys())
    assert pod["connections"] == 0


async def test_others_are_refused_as_ever(server: ServerProcess) -> None:
    """Who offers something else, or nothing, gets the status."""
    for offered in ((), (f"bearer.{token()}",), ("chat.v1", f"bearer.{token()}")):
        with pytest.raises(InvalidStatus) as refusal:
            await page(server, "/ws/a%2Bb", *offered)
        assert refusal.value.response.status_code == (400 if offered else 401)


@pytest.mark.parametrize(
    ("offered", "selected"),
    [("x, chat.v1", "chat.v1"), (f"chat.v1, {OURS}", OURS), ("x, bearer.y", None)],
)
@pytest.mark.parametrize("path", ["/ws/abc", "/ws/%61bc"], ids=["fast path", "by Sanic"])
async def test_further_subprotocols(
    server: ServerProcess, path: str, offered: str, selected: str | None
) -> None:
    """Those of CHAT_SUBPROTOCOLS are selected if ours is not offered, and no others."""
    authorization = f"Bearer {token()}"
    async with RawClient(server) as client:
        status, headers, _ = await client.request(
            path, Authorization=authorization, Sec_WebSocket_Protocol=offered
        )
        assert (status, headers.get("sec-websocket-protocol")) == (101, selected)


ANSWER = (
    b"HTTP/1.1 %b\r\ncontent-length: %d\r\nconnection: close\r\n"
    b"content-type: application/json\r\n\r\n%b"
)
AS_EVER = [
    (
        RawClient.handshake(f"/ws?echo=2&token={token()}"),
        b"400 Bad Request",
        b'{"code":"bad_echo","message":"echo is 0 or 1"}',
    ),
    (
        RawClient.handshake("/ws?token=x"),
        b"401 Unauthorized\r\nWWW-Authenticate: Bearer",
        b'{"code":"unauthorized","message":"The token is no JSON Web Token"}',
    ),
    (
        RawClient.handshake("/ws/a", Authorization=f"Bearer {token(rooms=[])}"),
        b"403 Forbidden",
        b'{"code":"forbidden_room","message":"You are not allowed into room \'a\'"}',
    ),
]


async def test_the_bytes_of_others(server: ServerProcess) -> None:
    """They are those that they always were, one by one."""
    for data, head, body in AS_EVER:
        for offered in ("", "chat.v1, Sanic-Chat.v1"):
            line = f"Sec-WebSocket-Protocol: {offered}\r\n" if offered else ""
            async with RawClient(server) as client:
                client.send(data[:-2] + f"{line}\r\n".encode())
                assert await client.reader.read() == ANSWER % (head, len(body), body)


async def refused(client: RawClient) -> None:
    """Be told, up to the close frame."""
    status, headers, _ = await client.request(BAD, Sec_WebSocket_Protocol=OURS)
    assert (status, headers["sec-websocket-protocol"]) == (101, OURS)
    assert (await client.frame())[0] == 1
    assert (await client.frame())[0] == 8


async def ended(client: RawClient) -> None:
    """Wait for the end of the connection, behind the close frame."""
    with suppress(ConnectionError):  # asyncio's TLS says so of an end without its goodbye
        assert await client.reader.read() == b""


async def test_the_end(server: ServerProcess) -> None:
    """The client's close frame ends the connection at once; without one it ends in two seconds."""
    async with RawClient(server) as silent, RawClient(server) as polite:
        for client in (silent, polite):
            await refused(client)
        began = time.monotonic()
        assert server.pod()["handshakes"] == 2
        polite.send(client_frame(0x81, b"x" * 20_000) + client_frame(0x88, b"\x11\x30"))
        ends = [asyncio.create_task(ended(client)) for client in (polite, silent)]
        done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        assert done == {ends[0]}
        await ends[1]
        assert 1 < time.monotonic() - began < 2 * SLOW
    await eventually(lambda: server.pod()["handshakes"] == 0, "nobody is left")


CROWD = 300
GARBAGE = client_frame(0x81, b"x") * 100_000


@pytest.mark.parametrize("server", [PLAIN], indirect=True, ids=["plain"])
async def test_a_crowd_that_does_not_listen(server: ServerProcess) -> None:
    """Hundreds that never read or close, and send without end, cost little, and not for long."""
    request = RawClient.handshake(BAD, Sec_WebSocket_Protocol=OURS)
    async with RawClient(server) as other:
        assert (await other.request(f"/ws/lobby?token={token()}"))[0] == 101
        before = memory(server.pid)
        with ExitStack() as crowd:
            for _ in range(CROWD):
                client = crowd.enter_context(socket.create_connection(("127.0.0.1", server.port)))
                client.sendall(request)
                client.setblocking(False)
                with suppress(BlockingIOError):
                    client.send(GARBAGE)
            other.send(client_frame(0x81, b'{"data": "still here"}'))
            assert b'"still here"' in (await other.frame())[1]
            assert memory(server.pid) - before < CROWD * 16 * 1024 + 4 * 2**20
            await eventually(lambda: server.pod()["handshakes"] == 0, "all are cut off")
        assert memory(server.pid) - before < CROWD * 16 * 1024 + 4 * 2**20
    assert "Traceback" not in server.log


async def test_a_stop(shared_redis: RedisProcess) -> None:
    """A server that stops does not wait for who does not answer."""
    with running_server(REDIS_URL=shared_redis.url) as server:
        async with RawClient(server) as client:
            await refused(client)
            await asyncio.to_thread(server.stop)
            await ended(client)
