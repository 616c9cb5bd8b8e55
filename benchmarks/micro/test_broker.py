"""The links to a real Redis: a batch of envelopes out, and a batch in."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from sanic_chat.broker.connection import Connection, pack
from sanic_chat.broker.endpoint import Endpoint
from sanic_chat.broker.publisher import Publisher
from sanic_chat.broker.subscriber import Subscriber
from tests.support.clients import resp
from tests.support.harness import RedisProcess

BATCH = 1000
CHANNEL = b"realtime:room:bench"
ENVELOPE = b'{"pod_id":"other","data":"%b"}' % (b"x" * 200)


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisProcess]:
    with closing(RedisProcess()) as process:
        process.start()
        yield process


def test_publish(benchmark: Any, loop: asyncio.AbstractEventLoop, redis: RedisProcess) -> None:
    """1 000 envelopes of one loop turn, until Redis has confirmed them all."""

    async def start() -> Publisher:
        publisher = Publisher(
            Endpoint(redis.url),
            name="bench",
            timeout=5,
            queue_messages=BATCH,
            queue_bytes=2**24,
            queue_seconds=10,
            on_dropped=lambda why: None,
            on_down=lambda good_until: None,
        )
        publisher.start()
        await _until(lambda: publisher.link.is_up)
        return publisher

    publisher = loop.run_until_complete(start())

    async def publish() -> None:
        wanted = publisher.published + BATCH
        for _ in range(BATCH):
            publisher.publish(CHANNEL, ENVELOPE)
        await _until(lambda: publisher.published == wanted)

    benchmark(lambda: loop.run_until_complete(publish()))
    loop.run_until_complete(publisher.close(1))
    assert publisher.published % BATCH == 0
    assert not publisher.dropped


def test_receive(benchmark: Any, loop: asyncio.AbstractEventLoop, redis: RedisProcess) -> None:
    """1 000 envelopes that another connection publishes, until all are here."""
    received = 0

    def count(channel: bytes, payload: bytes) -> None:
        nonlocal received
        received += 1

    async def start() -> tuple[Subscriber, asyncio.StreamReader, asyncio.StreamWriter]:
        subscriber = Subscriber(
            Endpoint(redis.url),
            name="bench",
            timeout=5,
            unsubscribe_delay=5,
            is_needed=lambda channel: True,
            echo_prefix=b"own",
            on_refused=lambda channel, error: None,
            on_down=lambda good_until: None,
        )
        confirmed = subscriber.subscribe(CHANNEL)
        subscriber.start(count)
        assert confirmed is not None
        await confirmed
        return subscriber, *await asyncio.open_connection("127.0.0.1", redis.port)

    subscriber, answers, other = loop.run_until_complete(start())
    commands = pack(("PUBLISH", CHANNEL, ENVELOPE)) * BATCH

    async def receive() -> None:
        wanted = received + BATCH
        other.write(commands)
        await answers.readexactly(len(b":1\r\n") * BATCH)
        await _until(lambda: received >= wanted)

    async def stop() -> None:
        other.close()
        await other.wait_closed()
        await subscriber.close()

    benchmark(lambda: loop.run_until_complete(receive()))
    loop.run_until_complete(stop())
    assert received % BATCH == 0


def test_read_a_backlog(benchmark: Any, loop: asyncio.AbstractEventLoop) -> None:
    """The largest chunk that uvloop reads at once, as it comes to a pod that is behind."""
    envelope = resp([b"message", CHANNEL, ENVELOPE])
    chunk = envelope * (256_000 // len(envelope))
    received = 0

    class Handler:
        def replies_received(self, replies: list[Any]) -> None:
            nonlocal received
            received += len(replies)

        def link_writable(self) -> None: ...

        def link_unwritable(self) -> None: ...

    connection = Connection(loop)
    connection.hand_over(Handler())
    benchmark(lambda: connection.data_received(chunk))
    assert received
    assert received % chunk.count(CHANNEL) == 0


async def _until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)
