"""What the server says of its own accord, to those who asked for it and to nobody else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from uuid import uuid4

import pytest
from websockets.asyncio.client import connect

from .clients import on_pods, receive_data, receive_until, running_server
from .harness import RedisProcess, ServerProcess, receive, receive_event


@pytest.fixture(scope="module")
def server(own_redis: RedisProcess) -> Iterator[ServerProcess]:
    with running_server(
        workers=2,
        REDIS_URL=own_redis.url,
        POD_ID="notices",
        CHAT_HEARTBEAT_TIMEOUT="47",
        CHAT_MAX_MESSAGE_BYTES="4096",
    ) as server:
        yield server


@pytest.fixture
def room() -> str:
    """A room that no other test is in."""
    return f"room-{uuid4()}"


def command(action: str, room: str) -> str:
    return json.dumps({"type": "system", "data": {"action": action, "room": room}})


# -- ?events=system --------------------------------------------------------------------------


@pytest.mark.parametrize("events", ["system", "presence,system", "system,"])
async def test_welcome(server, room, events):
    """Who opts in is told first who it is, where it is and what it must keep to."""
    async with server.connect(room, events=events) as client:
        message = await receive(client)
        assert (message["type"], message["room"], message["from"]) == ("system", room, "server")
        welcome = message["data"]
        assert set(welcome) == {
            "event", "client_id", "pod_id", "heartbeat_seconds", "max_message_bytes",
        }  # fmt: skip
        assert welcome["event"] == "welcome"
        assert welcome["pod_id"].startswith("notices-")
        assert (welcome["heartbeat_seconds"], welcome["max_message_bytes"]) == (47, 4096)
        await client.send('{"data": 1}')
        assert (await receive(client))["from"] == welcome["client_id"]


async def test_events_in_two_parameters(server, room):
    """Events may be given one by one."""
    target = server.url(f"/ws/{room}") + "?events=presence&events=system"
    async with connect(target, proxy=None) as client, server.connect(room):
        assert (await receive(client))["data"]["event"] == "welcome"
        assert (await receive(client))["data"]["event"] == "joined"


async def test_pods_have_ids_of_their_own(server):
    """Two workers are two pods."""
    async with on_pods(server, 2) as clients:
        assert len(clients) == 2


# -- ?events=presence ------------------------------------------------------------------------


async def test_presence_on_every_pod(server, room):
    """A visitor's join and leave are told once on every pod, with its client ID."""
    async with (
        on_pods(server, 2, room, events="presence") as watchers,
        on_pods(server, 2) as visitors,
    ):
        for visitor in visitors:
            marker = str(uuid4())
            await visitor.send(json.dumps({"data": marker}))
            client_id = (await receive_data(visitor, marker))["from"]
            await visitor.send(command("join", room))
            await visitor.send(command("leave", room))
            await visitor.send(json.dumps({"data": client_id}))
            for watcher in watchers:
                # Connections that were tried while looking for two pods are told of too.
                before = await receive_until(watcher, client_id)
                told = [m for m in before if m["from"] == client_id and m["data"] != marker]
                assert [(m["type"], m["room"], m["data"]) for m in told] == [
                    ("presence", room, {"event": "joined"}),
                    ("presence", room, {"event": "left"}),
                ]
                assert list(told[0]) == ["id", "type", "room", "from", "data", "timestamp"]


async def test_presence_is_for_who_opted_in(server, room):
    """Who did not ask is told of nobody's joins and leaves."""
    async with (
        server.connect(room) as plain,
        server.connect(room, events="system") as system,
        server.connect(room, events="presence") as watcher,
    ):
        # What is told of the two who were first comes before what they say.
        await plain.send('{"data": "first"}')
        await receive_until(system, "first")
        await system.send('{"data": "second"}')
        for client in (plain, system, watcher):
            await receive_until(client, "second")
        async with server.connect(room) as visitor:
            await visitor.send('{"data": "hello"}')
            for client in (plain, system):
                assert await receive_until(client, "hello") == []
            assert [m["data"] for m in await receive_until(watcher, "hello")] == [
                {"event": "joined"}
            ]
        assert (await receive(watcher))["data"] == {"event": "left"}
        await plain.send('{"data": "end"}')
        for client in (plain, system, watcher):
            assert await receive_until(client, "end") == []


async def test_presence_is_for_members(server, room):
    """Presence tells of the watcher's own rooms only, and nothing of itself."""
    async with (
        server.connect(room, events="presence") as watcher,
        server.connect(events="presence") as nowhere,
        server.connect(f"other-{room}") as stranger,
    ):
        await stranger.send(json.dumps({"data": room, "room": None}))
        for client in (watcher, nowhere):
            assert await receive_until(client, room) == []


async def test_presence_of_commands(server, room):
    """Rooms joined and left by command are announced like those of the URL."""
    second = f"second-{room}"
    async with (
        server.connect(second, events="presence") as watcher,
        server.connect(room) as client,
    ):
        await client.send(command("join", second))
        joined = await receive(watcher)
        await client.send(command("leave", second))
        left = await receive(watcher)
        assert [joined["data"]["event"], left["data"]["event"]] == ["joined", "left"]
        assert joined["from"] == left["from"]
        assert joined["room"] == left["room"] == second


# -- Redis goes and comes --------------------------------------------------------------------


async def test_outage(server, own_redis, room):
    """Who opted in hears degraded, recovered and a gap for each of its rooms; others nothing."""
    second = f"second-{room}"
    async with on_pods(server, 2, room) as told, server.connect(room) as plain:
        await told[0].send(command("join", second))
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
