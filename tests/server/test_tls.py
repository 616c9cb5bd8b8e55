"""The server behind its own TLS: `sanic server.py --cert … --key …`.

Under TLS the event loop puts a transport of its own between session and socket, with another
flow control and another way to close; here is what the session relies on.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest

from ..support.clients import RawClient, on_pods, receive_until, running_server
from ..support.frames import client_frame
from ..support.harness import (
    DEADLINE,
    RedisProcess,
    ServerProcess,
    StartServer,
    close_code,
    eventually,
    memory,
    receive,
)
from ..support.rosters import Watcher
from ..support.tls import Certificate, self_signed_certificate

QUEUE_BYTES = 256 * 1024
TEXT, BINARY, CLOSE = 0x81, 0x82, 0x88


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return self_signed_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module", params=["true", "false"], ids=["uvloop", "asyncio"])
def server(
    request: pytest.FixtureRequest, shared_redis: RedisProcess, certificate: Certificate
) -> Iterator[ServerProcess]:
    with running_server(
        workers=2,
        certificate=certificate,
        REDIS_URL=shared_redis.url,
        SANIC_USE_UVLOOP=request.param,
        CHAT_SEND_QUEUE_BYTES=str(QUEUE_BYTES),
    ) as server:
        yield server


async def test_clients_of_both_workers_talk(server, room):
    """Messages reach clients that say nothing themselves, on both workers, all and in order."""
    async with on_pods(server, 2, room) as (sender, other), server.connect(room) as third:
        for number in range(200):
            await sender.send(json.dumps({"data": number}))
        for client in (sender, other, third):
            received = [(await receive(client))["data"] for _ in range(200)]
            assert received == list(range(200))
    assert server.stats()["complete"]


async def test_one_message_at_a_time(server, room):
    """A client that only listens gets each message when it is sent, not with the next one."""
    async with server.connect(room, echo="0") as sender, server.connect(room) as listener:
        for number in range(20):
            await sender.send(json.dumps({"data": number}))
            assert (await receive(listener))["data"] == number


async def test_frames_in_the_packet_of_the_handshake(server, room):
    """What a client sends right behind its handshake is processed, be it little or much."""
    little = [client_frame(TEXT, b'{"data": %d}' % number) for number in range(20)]
    much = [client_frame(TEXT, json.dumps({"data": ["x" * 30_000]}).encode())] * 5
    for frames in (little, much):
        async with RawClient(server) as client:
            status, _, _ = await client.request(f"/ws/{room}", behind=b"".join(frames)[:-1])
            assert status == 101
            client.send(frames[-1][-1:])
            received = [json.loads((await client.frame())[1])["data"] for _ in frames]
        assert received == (list(range(20)) if frames is little else [["x" * 30_000]] * 5)


async def test_a_burst_behind_the_handshake(server, room):
    """It is handled turn by turn, and the client is read from again afterwards."""
    count = 1000
    burst = b"".join(client_frame(TEXT, b'{"data": %d}' % number) for number in range(count))
    async with RawClient(server) as client:
        status, _, _ = await client.request(f"/ws/{room}", behind=burst)
        assert status == 101
        client.send(client_frame(TEXT, b'{"data": %d}' % count))
        received = [json.loads((await client.frame())[1])["data"] for _ in range(count + 1)]
    assert received == list(range(count + 1))


def resets(client: RawClient) -> None:
    client.writer.transport.abort()


def ends_its_side(client: RawClient) -> None:
    """Without TLS's goodbye, as an abort does if all that has arrived was read."""
    client.writer.get_extra_info("socket").shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("go", [resets, ends_its_side])
async def test_clients_that_go_with_much_unread(server, room, go):
    """Clients that are gone before they have their answers leave no line in the log."""
    before = len(server.log)
    burst = client_frame(TEXT, b"no JSON") * 2000
    for _ in range(5):
        async with RawClient(server) as client:
            assert (await client.request(f"/ws/{room}", behind=burst))[0] == 101
            await client.frame()
            go(client)
            with suppress(ConnectionError):
                await client.reader.read()
    async with server.connect(room) as client:
        await client.send('{"data": 1}')
        await receive(client)
    await eventually(
        lambda: sum(pod["connections"] for pod in server.stats()["pods"]) == 0, "all are gone"
    )
    assert "raised exception" not in server.log[before:]
    assert "SSL connection is closed" not in server.log[before:]


async def test_slow_consumer(server, room):
    """A client that does not read is closed with 1013 and costs little; others get everything."""
    text = "x" * 16_000
    messages = 700  # 11 MB: more than the kernel and the send queue take for a client
    async with (
        server.connect(room) as reader,
        server.connect(room, echo="0") as sender,
        RawClient(server, receive_buffer=4096) as sleepy,
    ):
        assert (await sleepy.request(f"/ws/{room}"))[0] == 101
        before = {pid: memory(pid) for pid in server.worker_pids}
        for number in range(messages):
            await sender.send(json.dumps({"data": [number, text]}))
            assert (await receive(reader))["data"] == [number, text]
        for pid in before:
            # The queue, what TLS keeps below it, and what the allocator makes of them.
            assert memory(pid) - before[pid] < 4 * QUEUE_BYTES + 16 * 2**20
        numbers = []
        while (frame := await sleepy.frame())[0] == 1:
            numbers.append(json.loads(frame[1])["data"][0])
        assert numbers == list(range(len(numbers)))
        assert len(numbers) < messages
        assert (frame[0], int.from_bytes(frame[1][:2])) == (8, 1013)
        await sender.send('{"data": "end"}')
        assert await receive_until(reader, "end") == []


@pytest.mark.parametrize(
    ("code", "frame"),
    [
        pytest.param(1002, client_frame(TEXT, b"{}", masked=False), id="unmasked"),
        pytest.param(1003, client_frame(BINARY, b"{}"), id="binary"),
        pytest.param(1007, client_frame(TEXT, b"\xff"), id="bad UTF-8"),
        pytest.param(1000, client_frame(CLOSE, b"\x03\xe8"), id="close"),
    ],
)
async def test_the_end_of_a_connection(server, room, code, frame):
    """Who breaks the protocol or closes is told the code; the end comes once both have said so."""
    async with server.connect(room, events="presence") as peer, RawClient(server) as client:
        watcher = Watcher(peer)
        await client.request(f"/ws/{room}")
        await watcher.until(lambda seen: seen.sessions == 2)
        client.send(frame)
        assert await client.close_code() == code
        await watcher.until(lambda seen: seen.sessions == 1)
        if code != 1000:
            client.send(client_frame(CLOSE, code.to_bytes(2, "big")))
        async with asyncio.timeout(DEADLINE / 4):
            assert await client.reader.read() == b""


async def test_clients_that_vanish(server, room):
    """Clients that end without a word of TLS or WebSocket leave their room, and no traceback."""
    async with server.connect(room, events="presence") as peer:
        watcher = Watcher(peer)
        for end in (b"", client_frame(TEXT, b'{"data": 1}')[:5]):
            async with RawClient(server) as client:
                await client.request(f"/ws/{room}")
                await watcher.until(lambda seen: seen.sessions == 2)
                client.send(end)
            await watcher.until(lambda seen: seen.sessions == 1)
    assert "Traceback" not in server.log


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"GET /ws HTTP/1.1\r\nHost: h\r\n\r\n", id="HTTP"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), id="garbage"),
        pytest.param(b"\x16\x03\x01", id="half a record"),
        pytest.param(b"", id="nothing"),
    ],
)
async def test_what_is_no_tls(server, room, data):
    """What does not speak TLS is turned away without a traceback, and others are served."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(data)
    writer.write_eof()
    async with asyncio.timeout(DEADLINE):
        with suppress(ConnectionError):
            await reader.read()
    writer.close()
    async with server.connect(room) as client:
        await client.send('{"data": 1}')
        assert (await receive(client))["data"] == 1
    assert "Traceback" not in server.log


@pytest.mark.parametrize("uvloop", ["true", "false"], ids=["uvloop", "asyncio"])
async def test_drain(
    start_server: StartServer, shared_redis: RedisProcess, certificate, room, uvloop
):
    """SIGTERM closes the clients of both workers with 1001, the deaf ones too; exit code 0.

    Who has connected and not even begun with TLS does not delay it.
    """
    server = start_server(
        workers=2, certificate=certificate, REDIS_URL=shared_redis.url, SANIC_USE_UVLOOP=uvloop
    )
    _, silent = await asyncio.open_connection("127.0.0.1", server.port)
    async with on_pods(server, 2, room) as clients, RawClient(server) as deaf:
        assert (await deaf.request(f"/ws/{room}"))[0] == 101
        for number in range(50):
            await clients[0].send(json.dumps({"data": number}))
        await receive_until(clients[0], 49)
        stopping = asyncio.create_task(asyncio.to_thread(server.stop))
        for client in clients:
            assert await close_code(client) == 1001
        await stopping
        frames = [await deaf.frame() for _ in range(51)]
        assert [json.loads(payload)["data"] for _, payload in frames[:-1]] == list(range(50))
        assert (frames[-1][0], int.from_bytes(frames[-1][1][:2])) == (8, 1001)
    silent.close()
