"""Many who speak at once: while Redis is there, everything that they say is published."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest
import redis.asyncio

from ..support.clients import RawClient
from ..support.frames import client_frame
from ..support.harness import eventually

CLIENTS = 1000
MESSAGES = 64
"""As many as one client may say in a loop turn."""

PING = client_frame(0x81, b'{"data": {"action": "ping"}, "type": "system"}')


@pytest.mark.parametrize("pause", [0, 500], ids=["healthy", "pauses for 0.5 s"])
async def test_a_burst_of_many(start_server, own_redis, pause):
    """1 000 clients say 64 messages each in one packet: all are published, nobody is told else."""
    server = start_server("--single-process", REDIS_URL=own_redis.url)
    burst = client_frame(0x81, b'{"data": "in a burst"}') * MESSAGES + PING
    async with (
        AsyncExitStack() as stack,
        redis.asyncio.Redis(port=own_redis.port) as admin,
    ):
        clients = []
        for number in range(CLIENTS):  # who waits for long before its handshake is cut
            client = await stack.enter_async_context(RawClient(server))
            path = f"/api/chat-api/ws/room-{number}?echo=0"
            assert (await client.request(path))[0] == 101
            clients.append(client)
        before = server.pod()
        if pause:
            await admin.client_pause(pause)
        for client in clients:
            client.send(burst)
        for client in clients:
            _, answer = await client.frame()
            assert b'"pong"' in answer, answer  # and not `unavailable`
        sent = CLIENTS * MESSAGES

        def all_are_published() -> bool:
            pod = server.pod()
            assert not pod["messages_dropped"], pod["messages_dropped"]
            return bool(pod["messages_published"] >= before["messages_published"] + sent)

        await eventually(all_are_published, "all are published")
        pod = server.pod()
        assert pod["messages_in"] == before["messages_in"] + sent
        assert pod["redis"]["reconnects"] == 0
