"""What the server says of its own accord, to those who asked for it and to nobody else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from websockets.asyncio.client import connect

from ..support.clients import on_pods, receive_until, running_server
from ..support.harness import RedisProcess, ServerProcess, receive, receive_event
from ..support.messages import command

FEATURES = ["ack", "personal_rooms", "presence", "rooms"]


@pytest.fixture(scope="module")
def server(own_redis: RedisProcess) -> Iterator[ServerProcess]:
    with running_server(
        workers=2,
        REDIS_URL=own_redis.url,
        POD_ID="events",
        CHAT_HEARTBEAT_TIMEOUT="47",
        CHAT_MAX_MESSAGE_BYTES="4096",
    ) as server:
        yield server


# -- ?events=system --------------------------------------------------------------------------


@pytest.mark.parametrize("events", ["system", "presence,system", "system,"])
async def test_welcome(server, room, events):
    """Who opts in is told first who it is, where it is and what it must keep to."""
    async with server.connect(room, events=events) as client:
        message = await receive(client)
        assert (message["type"], message["room"], message["from"]) == ("system", room, "server")
        welcome = message["data"]
        assert set(welcome) == {
            "event", "client_id", "user", "pod_id", "protocol", "features", "heartbeat_seconds",
            "max_message_bytes",
        }  # fmt: skip
        assert welcome["event"] == "welcome"
        assert (welcome["protocol"], welcome["features"]) == (1, FEATURES)
        assert welcome["pod_id"].startswith("events-")
        assert (welcome["heartbeat_seconds"], welcome["max_message_bytes"]) == (47, 4096)
        await client.send('{"data": 1}')
        assert (await receive(client))["from"] == welcome["user"] == welcome["client_id"]


async def test_events_in_two_parameters(server, room):
    """Events may be given one by one."""
    target = server.url(f"/ws/{room}") + "?events=presence&events=system"
    async with connect(target, proxy=None) as client, server.connect(room):
        assert (await receive(client))["data"]["event"] == "welcome"
        assert (await receive(client))["data"]["event"] == "roster"


async def test_pods_have_ids_of_their_own(server):
    """Two workers are two pods."""
    async with on_pods(server, 2) as clients:
        assert len(clients) == 2


# -- Redis goes and comes --------------------------------------------------------------------


async def test_outage(server, own_redis, room):
    """Who opted in hears degraded, recovered and a gap for each of its rooms; others nothing."""
    second = f"second-{room}"
    async with on_pods(server, 2, room) as told, server.connect(room) as plain:
        await told[0].send(command("join", room=second))
        await receive_event(told[0], "joined")

        own_redis.kill()
        for client in told:
            assert (await receive(client))["data"] == {"event": "degraded", "reason": "redis"}
        async with server.connect(room, events="system") as late:
            assert (await receive(late))["data"]["event"] == "welcome"
            assert (await receive(late))["data"]["event"] == "degraded"
            own_redis.start()
            for client, rooms in (
                (told[0], [None, room, second]),
                (told[1], [None, room]),
                (late, [None, room]),
            ):
                recovered = (await receive(client))["data"]
                assert recovered["event"] == "recovered"
                assert 0 < recovered["outage_ms"] < 20_000
                gaps = [(await receive(client))["data"] for _ in rooms]
                assert gaps == [{"event": "gap", "room": name, "reason": "redis"} for name in rooms]
        await plain.send('{"data": "end"}')
        assert await receive_until(plain, "end") == []
        for client in told:
            assert await receive_until(client, "end") == []
