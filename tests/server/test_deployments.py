"""Several deployments on one Redis, told apart by CHAT_REDIS_PREFIX."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from ..support.clients import receive_until
from ..support.harness import (
    DEADLINE,
    RedisProcess,
    ServerProcess,
    StartServer,
    eventually,
    receive_event,
)

PREFIXES = ("realtime", "staging-2")


@pytest.fixture
async def outside(redis: RedisProcess) -> AsyncIterator[Redis]:
    """A Redis client that is no pod."""
    async with Redis(port=redis.port) as client:
        yield client


@pytest.fixture
def deployments(start_server: StartServer, redis: RedisProcess) -> list[ServerProcess]:
    """Two servers on one Redis and one database."""
    servers = [
        start_server("--single-process", REDIS_URL=redis.url, CHAT_REDIS_PREFIX=prefix)
        for prefix in PREFIXES
    ]
    for server in servers:
        server.wait_ready()
    return servers


async def test_they_hear_nothing_of_each_other(deployments, outside):
    """Messages of a room, global ones and presence stay in their deployment; all are on Redis."""
    for speaking, prefix in zip(deployments, PREFIXES, strict=True):
        room = f"from-{prefix}"
        [listening] = [server for server in deployments if server is not speaking]
        async with (
            listening.connect(room, events="presence") as listener,
            outside.pubsub() as pubsub,
        ):
            await pubsub.psubscribe("*:room:*", "*:global", "*:control")
            said = {f"{prefix}:room:{room}", f"{prefix}:global", f"{prefix}:control"}
            await receive_event(listener, "roster")
            async with speaking.connect(room, events="presence") as speaker:
                await receive_event(speaker, "roster")
                await speaker.send(json.dumps({"data": "to the room"}))
                await speaker.send(json.dumps({"data": "to all", "room": None}))
                while said:
                    message = await pubsub.get_message(timeout=DEADLINE)
                    if message["type"] == "pmessage":
                        said.discard(message["channel"].decode())
            await listener.send(json.dumps({"data": "mine"}))
            assert await receive_until(listener, "mine") == [], "it has heard nothing else"


async def test_their_stats_are_apart(deployments, outside):
    """Each counts its own pods and clients, under its own keys, and takes only these away."""
    async with deployments[0].connect("lobby"), deployments[1].connect("a"):
        for server in deployments:

            def one_of_each(server: ServerProcess = server) -> bool:
                totals = server.stats()["totals"]
                return (totals["pods"], totals["connections"], totals["rooms"]) == (1, 1, 1)

            await eventually(one_of_each, "each counts its own client")
        largest = [server.stats()["largest_rooms"] for server in deployments]
        assert largest == [[{"room": "lobby", "members": 1}], [{"room": "a", "members": 1}]]
    names = {key.decode().partition(":")[0] for key in await outside.keys("*")}
    assert names == set(PREFIXES)
    deployments[0].stop()
    assert {key.decode().partition(":")[0] for key in await outside.keys("*")} == {PREFIXES[1]}
    deployments[1].stop()
