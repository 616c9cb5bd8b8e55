"""A Redis that is away for one pod, or none at all: its clients stay, and everything mends."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
import redis.asyncio

from sanic_chat.broker.addresses import Address
from sanic_chat.broker.client import Client
from sanic_chat.broker.endpoint import Endpoint

from ..support.clients import (
    HangUp,
    RawClient,
    RedisProxy,
    behave,
    own_echo,
    receive_data,
    receive_until,
    running_server,
)
from ..support.frames import client_frame
from ..support.harness import (
    DEADLINE,
    RedisProcess,
    ServerProcess,
    eventually,
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


async def publish(port: int, room: str, data: str, **options: str) -> None:
    """Publish in a room from outside."""
    async with redis.asyncio.Redis(port=port, **options) as outside:
        await outside.publish(f"realtime:room:{room}", json.dumps({"data": data}))


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
    await eventually(lambda: strict_server.pod()["ready"], "it is well after the test before")
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
    await eventually(lambda: strict_server.pod()["ready"], "it is well after the test before")
    before = Counter(strict_server.pod()["messages_dropped"])
    async with strict_server.connect(room, events="system", echo="0") as client:
        await receive_event(client, "welcome")
        own_redis.kill()
        try:
            await receive_event(client, "degraded")
            for id in ids:
                await client.send(json.dumps({"id": id, "data": "x"}))
            # First those that found no place, then those that waited for too long.
            for id in ids[QUEUE_MESSAGES:] + ids[:QUEUE_MESSAGES]:
                error = await receive_event(client, "error")
                assert (error["code"], error["id"]) == ("unavailable", id)
            dropped = Counter(strict_server.pod()["messages_dropped"]) - before
            assert dropped == {"publish_queue_full": 3, "publish_expired": QUEUE_MESSAGES}
        finally:
            own_redis.start()
        await receive_event(client, "recovered")
        await publish(own_redis.port, room, "from outside")
        late = await receive_until(client, "from outside")
        assert {message["data"]["event"] for message in late} == {"gap"}


async def test_many_at_once(strict_server, own_redis, room):
    """Who sends a lot while Redis is away, and does not read, is no slow consumer by what it is
    told: some of it is counted only."""
    many = 20_000
    message = client_frame(0x81, b'{"data": "x"}')
    async with RawClient(strict_server, receive_buffer=4096) as client:
        assert (await client.request(f"/api/chat-api/ws/{room}?echo=0"))[0] == 101
        own_redis.kill()
        try:
            await eventually(lambda: not strict_server.pod()["redis"]["subscribed"], "it is away")
            before = strict_server.pod()["messages_in"]
            client.send(message * many)

            def all_are_in() -> bool:
                return strict_server.pod()["messages_in"] == before + many

            await eventually(all_are_in, "all are read")
            client.send(client_frame(0x81, b'{"data": {"action": "ping"}, "type": "system"}'))
            told = 0
            while b'"pong"' not in (frame := await client.frame())[1]:
                assert frame[0] == 1
                told += b'"unavailable"' in frame[1]
            assert 0 < told < many
        finally:
            own_redis.start()


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
    "is too busy for SUBSCRIBE": lambda command: (
        b"-BUSY Redis is busy running a script\r\n" if command == "SUBSCRIBE" else None
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


async def test_an_error_of_ours_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """A link that meets one at each attempt goes on trying, and says it once, with its trace."""
    attempts: list[None] = []

    class Broken(Endpoint):
        async def addresses(self) -> list[Address]:
            attempts.append(None)
            raise LookupError("of ours")

    client = Client(Broken("redis://127.0.0.1"), name="test", timeout=1, patience=1)
    client.start(lambda: None)
    try:
        await eventually(lambda: len(attempts) > 4, "it has tried again and again")
        assert client.link.last_error == "unexpected error LookupError('of ours')"
        assert [bool(line.exc_info) for line in caplog.records] == [True]
    finally:
        await client.close()
