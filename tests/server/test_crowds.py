"""Very many clients do the same at once: the others go on, and nothing is left of it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from redis.asyncio import from_url

from ..support.clients import non_reader, own_stats, receive_until, running_server
from ..support.crowd import connect_all
from ..support.frames import client_frame
from ..support.harness import (
    DEADLINE,
    RedisProcess,
    ServerProcess,
    StartServer,
    eventually,
    receive_event,
)

BACKPRESSURE_BYTES = 1024 * 1024
BURST = 200


@pytest.fixture(scope="module")
def server(shared_redis: RedisProcess) -> Iterator[ServerProcess]:
    with running_server(
        REDIS_URL=shared_redis.url,
        CHAT_SEND_QUEUE_BYTES="262144",
        CHAT_BACKPRESSURE_BYTES=str(BACKPRESSURE_BYTES),
    ) as server:
        yield server


def told(server: ServerProcess, *path: str) -> Any:
    """What the pod's stats say there."""
    value: Any = own_stats(server)
    for key in path[:-1]:
        value = value[key]
    return value.get(path[-1], 0) if len(path) > 1 else value[path[-1]]


async def test_a_room_of_slow_clients_that_watch_each_other(server: ServerProcess, room: str):
    """Hundreds that do not read are closed in one go; nobody else notices, and nothing is left."""
    before = told(server, "connections")
    async with server.connect(room) as speaker, AsyncExitStack() as slow:
        for _ in range(300):
            await slow.enter_async_context(non_reader(server, f"{room}?events=presence"))
        assert told(server, "connections") == before + 301
        text = "x" * 16_000
        filled = told(server, "send_queues", "clients") + 300
        async with asyncio.timeout(60):
            while told(server, "send_queues", "clients") < filled:
                await speaker.send(json.dumps({"data": text}))
                assert await receive_until(speaker, text) == []
        burst = [json.dumps({"data": f"burst {number}"}) for number in range(300)]
        speaker.transport.write(b"".join(client_frame(0x81, text.encode()) for text in burst))
        assert len(await receive_until(speaker, "burst 299")) == 299
        await eventually(lambda: told(server, "connections") == before + 1, "all are closed")
        await speaker.send('{"data": "end"}')
        assert await receive_until(speaker, "end") == []
        await eventually(lambda: told(server, "backlog", "bytes") == 0, "nothing is held")
        assert told(server, "sessions_failed") == 0
    assert "Traceback" not in server.log


async def test_a_mass_reset_of_clients_that_watch_each_other(server: ServerProcess, room: str):
    """That most of a room is reset at once holds little, and the others go on speaking."""
    crowd = await connect_all(server.port, [f"/ws/{room}?events=presence"] * 500)
    [worker] = server.worker_pids
    async with (
        server.connect() as anna,
        server.connect() as bert,
        server.connect(room, events="presence") as watcher,
    ):
        while (await receive_event(watcher, "roster"))["users"] != 501:
            pass
        os.kill(worker, signal.SIGSTOP)  # so that it finds all of them in one window
        for listener in crowd[:350]:
            listener.abort()
        await asyncio.sleep(0.1)  # in which the transports are closed
        os.kill(worker, signal.SIGCONT)
        for number in range(30):
            await anna.send(json.dumps({"data": number}))
            assert await receive_until(bert, number) == []
            assert told(server, "backlog", "bytes") <= 2 * BACKPRESSURE_BYTES
        changes = 0
        while (await receive_event(watcher, "changed"))["sessions"] != 151:
            changes += 1
        assert changes < 20
    for listener in crowd[350:]:
        assert listener.is_open
        listener.leave()
    await asyncio.gather(*(listener.ended for listener in crowd))


async def test_a_client_that_comes_and_goes(
    start_server: StartServer, redis: RedisProcess, room: str
):
    """Toggling a room publishes nothing while nobody watches any."""
    server = start_server("--single-process", REDIS_URL=redis.url)
    commands = [
        json.dumps({"type": "system", "data": {"action": action, "room": room}})
        for action in ("join", "leave")
    ]
    async with (
        from_url(redis.url) as outside,
        outside.pubsub(ignore_subscribe_messages=True) as listener,
        server.connect() as client,
    ):
        await listener.psubscribe("realtime:*")
        for _ in range(2000):
            for command in commands:
                await client.send(command)
        await client.send('{"data": "end"}')
        answers = await receive_until(client, "end")
        assert [answer["data"]["event"] for answer in answers] == ["joined", "left"] * 2000
        said = []
        while sum("canary" in words for words in said) < 3:
            message = await listener.get_message(timeout=DEADLINE)
            if message is not None:  # else it was a confirmation
                said.append(json.loads(message["data"]))
        assert [words["data"] for words in said if "canary" not in words] == ["end"]


async def test_a_burst_of_everybody(
    start_server: StartServer, shared_redis: RedisProcess, room: str
):
    """Hundreds of clients say more than they may in a turn, at once: Redis gets all of it."""
    server = start_server("--single-process", REDIS_URL=shared_redis.url)
    before = own_stats(server)
    crowd = await connect_all(server.port, [f"/ws/{room}-{number}" for number in range(500)])
    burst = "".join(f'{{"data": "a{number}"}}\n' for number in range(BURST)).splitlines()
    [worker] = server.worker_pids
    os.kill(worker, signal.SIGSTOP)  # so that it finds all of it in one turn
    for listener in crowd:
        listener.send_texts(burst)
    os.kill(worker, signal.SIGCONT)
    await eventually(
        lambda: all(listener.numbers["a"] == list(range(BURST)) for listener in crowd),
        "everybody has its own messages back",
    )
    published = before["messages_published"] + BURST * len(crowd)
    await eventually(lambda: told(server, "messages_published") >= published, "Redis has them all")
    assert own_stats(server)["messages_dropped"] == before["messages_dropped"]
    for listener in crowd:
        listener.leave()
    await asyncio.gather(*(listener.ended for listener in crowd))
