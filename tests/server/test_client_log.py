"""What the log says of clients, of real servers: who came, who went, and who ended badly."""

from __future__ import annotations

import json
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import unix_connect

from ..support.clients import RawClient, receive_data, running_server
from ..support.frames import client_frame
from ..support.harness import RedisProcess, ServerProcess, StartServer, close_code, eventually
from ..support.users import KNOWS_USERS, token

PROXY = {"CHAT_TRUSTED_PROXIES": "127.0.0.0/8"}
A_TEXT, A_CLOSE = 0x81, 0x88


def events(server: ServerProcess, event: str) -> list[dict[str, Any]]:
    """What was logged of that kind, oldest first."""
    lines = [json.loads(line) for line in server.log.splitlines()]
    return [line for line in lines if line.get("event") == event]


async def wait_for(server: ServerProcess, event: str, **fields: Any) -> dict[str, Any]:
    """The first event with these fields."""

    def found() -> dict[str, Any] | None:
        for line in events(server, event):
            if fields.items() <= line.items():
                return line
        return None

    result: dict[str, Any] = await eventually(found, f"{event} {fields} in the log")
    return result


def logging_server(**environment: str) -> Any:
    """A fixture: a server whose log is JSON."""

    @pytest.fixture(scope="module")
    def server(shared_redis: RedisProcess) -> Iterator[ServerProcess]:
        with running_server(
            REDIS_URL=shared_redis.url, CHAT_LOG_FORMAT="json", **environment
        ) as server:
            yield server

    return server


server = logging_server(CHAT_LOG_CLIENTS="1", **KNOWS_USERS, **PROXY)
"""One that logs clients, behind a proxy, with tokens."""

quiet_server = logging_server(
    CHAT_HEARTBEAT_TIMEOUT="3",
    CHAT_MAX_MESSAGE_BYTES="2000",
    CHAT_MAX_MESSAGE_FRAGMENTS="3",
    CHAT_SEND_QUEUE_MESSAGES="2",
)
"""One that logs of clients only who ends badly, and has no proxy."""


# -- who comes and goes --------------------------------------------------------------------------


async def test_a_whole_visit(server: ServerProcess) -> None:
    """A client is logged when it opens and when it closes, with what happened in between."""
    headers = {"Authorization": f"Bearer {token('anna-1')}", "X-Forwarded-For": "1.2.3.4"}
    async with server.connect("visit", headers=headers) as client:
        opened = await wait_for(server, "client_opened", user="anna-1")
        for number in range(3):
            await client.send(json.dumps({"data": number}))
        await receive_data(client, 2)
        await client.close(4001, "a rea\nson")
    closed = await wait_for(server, "client_closed", user="anna-1")
    for line in (opened, closed):
        assert (line["room"], line["address"]) == ("visit", "1.2.3.4")
        assert line["client_id"] == opened["client_id"] != "anna-1"
    assert (closed["by"], closed["code"], closed["reason"]) == ("client", 4001, "a rea\nson")
    assert (closed["messages_in"], closed["messages_out"]) == (3, 3)
    assert 0 <= closed["seconds"] < 60
    assert (
        closed["message"].startswith(
            f"Client {opened['client_id']} closed by client: 4001 'a rea\\nson', user 'anna-1', "
            "room 'visit', address 1.2.3.4, 3 messages in, 3 messages out"
        )
        or "3 messages in, 3 out" in closed["message"]
    )


@pytest.mark.parametrize(
    ("data", "by", "code"),
    [
        pytest.param(client_frame(A_CLOSE, b""), "client", 1005, id="no code"),
        pytest.param(client_frame(A_CLOSE, b"\x03\xe9"), "client", 1001, id="going away"),
        pytest.param(client_frame(0x83, b""), "server", 1002, id="bad frame"),
        pytest.param(None, "nobody", 1006, id="lost"),
    ],
)
async def test_how_it_ended(
    server: ServerProcess, request: pytest.FixtureRequest, data: bytes | None, by: str, code: int
) -> None:
    """The code is that of the first close frame, of whichever side."""
    user = f"ended {request.node.callspec.id}"
    async with RawClient(server) as client:
        status, _, _ = await client.request("/ws", Authorization=f"Bearer {token(user)}")
        assert status == 101
        if data is None:
            client.writer.transport.abort()
        else:
            client.send(data)
            await client.close_code()
    closed = await wait_for(server, "client_closed", user=user)
    assert (closed["by"], closed["code"]) == (by, code)
    assert (closed["room"], closed["address"]) == (None, "127.0.0.1")


async def test_a_drain(start_server: StartServer, shared_redis: RedisProcess) -> None:
    """Without tokens the user is the client ID; a drain is the server's doing. As plain text."""
    server = start_server("--single-process", REDIS_URL=shared_redis.url, CHAT_LOG_CLIENTS="1")
    async with server.connect("drain") as client:
        address = client.local_address
        server.signal(signal.SIGTERM)
        assert await close_code(client) == 1001
    server.wait()
    lines = [line for line in server.log.splitlines() if " Client " in line or "Client 0" in line]
    assert len(lines) == 2, server.log
    opened, closed = (line.partition("Client ")[2] for line in lines)
    id = opened.partition(" ")[0]
    assert opened == (f"{id} opened: user '{id}', room 'drain', address {address[0]}:{address[1]}")
    assert closed.startswith(f"{id} closed by server: 1001 ")
    assert f"user '{id}', room 'drain', address {address[0]}:{address[1]}, 0 messages in" in closed


async def test_by_a_unix_socket(shared_redis: RedisProcess, start_server: StartServer) -> None:
    """Behind a proxy that comes by a Unix socket its header counts, if it is trusted."""
    with tempfile.TemporaryDirectory() as directory:
        path = str(Path(directory) / "chat.sock")
        start = start_server(
            "--unix", path,
            REDIS_URL=shared_redis.url, CHAT_LOG_CLIENTS="1", CHAT_TRUSTED_PROXIES="unix",
        )  # fmt: skip
        for header, address in ({"X-Forwarded-For": "1.2.3.4"}, "1.2.3.4"), ({}, "unix"):
            async with unix_connect(path, "ws://h/ws", additional_headers=header, proxy=None):
                await eventually(lambda a=address: f"address {a}" in start.log, "it is logged")
        start.stop()


# -- who ends badly ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "data"),
    [
        (1002, client_frame(0x83, b"")),
        (1003, client_frame(0x82, b"binary")),
        (1007, client_frame(A_TEXT, b"\xff")),
        (1008, b"".join(client_frame(first, b"x") for first in (0x01, 0x00, 0x00, 0x00))),
        (1009, client_frame(A_TEXT, b"x" * 2001)),
    ],
)
async def test_who_breaks_a_rule(quiet_server: ServerProcess, code: int, data: bytes) -> None:
    """The log says which rule, who it was, and where it came from; of nobody else anything."""
    server = quiet_server
    async with RawClient(server) as client:
        assert (await client.request("/ws/bad"))[0] == 101
        host, port = client.writer.get_extra_info("sockname")
        client.send(data)
        assert await client.close_code() == code
        line = await wait_for(server, "bad_ends", address=f"{host}:{port}")
    assert (line["level"], line["kind"]) == ("WARNING", str(code))
    assert line["counts"][str(code)] >= 1
    assert line["reason"]
    assert line["user"]
    assert not events(server, "client_opened") + events(server, "client_closed")


async def test_who_is_silent(quiet_server: ServerProcess) -> None:
    """A client that the heartbeat gives up is told of, with its address."""
    async with RawClient(quiet_server) as client:
        assert (await client.request("/ws"))[0] == 101
        host, port = client.writer.get_extra_info("sockname")
        line = await wait_for(quiet_server, "bad_ends", address=f"{host}:{port}")
    assert (line["kind"], line["reason"]) == ("heartbeat", "no sign of life for 3 s")


async def test_who_does_not_read(quiet_server: ServerProcess) -> None:
    """A slow consumer is told of."""
    async with RawClient(quiet_server, receive_buffer=4096) as slow:
        assert (await slow.request("/ws/slow"))[0] == 101
        host, port = slow.writer.get_extra_info("sockname")
        slow.writer.transport.pause_reading()
        async with RawClient(quiet_server) as talker:
            assert (await talker.request("/ws/slow?echo=0"))[0] == 101
            frames = client_frame(A_TEXT, json.dumps({"data": "x" * 1900}).encode()) * 64

            def told() -> bool:
                talker.send(frames)
                return any(
                    line["address"] == f"{host}:{port}" for line in events(quiet_server, "bad_ends")
                )

            await eventually(told, "it is told")
    line = await wait_for(quiet_server, "bad_ends", address=f"{host}:{port}")
    assert line["kind"] == "1013"


async def test_refused_tokens(server: ServerProcess) -> None:
    """Of a refused token the log says why, and from where, and not what it claims."""
    for number in range(20):
        async with RawClient(server) as client:
            status, _, _ = await client.request(
                f"/ws?token={token('liar', exp=1000)}",
                X_Forwarded_For=f"9.9.9.9, 1.2.3.{number}",
            )
            assert status == 401
    await eventually(
        lambda: sum(line["counts"].get("token", 0) for line in events(server, "bad_ends")) >= 20,
        "all are counted",
    )
    line = await wait_for(server, "bad_ends", address="1.2.3.19")
    assert line["kind"] == "token"
    assert line["reason"].startswith("The token has expired, ")
    assert line["user"] is None
    assert "liar" not in server.log
