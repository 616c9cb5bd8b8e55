"""The publisher on its own: order, bounds, and that nothing it drops is dropped in silence."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import redis.asyncio

from sanic_chat.broker.endpoint import Endpoint
from sanic_chat.broker.publisher import CHUNK_BYTES, PATIENCE_SECONDS, Drop, Publisher

from ..support.clients import RedisProxy, behave
from ..support.harness import SLOW, RedisProcess, eventually
from ..support.proxy import Direction, TcpProxy

CHANNEL = b"realtime:room:publisher"
LARGE = b"x" * 60_000


@asynccontextmanager
async def running(
    port: int, *, timeout: float = 30, messages: int = 10_000
) -> AsyncIterator[tuple[Publisher, list[tuple[Drop, int]]]]:
    """A publisher, and the receipts of what it drops."""
    dropped: list[tuple[Drop, int]] = []
    publisher = Publisher(
        Endpoint(f"redis://127.0.0.1:{port}"),
        name="publisher",
        timeout=timeout,
        queue_messages=messages,
        queue_bytes=2**24,
        queue_seconds=60,
        on_dropped=lambda *drop: dropped.append(drop),
        on_down=lambda good_until: None,
    )
    publisher.start()
    try:
        await eventually(lambda: publisher.link.is_up, "the link is up")
        yield publisher, dropped
    finally:
        await publisher.close(1)


async def test_order_through_the_queue(own_redis: RedisProcess) -> None:
    """What was kept, in many chunks, comes in order, and before what was published later."""
    count = 3 * CHUNK_BYTES // 1000
    async with (
        running(own_redis.port) as (publisher, dropped),
        redis.asyncio.Redis(port=own_redis.port) as outside,
        outside.pubsub() as listener,
    ):
        await listener.subscribe(CHANNEL.decode())
        assert (await listener.get_message(timeout=5))["type"] == "subscribe"
        publisher.link.rebuild("a test")
        await eventually(lambda: not publisher.link.is_up, "the link is down")
        for number in range(count):
            publisher.publish(CHANNEL, b"%d %b" % (number, b"x" * 1000), (number,))
        await eventually(lambda: publisher.link.is_up, "the link is up")
        publisher.publish(CHANNEL, b"%d late" % count, (count,))
        numbers = []
        while len(numbers) <= count:
            message = await listener.get_message(timeout=5)
            numbers.append(int(message["data"].split()[0]))
        assert numbers == list(range(count + 1))
        await eventually(lambda: publisher.published == count + 1, "all is confirmed")
        assert (dropped, publisher.queued, publisher._queue.bytes) == ([], 0, 0)


async def test_what_was_not_confirmed_is_told(own_redis: RedisProcess) -> None:
    """Of what went down with a connection each sender is told, in order, and nobody else."""
    async with running(own_redis.port, timeout=0.5) as (publisher, dropped):
        publisher.publish(CHANNEL, b"confirmed", (0,))
        await eventually(lambda: publisher.published == 1, "it is confirmed")
        own_redis.signal(signal.SIGSTOP)
        try:
            frozen = time.monotonic()
            for number in range(1, 100):
                publisher.publish(CHANNEL, b"lost", (number,))
            publisher.publish(CHANNEL, b"of nobody")
            publisher.probe(CHANNEL, b"a probe", lambda answer: None)
            await eventually(lambda: dropped, "they are told")
            assert time.monotonic() - frozen < 1.5 * 0.5 + SLOW
        finally:
            own_redis.signal(signal.SIGCONT)
        assert dropped == [(Drop.UNCONFIRMED, number) for number in range(1, 100)]
        assert publisher.dropped == {Drop.UNCONFIRMED: 100}


async def test_what_was_refused_is_told(own_redis: RedisProcess) -> None:
    """Who published what Redis refuses is told, and others are not."""
    with RedisProxy(own_redis.port) as proxy:
        async with running(proxy.port) as (publisher, dropped):
            proxy.misbehaviour = lambda command: b"-NOPERM no\r\n" if command == "PUBLISH" else None
            publisher.publish(CHANNEL, b"refused", (1,))
            await eventually(lambda: dropped == [(Drop.REFUSED, 1)], "it is told")
            proxy.misbehaviour = behave
            publisher.publish(CHANNEL, b"allowed", (2,))
            await eventually(lambda: publisher.published == 1, "it is confirmed")
            assert dropped == [(Drop.REFUSED, 1)]
            assert publisher.dropped == {Drop.REFUSED: 1}
            assert publisher.link.reconnects == 0


async def test_an_answer_to_nothing(own_redis: RedisProcess) -> None:
    """A connection that answers what was not asked is built anew."""
    with RedisProxy(own_redis.port) as proxy:
        async with running(proxy.port) as (publisher, _):
            proxy.misbehaviour = lambda command: b":1\r\n:1\r\n" if command == "PUBLISH" else None
            publisher.publish(CHANNEL, b"once")
            await eventually(lambda: publisher.link.reconnects == 1, "it is built anew")
            assert publisher.published == 1


async def test_a_stuck_redis_slows_down_for_a_second(own_redis: RedisProcess) -> None:
    """Who publishes is slowed down for a moment; then the queue has to do, and its bounds hold."""
    async with running(own_redis.port, messages=50) as (publisher, dropped):
        own_redis.signal(signal.SIGSTOP)
        try:
            number = 0
            while publisher.link.writable:
                publisher.publish(CHANNEL, LARGE, (number,))
                number += 1
                await asyncio.sleep(0)
            assert publisher.congested
            congested = time.monotonic()
            await eventually(lambda: not publisher.congested, "it is slowed down no more")
            assert time.monotonic() - congested < PATIENCE_SECONDS + SLOW
            for _ in range(60):
                publisher.publish(CHANNEL, LARGE, (number,))
                number += 1
            assert publisher.queued == 50
            assert publisher.dropped[Drop.FULL] == len(dropped) >= 10
            assert not publisher.congested
        finally:
            own_redis.signal(signal.SIGCONT)
        sent = number - publisher.dropped[Drop.FULL]
        await eventually(lambda: publisher.published == sent, "what was kept has left")


@pytest.mark.parametrize("size", [20, 60_000], ids="{} bytes".format)
async def test_a_burst_is_held_up_and_loses_nothing(own_redis: RedisProcess, size: int) -> None:
    """While Redis is there, who publishes is told to hold on before the queue is half full, within
    one loop turn too; the one message more that each of many says then finds its place."""
    envelope = b"x" * size
    many = 20_000 if size < 1000 else 600  # of which the queue takes less than half
    async with running(own_redis.port) as (publisher, dropped):
        number = 0
        while not publisher.congested:
            publisher.publish(CHANNEL, envelope, (number,))
            number += 1
        assert number <= 10_000 // 2
        assert number * size <= 2**24 // 2
        for _ in range(many):  # who was not held in time
            publisher.publish(CHANNEL, envelope, (number,))
            number += 1
        await eventually(lambda: publisher.published == number, "all is confirmed")
        assert not dropped
        await eventually(lambda: not publisher.congested, "it is relieved")
        assert publisher.link.reconnects == 0


async def test_a_slow_network_loses_nothing(
    own_redis: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as anything gets through, however slowly, nothing is dropped and nobody let go."""
    monkeypatch.setattr("tests.support.proxy.DRIBBLE_BYTES", 4096)  # some 2 MB/s
    with TcpProxy(own_redis.port) as proxy:
        async with running(proxy.port, messages=10) as (publisher, dropped):
            with proxy.dribbling(Direction.TO_REDIS):
                number = 0
                while publisher.link.writable:
                    publisher.publish(CHANNEL, LARGE, (number,))
                    number += 1
                    await asyncio.sleep(0)
                for _ in range(600):  # more than any kernel takes
                    publisher.publish(CHANNEL, LARGE, (number,))
                    number += 1
                end = time.monotonic() + 2.5 * PATIENCE_SECONDS
                while time.monotonic() < end:
                    assert publisher.congested
                    await asyncio.sleep(0.01)
            await eventually(lambda: publisher.published == number, "all is confirmed")
            assert not dropped
            assert not publisher.congested
