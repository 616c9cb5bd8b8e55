"""Questions to Redis: each answer goes to who asked, and nobody waits for long."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import hiredis
import pytest

from sanic_chat.broker.client import Client
from sanic_chat.broker.endpoint import Endpoint

from ..support.harness import DEADLINE, RedisProcess, eventually, free_port

PATIENCE = 0.3


@asynccontextmanager
async def running(
    port: int, patience: float = PATIENCE
) -> AsyncIterator[tuple[Client, asyncio.Event]]:
    """A client that is under way, and what is set whenever a connection is ready."""
    is_up = asyncio.Event()
    client = Client(
        Endpoint(f"redis://127.0.0.1:{port}"), name="test", timeout=60, patience=patience
    )
    client.start(is_up.set)
    try:
        yield client, is_up
    finally:
        await client.close()


@asynccontextmanager
async def connected(redis: RedisProcess, patience: float = PATIENCE) -> AsyncIterator[Client]:
    async with running(redis.port, patience) as (client, is_up):
        await asyncio.wait_for(is_up.wait(), DEADLINE)
        yield client


async def answers_again(client: Client) -> None:
    async def has_answered() -> bool:
        try:
            return await client.ask(("PING",)) == [b"PONG"]
        except (ConnectionError, TimeoutError):
            return False

    await eventually(has_answered, "it answers again")


async def test_many_ask_at_once(redis: RedisProcess) -> None:
    """Each gets the answers to its own commands, in their order; an error is an answer."""
    async with connected(redis, DEADLINE) as client:
        asked = [
            client.ask(("SET", f"key-{n}", str(n)), ("GET", f"key-{n}"), ("INCR", "count"))
            for n in range(50)
        ]
        answers = await asyncio.gather(*asked, client.ask(("NONSENSE",), ("PING",)))
    assert answers[:-1] == [[b"OK", b"%d" % n, n + 1] for n in range(50)]
    error, pong = answers[-1]
    assert isinstance(error, hiredis.ReplyError)
    assert pong == b"PONG"


async def test_the_first_attempt_to_connect(redis: RedisProcess) -> None:
    """It is waited for, whether it works or fails, but not for longer than an answer."""
    async with running(redis.port, patience=3600) as (client, is_up):
        await asyncio.wait_for(client.has_tried(), DEADLINE)
        assert is_up.is_set()
        assert await client.ask(("PING",)) == [b"PONG"]
    async with running(free_port(), patience=3600) as (client, is_up):
        await asyncio.wait_for(client.has_tried(), DEADLINE)
        assert not is_up.is_set()
    redis.signal(signal.SIGSTOP)
    try:
        async with running(redis.port) as (client, is_up):
            await asyncio.wait_for(client.has_tried(), DEADLINE)
            assert not is_up.is_set()
    finally:
        redis.signal(signal.SIGCONT)


async def test_redis_is_away() -> None:
    """Who asks does not wait for it to come."""
    async with running(free_port()) as (client, is_up):
        with pytest.raises(ConnectionError, match="not connected to Redis"):
            await client.ask(("PING",))
        assert not is_up.is_set()


async def test_redis_hangs(redis: RedisProcess) -> None:
    """The first who asks is patient for so long; nobody else waits until it has answered."""
    async with connected(redis) as client:
        redis.signal(signal.SIGSTOP)
        try:
            with pytest.raises(TimeoutError, match=f"did not answer within {PATIENCE:g} s"):
                await client.ask(("PING",))
            with pytest.raises(TimeoutError, match="has not answered yet"):
                await client.ask(("PING",))
        finally:
            redis.signal(signal.SIGCONT)
        await answers_again(client)


async def test_redis_goes_away(redis: RedisProcess) -> None:
    """Who waits is told at once, and the next are served by the Redis that comes back."""
    async with connected(redis, DEADLINE) as client:
        redis.signal(signal.SIGSTOP)
        asking = asyncio.create_task(client.ask(("PING",)))
        await asyncio.sleep(0)
        redis.kill()
        with pytest.raises(ConnectionResetError, match="connection to Redis was lost"):
            await asking
        redis.start()
        await answers_again(client)
    assert client.link.reconnects == 1


async def test_who_gives_up(redis: RedisProcess) -> None:
    """An answer that nobody waits for any more is not the next one's."""
    async with connected(redis, DEADLINE) as client:
        asking = asyncio.create_task(client.ask(("ECHO", "first")))
        await asyncio.sleep(0)
        asking.cancel()
        assert await client.ask(("ECHO", "second")) == [b"second"]
        assert asking.cancelled()
