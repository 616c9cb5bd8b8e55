"""Redis away, frozen, wrong or behind TLS: clients stay, and everything mends by itself."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
import redis.asyncio
from websockets.asyncio.client import ClientConnection

from .clients import (
    HangUp,
    RedisProxy,
    behave,
    on_pods,
    receive_data,
    receive_until,
    running_server,
)
from .harness import (
    DEADLINE,
    RedisProcess,
    ServerProcess,
    eventually,
    free_port,
    receive,
    receive_event,
)

REDIS_TIMEOUT = 1.0
RECOVERY = 3.0
"""Seconds after which everything crosses again once Redis can be reached."""

QUEUE_MESSAGES = 5
SUBSCRIBE_TIMEOUT = 0.5
MARGIN = 3.0
"""Seconds that a slow machine may take longer."""


@pytest.fixture(scope="module")
def cluster(own_redis: RedisProcess) -> Iterator[ServerProcess]:
    """Two pods that notice a silent Redis within 1.5 s."""
    with running_server(
        workers=2, REDIS_URL=own_redis.url, CHAT_REDIS_TIMEOUT=str(REDIS_TIMEOUT)
    ) as server:
        yield server


@pytest.fixture
def room() -> str:
    """A room that no other test is in."""
    return f"room-{uuid4()}"


async def say(client: ClientConnection, data: object) -> None:
    await client.send(json.dumps({"data": data}))


async def publish(port: int, room: str, data: str, **options: str) -> None:
    """Publish in a room from outside."""
    async with redis.asyncio.Redis(port=port, **options) as outside:
        await outside.publish(f"realtime:room:{room}", json.dumps({"data": data}))


async def own_echo(client: ClientConnection) -> None:
    """The client's own pod serves it: what it says comes back."""
    marker = str(uuid4())
    await say(client, marker)
    await receive_data(client, marker)


# -- away and back ---------------------------------------------------------------------------


def chats(messages: list[dict[str, Any]]) -> list[Any]:
    return [message["data"] for message in messages if message["type"] == "chat"]


async def test_kill_and_restart(cluster, own_redis, room):
    """Clients outlive Redis, their own pod serves them meanwhile, and soon all is as before."""
    async with on_pods(cluster, 2, room) as (a, b):
        await say(a, "before")
        for client in (a, b):
            await receive_data(client, "before")
        own_redis.kill()
        for client in (a, b):
            await receive_event(client, "degraded")
        for number in range(50):
            await say(a, number)
        assert [(await receive(a))["data"] for _ in range(50)] == list(range(50))

        own_redis.start()
        started = time.monotonic()
        for client in (a, b):
            await receive_event(client, "recovered")
        await say(a, "after")
        received = chats(await receive_until(b, "after"))
        assert time.monotonic() - started < RECOVERY
        assert received == sorted(set(received))


async def test_what_was_sent_meanwhile(cluster, own_redis, room):
    """What is sent while Redis is away reaches the other pods afterwards, in order and once."""
    async with on_pods(cluster, 2, room) as (a, b):
        for turn in range(2):
            own_redis.kill()
            for client in (a, b):
                await receive_event(client, "degraded")
            for sender in (a, b):
                for number in range(20):
                    await say(sender, [turn, number])
                await say(sender, f"end {turn}")
            for client in (a, b):
                await receive_until(client, f"end {turn}")  # its own
            own_redis.start()
            for client in (a, b):
                received = chats(await receive_until(client, f"end {turn}"))
                assert received == [[turn, number] for number in range(20)]


async def test_subscriber_is_cut_off(cluster, own_redis, room):
    """After CLIENT KILL TYPE pubsub every pod is back, and has told of the gap."""
    async with (
        on_pods(cluster, 2, room) as (a, b),
        redis.asyncio.Redis(port=own_redis.port) as outside,
    ):
        for _ in range(5):
            assert await outside.client_kill_filter(_type="pubsub") == 2
            started = time.monotonic()
            for client in (a, b):
                await receive_event(client, "degraded")
                await receive_event(client, "recovered")
                assert [(await receive(client))["data"]["room"] for _ in range(2)] == [None, room]
            for sender, receiver in ((a, b), (b, a)):
                marker = str(uuid4())
                await say(sender, marker)
                await receive_data(receiver, marker)
                await receive_data(sender, marker)
            assert time.monotonic() - started < RECOVERY


async def test_frozen(cluster, own_redis, room):
    """A frozen Redis is noticed; afterwards nothing comes twice or out of order."""
    async with on_pods(cluster, 2, room) as (a, b):
        await say(a, 0)
        await receive_data(b, 0)
        own_redis.signal(signal.SIGSTOP)
        try:
            frozen = time.monotonic()
            for number in range(1, 20):
                await say(a, number)
            for client in (a, b):
                await receive_event(client, "degraded", 2 * REDIS_TIMEOUT + MARGIN)
            assert time.monotonic() - frozen < 2 * REDIS_TIMEOUT + MARGIN
            for number in range(20, 40):
                await say(a, number)
        finally:
            own_redis.signal(signal.SIGCONT)
        thawed = time.monotonic()
        for client in (a, b):
            await receive_event(client, "recovered")
        await say(a, "end")
        received = chats(await receive_until(b, "end"))
        assert time.monotonic() - thawed < RECOVERY
        assert received == sorted(set(received))


async def test_absent_at_start(start_server, room):
    """A server starts without Redis, says so, serves its clients, and joins when Redis comes."""
    process = RedisProcess(port=free_port())
    server = start_server(REDIS_URL=process.url)
    try:
        assert f"Redis {process.url} is not there" in server.log
        async with server.connect(room, events="system") as a, server.connect(room) as b:
            assert (await receive(a))["data"]["event"] == "welcome"
            assert (await receive(a))["data"]["event"] == "degraded"
            await say(b, "hello")
            assert (await receive(a))["data"] == "hello"
            assert server.stats()["complete"] is False
            process.start()
            started = time.monotonic()
            await receive_event(a, "recovered")
            await publish(process.port, room, "from outside")
            await receive_data(b, "from outside")
            assert time.monotonic() - started < RECOVERY
        server.stop()
    finally:
        process.close()


# -- while Redis is away ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def strict_server(own_redis: RedisProcess) -> Iterator[ServerProcess]:
    """A server with a short publish queue and a short wait for subscriptions."""
    with running_server(
        REDIS_URL=own_redis.url,
        CHAT_PUBLISH_QUEUE_MESSAGES=str(QUEUE_MESSAGES),
        CHAT_PUBLISH_QUEUE_SECONDS="1",
        CHAT_SUBSCRIBE_TIMEOUT=str(SUBSCRIBE_TIMEOUT),
    ) as server:
        yield server


async def test_upgrade_while_frozen(strict_server, own_redis, room):
    """An upgrade does not wait for a frozen Redis, and its client is told when all is well."""
    async with strict_server.connect():
        own_redis.signal(signal.SIGSTOP)
        try:
            started = time.monotonic()
            async with strict_server.connect(room, events="system") as client:
                assert SUBSCRIBE_TIMEOUT <= time.monotonic() - started < SUBSCRIBE_TIMEOUT + MARGIN
                assert (await receive(client))["data"]["event"] == "welcome"
                assert (await receive(client))["data"]["event"] == "degraded"
                await own_echo(client)
                own_redis.signal(signal.SIGCONT)
                await receive_event(client, "recovered")
                assert (await receive_event(client, "gap"))["room"] == room
                await publish(own_redis.port, room, "from outside")
                await receive_data(client, "from outside")
        finally:
            own_redis.signal(signal.SIGCONT)


async def test_publish_queue(strict_server, own_redis, room):
    """Who sends more than the publish queue holds, or waits too long, is told; both are counted."""
    ids = [str(uuid4()) for _ in range(QUEUE_MESSAGES + 3)]
    async with strict_server.connect(room, events="system", echo="0") as client:
        own_redis.kill()
        try:
            await receive_event(client, "degraded")
            for id in ids:
                await client.send(json.dumps({"id": id, "data": "x"}))
            # First those that found no place, then those that waited for too long.
            for id in ids[QUEUE_MESSAGES:] + ids[:QUEUE_MESSAGES]:
                error = await receive_event(client, "error")
                assert (error["code"], error["id"]) == ("unavailable", id)
            dropped = strict_server.stats()["totals"]["messages_dropped"]
            assert dropped["publish_queue_full"] == 3
            assert dropped["publish_expired"] == QUEUE_MESSAGES
        finally:
            own_redis.start()
        await receive_event(client, "recovered")
        await publish(own_redis.port, room, "from outside")
        late = await receive_until(client, "from outside")
        assert {message["data"]["event"] for message in late} == {"gap"}


# -- a Redis that is none --------------------------------------------------------------------


def hang_up(command: str) -> None:
    raise HangUp


def hang_up_on_subscribe(command: str) -> None:
    if command == "SUBSCRIBE":
        raise HangUp


MISBEHAVIOURS = {
    "hangs up": hang_up,
    "hangs up on SUBSCRIBE": hang_up_on_subscribe,
    "is silent": lambda command: b"",
    "speaks HTTP": lambda command: b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "speaks HTTP to SUBSCRIBE": lambda command: (
        b"HTTP/1.1 400\r\n" * (command == "SUBSCRIBE") or None
    ),
    "is loading": lambda command: b"-LOADING Redis is loading the dataset in memory\r\n",
    "wants a password": lambda command: b"-NOAUTH Authentication required.\r\n",
    "refuses SUBSCRIBE": lambda command: (
        b"-NOPERM No permissions to access a channel\r\n" if command == "SUBSCRIBE" else None
    ),
    "refuses PUBLISH": lambda command: (
        b"-NOPERM No permissions to access a channel\r\n" if command == "PUBLISH" else None
    ),
}


@pytest.fixture(scope="module")
def proxy(own_redis: RedisProcess) -> Iterator[RedisProxy]:
    with RedisProxy(own_redis.port) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def proxied_server(proxy: RedisProxy) -> Iterator[ServerProcess]:
    with running_server(
        REDIS_URL=f"redis://127.0.0.1:{proxy.port}",
        CHAT_REDIS_TIMEOUT=str(REDIS_TIMEOUT),
        CHAT_SUBSCRIBE_TIMEOUT="0.2",
    ) as server:
        yield server


@asynccontextmanager
async def misbehaving(proxy: RedisProxy, how: str) -> AsyncIterator[None]:
    """Redis misbehaves on new connections, and there are no others."""
    proxy.misbehaviour = MISBEHAVIOURS[how]
    proxy.cut()
    try:
        yield
    finally:
        proxy.misbehaviour = behave


@pytest.mark.parametrize("how", MISBEHAVIOURS)
async def test_misbehaviour(proxy, proxied_server, own_redis, room, how):
    """Whatever Redis answers, own clients are served, the log stays short, and all is mended."""
    server = proxied_server
    async with server.connect(room, events="system") as client:
        await receive_event(client, "welcome")
        log_before = len(server.log)
        started = time.monotonic()
        async with misbehaving(proxy, how):
            await receive_event(client, "degraded")
            async with asyncio.timeout(DEADLINE):
                while time.monotonic() - started < 1.5 * REDIS_TIMEOUT:
                    await own_echo(client)
                    await asyncio.sleep(0.05)
            async with server.connect(f"new-{room}") as newcomer:
                await own_echo(newcomer)
        mended = time.monotonic()

        async def crosses() -> bool:
            await publish(own_redis.port, room, marker)
            message = {}
            while message.get("data") != marker:
                try:
                    message = await receive(client, 0.2)
                except TimeoutError:
                    return False
            return True

        marker = str(uuid4())
        await eventually(crosses, "messages from outside arrive again", RECOVERY + MARGIN)
        lines = server.log[log_before:].splitlines()
        allowed = 8 + 2 * (time.monotonic() - started)
        assert len(lines) <= allowed, "\n".join(lines[:6])
        assert "Traceback" not in server.log
        assert time.monotonic() - mended < RECOVERY + MARGIN
