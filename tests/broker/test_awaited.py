"""Publishing that is waited for: what became of it is told once, and is true."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
import redis.asyncio

from sanic_chat.broker.awaited import DUPLICATE, AwaitedPublisher
from sanic_chat.broker.endpoint import Endpoint
from sanic_chat.broker.publisher import Drop, Publisher

from ..support.harness import RedisProcess, eventually

CHANNELS = [b"realtime:room:awaited-%d" % number for number in range(3)]
MESSAGES = [(channel, b"to " + channel) for channel in CHANNELS]


@pytest.fixture
async def publisher(own_redis: RedisProcess) -> AsyncIterator[Publisher]:
    publisher = Publisher(
        Endpoint(own_redis.url),
        name="publisher",
        timeout=30,
        queue_messages=100,
        queue_bytes=2**20,
        queue_seconds=60,
        on_dropped=lambda *drop: None,
        on_down=lambda good_until: None,
    )
    publisher.start()
    await eventually(lambda: publisher.is_open, "the link is up")
    yield publisher
    await publisher.close(1)


@pytest.fixture
async def awaited(publisher: Publisher) -> AwaitedPublisher:
    return AwaitedPublisher(publisher)


@pytest.fixture
async def outside(own_redis: RedisProcess) -> AsyncIterator[redis.asyncio.Redis]:
    async with redis.asyncio.Redis(port=own_redis.port) as outside:
        yield outside


@pytest.fixture
async def listener(outside: redis.asyncio.Redis) -> AsyncIterator[redis.asyncio.client.PubSub]:
    async with outside.pubsub() as listener:
        await listener.subscribe(*(channel.decode() for channel in CHANNELS))
        for _ in CHANNELS:
            assert (await listener.get_message(timeout=30))["type"] == "subscribe"
        yield listener


def key() -> bytes:
    return b"realtime:once:%b" % str(uuid4()).encode()


async def test_the_number_of_subscriptions(publisher, awaited, outside, listener):
    """It is what Redis says; and the order is that of the calls, whatever way they go."""
    publisher.publish(CHANNELS[0], b"1", None)
    one = awaited.publish(CHANNELS[0], b"2")
    publisher.publish(CHANNELS[0], b"3", None)
    many = awaited.publish_once(key(), MESSAGES)
    none = awaited.publish(b"realtime:room:nobody", b"x")
    assert [await one, await many, await none] == [1, 3, 0]
    received = [(await listener.get_message(timeout=30))["data"] for _ in range(6)]
    assert received == [b"1", b"2", b"3", *(envelope for _, envelope in MESSAGES)]
    await eventually(lambda: publisher.published == 7, "each envelope counts")


async def test_once(publisher, awaited, outside, listener):
    """A key publishes once within its minute, whoever has it, and is then gone."""
    same = key()
    other = AwaitedPublisher(publisher)
    first, second = awaited.publish_once(same, MESSAGES), other.publish_once(same, MESSAGES)
    assert [await first, await second] == [3, DUPLICATE]
    assert publisher.published == 3
    assert 50_000 < await outside.pttl(same) <= 60_000
    await outside.delete(same)
    assert await awaited.publish_once(same, MESSAGES) == 3


async def test_a_refusal(publisher, awaited, outside):
    """What Redis refuses is told and counted, costs no connection, and leaves no key behind."""
    same = key()
    await outside.config_set("maxmemory", 1)
    try:
        outcome = await awaited.publish_once(same, MESSAGES)
        assert await awaited.publish(*MESSAGES[0]) == 0, "PUBLISH takes no memory"
    finally:
        await outside.config_set("maxmemory", 0)
    assert outcome is Drop.REFUSED
    assert publisher.dropped == {Drop.REFUSED: 3}
    assert not await outside.exists(same)
    assert publisher.link.reconnects == 0


async def test_a_channel_that_is_refused(publisher, awaited, outside):
    """It is refused each time it is tried, since a key says that all was published."""
    same = key()
    first = CHANNELS[0].decode()
    await outside.execute_command("ACL", "SETUSER", "default", "resetchannels", f"&{first}")
    try:
        outcomes = [await awaited.publish_once(same, MESSAGES) for _ in range(2)]
    finally:
        await outside.execute_command("ACL", "SETUSER", "default", "allchannels")
    assert outcomes == [Drop.REFUSED] * 2
    assert not await outside.exists(same)
    assert await awaited.publish_once(same, MESSAGES) == 0


async def test_a_connection_that_is_lost(own_redis, publisher, awaited):
    """Whoever waits is told at once, and it counts, since nobody knows."""
    own_redis.signal(signal.SIGSTOP)
    try:
        outcomes = [awaited.publish(*MESSAGES[0]), awaited.publish_once(key(), MESSAGES)]
        await asyncio.sleep(0)
        publisher.link.rebuild("a test")
        assert await asyncio.gather(*outcomes) == [Drop.UNCONFIRMED] * 2
    finally:
        own_redis.signal(signal.SIGCONT)
    assert publisher.dropped == {Drop.UNCONFIRMED: 4}


async def test_who_waits_no_more(publisher, awaited):
    """An answer that nobody waits for hurts nobody, and counts all the same."""
    awaited.publish(*MESSAGES[0]).cancel()
    assert await awaited.publish(*MESSAGES[0]) == 0
    assert publisher.published == 2
