"""Clients that do not read, or do not answer: what becomes of them, and of all others."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from ..support.clients import RawClient, non_reader, own_stats, receive_until, running_server
from ..support.frames import client_frame
from ..support.harness import RedisProcess, ServerProcess, eventually, memory, receive

QUEUE_BYTES = 256 * 1024
HEARTBEAT_TIMEOUT = 2.0
MARGIN = 4.0
"""Seconds that a slow machine may take longer."""


@pytest.fixture(scope="module")
def server(shared_redis: RedisProcess) -> Iterator[ServerProcess]:
    with running_server(
        REDIS_URL=shared_redis.url, CHAT_SEND_QUEUE_BYTES=str(QUEUE_BYTES)
    ) as server:
        yield server


def slow_consumers(server: ServerProcess) -> int:
    return own_stats(server)["messages_dropped"].get("slow_consumer", 0)


async def test_slow_consumers_are_closed(server, room):
    """Clients that do not read are closed with 1013; others get everything, and promptly."""
    [worker] = server.worker_pids
    before = slow_consumers(server)
    text = "x" * 16_000
    messages = 700  # 11 MB: more than the kernel and the send queue take for a client
    async with (
        server.connect(room) as reader,
        server.connect(room, echo="0") as sender,
        non_reader(server, room) as sleepy,
        non_reader(server, room) as second,
    ):
        memory_before = memory(worker)
        slowest = 0.0
        for number in range(messages):
            sent = time.monotonic()
            await sender.send(json.dumps({"data": [number, text]}))
            assert (await receive(reader))["data"] == [number, text]
            slowest = max(slowest, time.monotonic() - sent)
        assert slowest < MARGIN / 2
        assert slow_consumers(server) > before
        # Two send queues, and what the allocator makes of them.
        assert memory(worker) - memory_before < 2 * QUEUE_BYTES + 16 * 2**20
        for client in (sleepy, second):
            frames = await client.read_to_the_end()
            texts = [json.loads(payload)["data"] for opcode, payload in frames if opcode == 1]
            assert texts == [[number, text] for number in range(len(texts))]
            assert len(texts) < messages
            opcode, payload = frames[-1]
            assert (opcode, int.from_bytes(payload[:2])) == (8, 1013)
        await sender.send('{"data": "end"}')
        assert await receive_until(reader, "end") == []


async def test_who_reads_again_in_time_stays(server, room):
    """A client that pauses for less than its queue holds misses nothing and stays."""
    text = "x" * 1000
    async with server.connect(room) as sender, non_reader(server, room) as sleepy:
        for number in range(100):
            await sender.send(json.dumps({"data": [number, text]}))
            assert (await receive(sender))["data"] == [number, text]
        await sleepy.say_goodbye()
        frames = await sleepy.read_to_the_end()
    assert [json.loads(payload)["data"][0] for _, payload in frames[:-1]] == list(range(100))
    assert frames[-1] == (8, b"\x03\xe8")


# -- the heartbeat ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def quick_server(shared_redis: RedisProcess) -> Iterator[ServerProcess]:
    """A server that has little patience."""
    with running_server(
        REDIS_URL=shared_redis.url, CHAT_HEARTBEAT_TIMEOUT=f"{HEARTBEAT_TIMEOUT:g}"
    ) as server:
        yield server


async def opcodes_to_the_end(client: RawClient) -> list[int]:
    """The opcodes of all frames until the connection is gone."""
    opcodes = []
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            opcodes.append((await client.frame())[0])
    return opcodes


async def test_silent_and_healthy(quick_server, room):
    """Who answers nothing is gone within the timeout; who answers pings stays, however idle."""
    before = own_stats(quick_server)["heartbeat_timeouts"]
    async with quick_server.connect(room) as healthy, RawClient(quick_server) as silent:
        started = time.monotonic()
        await silent.request(f"/ws/{room}")
        opcodes = await opcodes_to_the_end(silent)
        gone = time.monotonic() - started
        assert opcodes
        assert set(opcodes) == {9}, "pings come before the end, and no close frame"
        assert 0.8 * HEARTBEAT_TIMEOUT < gone < HEARTBEAT_TIMEOUT + MARGIN
        assert own_stats(quick_server)["heartbeat_timeouts"] == before + 1

        await asyncio.sleep(max(0.0, 2.5 * HEARTBEAT_TIMEOUT - gone))  # idle is what is tested
        await healthy.send('{"data": "still here"}')
        assert (await receive(healthy))["data"] == "still here"


async def test_any_frame_is_a_sign_of_life(quick_server, room):
    """Who answers no ping but says something now and then stays."""
    async with RawClient(quick_server) as client:
        await client.request(f"/ws/{room}?echo=0")
        until = time.monotonic() + 1.5 * HEARTBEAT_TIMEOUT
        while time.monotonic() < until:
            client.send(client_frame(0x81, b'{"data": 1}'))
            await asyncio.sleep(HEARTBEAT_TIMEOUT / 8)
        client.send(client_frame(0x88, b"\x03\xe8"))
        assert await client.close_code() == 1000


async def test_close_frame_without_answer(quick_server, room):
    """Who does not answer a close frame is dropped soon, and was told why."""
    async with RawClient(quick_server) as client:
        await client.request(f"/ws/{room}")
        started = time.monotonic()
        client.send(client_frame(0x82, b"binary"))
        assert await client.close_code() == 1003
        await client.reader.read()
        client.send(b"never mind")

        def reset() -> bool:
            client.send(b"x")
            return client.writer.transport.is_closing()

        await eventually(reset, "the server has let go of the socket", HEARTBEAT_TIMEOUT + MARGIN)
        assert time.monotonic() - started < HEARTBEAT_TIMEOUT + MARGIN


async def test_ping_flood_behind_the_handshake(quick_server, room):
    """A client that floods from its handshake on, and reads, costs no more than that it reads."""
    [worker] = quick_server.worker_pids
    memory_before = memory(worker)
    count, size = 300_000, 0
    async with quick_server.connect(room) as healthy, RawClient(quick_server) as client:
        await client.request(f"/ws/{room}", behind=client_frame(0x89, b"p" * 8) * count)
        while size < 10 * count:
            size += len(await client.reader.read(2**16))
            assert memory(worker) - memory_before < 16 * 2**20
        await healthy.send('{"data": "still here"}')
        assert (await receive(healthy))["data"] == "still here"


async def test_ping_flood_of_a_non_reader(quick_server, room):
    """A client that sends pings and never reads the pongs is soon cut off, and costs no memory."""
    [worker] = quick_server.worker_pids
    memory_before = memory(worker)
    flood = client_frame(0x89, b"p" * 125) * 500
    async with quick_server.connect(room) as healthy, non_reader(quick_server, room) as client:
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(client.send_without_end(flood), HEARTBEAT_TIMEOUT + MARGIN)
        await healthy.send('{"data": "still here"}')
        assert (await receive(healthy))["data"] == "still here"
    assert memory(worker) - memory_before < 16 * 2**20
