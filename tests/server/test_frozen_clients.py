"""A client whose process is stopped: real kernel buffers, and nobody who reads them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
from websockets.asyncio.client import ClientConnection

from ..support.clients import running_server
from ..support.harness import DEADLINE, ROOT, RedisProcess, ServerProcess, memory, receive

QUEUE_BYTES = 256 * 1024
ROOM_RATE = 5_000_000
"""Bytes a second that are said in the room, if the machine is fast enough."""
MESSAGE_BYTES = 16_000
ROUND = 10_000_000
"""Bytes that are said before another look; more than the kernel takes for a client, usually."""
WINDOW = 20
"""Messages that are under way at the most: who is late on a slow machine waits."""
MARGIN_SECONDS = 2.0
"""How late a message may be on a slow machine."""


@asynccontextmanager
async def frozen_client(server: ServerProcess, room: str) -> AsyncIterator[FrozenClient]:
    """A client that is in the room, and stopped."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.frozen_client", str(server.port), room,
        cwd=ROOT, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    client = FrozenClient(process)
    try:
        assert await client.line() == b"ready\n"
        os.kill(process.pid, signal.SIGSTOP)
        yield client
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


class FrozenClient:
    """What a test knows of `tests.support.frozen_client`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def line(self) -> bytes:
        assert self._process.stdout is not None
        async with asyncio.timeout(DEADLINE):
            return await self._process.stdout.readline()

    async def wake(self) -> list[Any]:
        """Let it go on, to its end; returns all that it has got."""
        os.kill(self._process.pid, signal.SIGCONT)
        lines = []
        while line := await self.line():
            lines.append(json.loads(line))
        return lines


@pytest.fixture(scope="module", params=["disconnect", "drop_oldest"])
def server(
    request: pytest.FixtureRequest, shared_redis: RedisProcess
) -> Iterator[tuple[ServerProcess, str]]:
    """A server and what it does with slow consumers."""
    with running_server(
        REDIS_URL=shared_redis.url,
        CHAT_SEND_QUEUE_BYTES=str(QUEUE_BYTES),
        CHAT_SLOW_CONSUMER=request.param,
    ) as server:
        yield server, request.param


def dropped_of(server: ServerProcess, reason: str) -> int:
    """Messages that the server has dropped for that reason."""
    return int(server.pod()["messages_dropped"].get(reason, 0))


async def test_a_frozen_client_in_a_busy_room(server: tuple[ServerProcess, str]) -> None:
    """It costs the worker its send queue and no more, others nothing; then it is told."""
    process, policy = server
    [worker] = process.worker_pids
    room = f"room-{uuid4()}"
    dropped_before = dropped_of(process, "slow_consumer")
    async with (
        process.connect(room, echo="0") as sender,
        process.connect(room) as reader,
        frozen_client(process, room) as frozen,
    ):
        talk = Talk(sender, reader, worker)
        await talk.go_on(ROUND // 5)  # the allocator has seen such messages
        memory_before = memory(worker)
        await talk.go_on_until(lambda: dropped_of(process, "slow_consumer") > dropped_before)
        assert talk.slowest < MARGIN_SECONDS
        # The queue, what the transport holds, and what the allocator makes of them.
        assert talk.most_memory - memory_before < 2 * QUEUE_BYTES + 12 * 2**20

        pod = process.pod()
        dropped = pod["messages_dropped"]["slow_consumer"] - dropped_before
        if policy == "disconnect":
            assert pod["send_queues"] == {"clients": 0, "bytes": 0}
        else:
            assert pod["send_queues"]["clients"] == 1
            # What is in the queue, and what is under way in the transport.
            assert 0 < pod["send_queues"]["bytes"] <= 2 * QUEUE_BYTES

        await sender.send('{"data": "end"}')
        assert (await receive(reader))["data"] == "end"
        welcome, *got = await frozen.wake()
    assert welcome["event"] == "welcome"
    if policy == "disconnect":
        numbers = [number for (number,) in got[:-1]]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) < talk.messages
        assert got[-1][:2] == ["close", 1013]
        return
    told = missed = 0
    for message in got[:-1]:
        if isinstance(message, dict):
            assert message == {
                "event": "gap", "room": room, "reason": "slow", "messages": message["messages"],
            }  # fmt: skip
            missed += message["messages"]
            told += message["messages"]
        else:
            assert message == [told]
            told += 1
    assert got[-1] == "end"
    assert told == talk.messages
    assert missed >= dropped


class Talk:
    """What `sender` says in a room at a fixed rate, and `reader` hears: all of it, in order."""

    def __init__(self, sender: ClientConnection, reader: ClientConnection, worker: int) -> None:
        self.messages = 0
        self.slowest = 0.0
        """The longest a message took, in seconds."""
        self.most_memory = 0
        self._sender = sender
        self._reader = reader
        self._worker = worker
        self._sent: dict[int, float] = {}
        self._window = asyncio.Semaphore(WINDOW)

    async def go_on_until(self, condition: Callable[[], bool]) -> None:
        """Talk until that is so, and measure it anew."""
        self.slowest = self.most_memory = 0
        async with asyncio.timeout(DEADLINE):
            while not condition():
                await self.go_on(ROUND)

    async def go_on(self, size: int) -> None:
        """Say so many bytes."""
        first, self.messages = self.messages, self.messages + size // MESSAGE_BYTES
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._say(first))
            tasks.create_task(self._hear(first))

    async def _say(self, first: int) -> None:
        padding = "x" * MESSAGE_BYTES
        began = time.monotonic()
        for number in range(first, self.messages):
            due = began + (number - first) * MESSAGE_BYTES / ROOM_RATE
            await asyncio.sleep(due - time.monotonic())
            await self._window.acquire()
            self._sent[number] = time.monotonic()
            await self._sender.send(json.dumps({"data": [number, padding]}))

    async def _hear(self, first: int) -> None:
        for number in range(first, self.messages):
            assert (await receive(self._reader))["data"][0] == number
            self._window.release()
            self.slowest = max(self.slowest, time.monotonic() - self._sent.pop(number))
            self.most_memory = max(self.most_memory, memory(self._worker))


@pytest.fixture
def crowded_server(shared_redis: RedisProcess) -> Iterator[ServerProcess]:
    """A server whose clients together may have less waiting than one of them."""
    with running_server(
        REDIS_URL=shared_redis.url, CHAT_SEND_QUEUE_TOTAL_BYTES=str(QUEUE_BYTES)
    ) as server:
        yield server


async def test_an_overload(crowded_server: ServerProcess) -> None:
    """Beyond the bound for all send queues the client with most in it is closed, and knows why."""
    busy, quiet = f"busy-{uuid4()}", f"quiet-{uuid4()}"
    [worker] = crowded_server.worker_pids
    async with (
        crowded_server.connect(busy, echo="0") as sender,
        crowded_server.connect(busy) as reader,
        frozen_client(crowded_server, busy) as frozen,
        frozen_client(crowded_server, quiet) as other,
    ):
        talk = Talk(sender, reader, worker)
        await talk.go_on_until(lambda: dropped_of(crowded_server, "overload") > 0)
        # Of what is delivered in the turn in which it is closed, the rest counts as undelivered.
        assert crowded_server.pod()["messages_dropped"].keys() <= {"overload", "session_closed"}
        *_, (event, code, reason) = await frozen.wake()
        assert (event, code) == ("close", 1013)
        assert reason.startswith("overload")
        await sender.send('{"data": "end", "room": null}')
        assert (await other.wake())[-1] == "end"
