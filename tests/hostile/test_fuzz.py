"""Mutated and random bytes: on upgraded sockets, to the HTTP API, and on the links to Redis.

What is sent follows from a seed, which a failing test prints. By default it is always the same;
with FUZZ_SECONDS it is a new one each time, or FUZZ_SEED:

    FUZZ_SECONDS=600 python -m pytest tests/hostile/test_fuzz.py
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from random import Random
from uuid import uuid4

import pytest
from redis.asyncio import Redis
from websockets.asyncio.client import ClientConnection

from ..support.backend import WITH_API
from ..support.clients import RawClient, RedisProxy, running_server
from ..support.frames import take_server_frame
from ..support.fuzzing import (
    SECONDS,
    SEED,
    api_requests,
    assert_is_message,
    frames,
    mutate,
    talk,
    unharmed,
    upgrade_request,
)
from ..support.harness import DEADLINE, RedisProcess, ServerProcess, eventually, receive

CLIENTS = 4

pytestmark = pytest.mark.timeout(SECONDS + 60)


@pytest.fixture(autouse=True)
def tell_the_seed() -> None:
    print(f"FUZZ_SEED={SEED} FUZZ_SECONDS={SECONDS:g}")


# -- sockets -----------------------------------------------------------------------------------


@pytest.fixture
def server(shared_redis: RedisProcess) -> Iterator[ServerProcess]:
    with running_server(
        REDIS_URL=shared_redis.url, CHAT_UNSUBSCRIBE_DELAY="0.1", **WITH_API
    ) as server:
        yield server


async def disturb(server: ServerProcess, random: Random, until: Callable[[], bool]) -> int:
    """One connection after the other with a stream that is more or less wrong."""
    for number in count():
        if until():
            return number
        if random.random() < 0.8:
            request, stream = upgrade_request(random), frames(random)
        else:
            request, stream = b"", api_requests(random)
        if random.random() < 0.8:
            stream = mutate(random, stream)
        if random.random() < 0.1:
            stream += random.randbytes(random.randrange(5000))
        if request and random.random() < 0.2:
            request = mutate(random, request)
        await disturb_once(server, random, request, stream)
    raise AssertionError("not reached")


async def disturb_once(
    server: ServerProcess, random: Random, request: bytes, stream: bytes
) -> None:
    """Send a stream cut anywhere, and look at what comes back until the connection ends."""
    rest = request + stream
    received = b""
    with suppress(OSError):  # the server may have had enough
        async with RawClient(server) as client:
            while rest:
                size = random.choice((1, 7, 100, len(request) or 1000, len(rest)))
                client.send(rest[:size])
                rest = rest[size:]
                await client.writer.drain()
                if random.random() < 0.5:
                    await asyncio.sleep(0)
            if random.random() < 0.2:
                return  # a reset, wherever the server is in all that
            client.writer.write_eof()
            async with asyncio.timeout(DEADLINE):
                while data := await client.reader.read(65536):
                    received += data
    assert b"HTTP/1.1 500" not in received
    head, _, body = received.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 101"):
        answer = bytearray(body)
        while (frame := take_server_frame(answer)) is not None:
            if frame[0] == 1:
                assert_is_message(frame[1])


async def test_sockets(server):
    """Whatever is sent, the server goes on, others are served, and what is sent back is right."""
    ends = time.monotonic() + SECONDS

    def over() -> bool:
        return time.monotonic() > ends

    room = f"room-{uuid4()}"
    with unharmed(server):
        async with server.connect(room, echo="0") as sender, server.connect(room) as listener:
            done = await asyncio.gather(
                talk(sender, listener, over),
                *(disturb(server, Random(f"{SEED}-{index}"), over) for index in range(CLIENTS)),
            )
            print("messages of the undisturbed, connections of each that disturbs:", done)
            assert min(done) > SECONDS

            def alone() -> bool:
                totals = server.stats()["pods"]
                [pod] = [pod for pod in totals if pod["pid"] in server.worker_pids]
                return (pod["connections"], pod["rooms"]) == (2, 1)

            await eventually(alone, "nothing is left of the others")


# -- Redis -------------------------------------------------------------------------------------


async def publish_and_listen(
    outside: Redis, client: ClientConnection, room: str, until: Callable[[], bool]
) -> int:
    """Publish to a room from outside again and again; how many of them arrived."""
    arrived = 0
    for number in count():
        if until():
            return arrived
        await outside.publish(f"realtime:room:{room}", json.dumps({"data": [number, "x" * 200]}))
        with suppress(TimeoutError):
            async with asyncio.timeout(0.01):
                while True:
                    text = await client.recv()
                    assert_is_message(text)
                    arrived += json.loads(text)["type"] == "notification"
    raise AssertionError("not reached")


async def test_redis(own_redis: RedisProcess):
    """Whatever Redis seems to answer, own clients are served, and the links recover from it."""
    random = Random(SEED)
    garbled = 0

    def garble(data: bytes) -> bytes:
        nonlocal garbled
        if random.random() < 0.95:
            return data
        garbled += 1
        return mutate(random, data)

    room = f"room-{uuid4()}"
    with (
        RedisProxy(own_redis.port) as proxy,
        running_server(
            REDIS_URL=f"redis://127.0.0.1:{proxy.port}",
            CHAT_REDIS_TIMEOUT="0.5",
            CHAT_SUBSCRIBE_TIMEOUT="0.1",
            CHAT_STATS_INTERVAL="0.1",
        ) as server,
        unharmed(server),
    ):
        async with (
            Redis(port=own_redis.port) as outside,
            server.connect(f"{room}-own", echo="0") as sender,
            server.connect(f"{room}-own") as listener,
            server.connect(room) as client,
        ):
            ends = time.monotonic() + SECONDS

            def over() -> bool:
                return time.monotonic() > ends

            proxy.garble = garble
            done = await asyncio.gather(
                talk(sender, listener, over), publish_and_listen(outside, client, room, over)
            )
            proxy.garble = None
            print(f"own messages, messages from outside: {done}; {garbled=}")
            assert min(*done, garbled) > SECONDS
            proxy.cut()  # what is garbled into something that is awaited ends here at last

            async def crosses() -> bool:
                await outside.publish(f"realtime:room:{room}", '{"data": "end"}')
                with suppress(TimeoutError):
                    while (await receive(client, 0.2))["data"] != "end":
                        pass
                    return True
                return False

            await eventually(crosses, "messages from outside arrive again")
            await eventually(lambda: server.stats()["complete"], "the stats are complete")
