"""Upgrades that wait for Redis: what becomes of them meanwhile."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from sanic_chat.app import ChatServer
from sanic_chat.upgrade.fast_path import MAX_EARLY_BYTES, FastPathProtocol

from ..support.clients import RawClient
from ..support.frames import client_frame
from ..support.harness import RedisProcess, eventually
from ..support.serving import chat, client_of

pytestmark = pytest.mark.usefixtures("in_process")


@asynccontextmanager
async def waiting(app: ChatServer, redis: RedisProcess, data: bytes) -> AsyncIterator[RawClient]:
    """A client whose handshake waits for Redis, which is frozen; it goes on at the end."""
    async with AsyncExitStack() as stack:
        redis.signal(signal.SIGSTOP)
        stack.callback(redis.signal, signal.SIGCONT)
        client = await stack.enter_async_context(client_of(app))
        client.send(data)
        await eventually(lambda: app.ctx.worker.pod.admission.handshakes == 1, "it waits")
        yield client


async def test_what_comes_while_it_waits(redis: RedisProcess, by_sanic: list[bytes]) -> None:
    """What a client sends before it has the answer is kept, in order, however much it is."""
    count = 2 * MAX_EARLY_BYTES // 1000
    frames = [
        client_frame(0x81, json.dumps({"data": f"{number} {'x' * 1000}"}).encode())
        for number in range(count)
    ]
    async with (
        chat(redis, FastPathProtocol) as app,
        waiting(app, redis, RawClient.handshake("/ws/later") + frames[0]) as client,
    ):
        for frame in frames[1:]:
            client.send(frame)
        (connection,) = app.ctx.worker.http_connections
        await eventually(lambda: not connection.transport.is_reading(), "it is paused")
        redis.signal(signal.SIGCONT)
        assert (await client.answer())[0] == 101
        for number in range(count):
            data = json.loads((await client.frame())[1])["data"]
            assert data.startswith(f"{number} ")
    assert by_sanic == []


async def test_gone_while_it_waits(redis: RedisProcess) -> None:
    """A client that does not wait leaves no handshake, no task and no subscription."""
    async with chat(redis, FastPathProtocol, unsubscribe_delay=0.1) as app:
        tasks = asyncio.all_tasks()
        async with waiting(app, redis, RawClient.handshake("/ws/later")) as client:
            client.writer.transport.abort()
            await eventually(
                lambda: not app.ctx.worker.pod.admission.handshakes, "its place is free"
            )
        await eventually(lambda: asyncio.all_tasks() <= tasks, "no task is left")
        assert not app.ctx.worker.http_connections
        subscriber = app.ctx.worker.pod.broker.subscriber
        await eventually(lambda: b"realtime:room:later" not in subscriber.wanted, "it is forgotten")


async def test_a_drain_that_begins_while_it_waits(redis: RedisProcess) -> None:
    """It is refused then, by Sanic, as any other."""
    async with chat(redis, FastPathProtocol) as app:
        async with waiting(app, redis, RawClient.handshake("/ws/later")) as client:
            app.ctx.worker.pod.begin_drain()
            redis.signal(signal.SIGCONT)
            status, headers, body = await client.answer()
        assert (status, json.loads(body)["code"]) == (503, "draining")
        assert "retry-after" in headers
        assert app.ctx.worker.pod.refused == {"draining": 1}
        assert app.ctx.worker.pod.connected == 0


async def test_an_unexpected_error(
    redis: RedisProcess, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A bug of ours costs the one connection, and stands in the log."""
    async with chat(redis, FastPathProtocol) as app:

        def fail(*_: Any, **__: Any) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(app.ctx.worker.upgrader, "accept", fail)
        async with waiting(app, redis, RawClient.handshake("/ws/later")) as client:
            redis.signal(signal.SIGCONT)
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await client.answer()
        assert "A handshake failed" in caplog.text
        assert "ZeroDivisionError" in caplog.text
        assert app.ctx.worker.pod.admission.handshakes == 0
