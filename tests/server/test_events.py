"""What the server says of its own accord, to those who asked for it and to nobody else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from uuid import uuid4

import pytest
from websockets.asyncio.client import connect

from ..support.clients import on_pods, receive_data, receive_until, running_server
from ..support.harness import RedisProcess, ServerProcess, receive, receive_event
from ..support.messages import command


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
        assert (welcome["protocol"], welcome["features"]) == (1, ["ack", "personal_rooms", "rooms"])
        assert welcome["pod_id"].startswith("events-")
        assert (welcome["heartbeat_seconds"], welcome["max_message_bytes"]) == (47, 4096)
        await client.send('{"data": 1}')
        assert (await receive(client))["from"] == welcome["user"] == welcome["client_id"]


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
            for action, event in (("join", "joined"), ("leave", "left")):
                await visitor.send(command(action, room=room))
                for watcher in watchers:
                    # Connections that were tried while looking for two pods are told of too.
                    told = await receive(watcher)
                    while told["from"] != client_id or told["data"] == marker:
                        told = await receive(watcher)
                    assert list(told) == ["id", "type", "room", "from", "data", "timestamp"]
                    assert (told["type"], told["room"]) == ("presence", room)
                    assert told["data"] == {"event": event}


async def test_presence_is_for_who_opted_in(server, room):
    """Who did not ask is told of nobody's joins and leaves."""
    async with (
        server.connect(room) as plain,
        server.connect(room, events="system") as system,
    ):
        async with server.connect(room, events="presence") as watcher:
            async with server.connect(room, events="system") as visitor:
                visitor_id = (await receive(visitor))["data"]["client_id"]
                told = [await receive(watcher)]
                while told[-1]["from"] != visitor_id:
                    told.append(await receive(watcher))
            await watcher.send('{"data": "end"}')
            told += await receive_until(watcher, "end")
            while told[-1]["data"] != {"event": "left"}:
                told.append(await receive(watcher))
        events = [(message["from"] == visitor_id, message["data"]["event"]) for message in told]
        # Those that came before it may be told of too, by the other pod at any time.
        assert [event for event in events if event != (False, "joined")] == [
            (True, "joined"), (True, "left"),
        ]  # fmt: skip
        for client in (plain, system):
            told = await receive_until(client, "end")
            assert "presence" not in [message["type"] for message in told]


async def test_who_comes_and_goes_at_once(server, room):
    """A join and a leave right behind it are not told of."""
    async with server.connect(room, events="presence") as watcher, server.connect() as client:
        for _ in range(500):
            await client.send(command("join", room=room))
            await client.send(command("leave", room=room))
        await client.send(command("join", room=room))
        for _ in range(500):
            await receive_event(client, "left")
        told = await receive(watcher)
        assert told["data"] == {"event": "joined"}
        await client.send(json.dumps({"room": room, "data": "end"}))
        assert await receive_until(watcher, "end") == []


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
        await client.send(command("join", room=second))
        joined = await receive(watcher)
        await client.send(command("leave", room=second))
        left = await receive(watcher)
        assert [joined["data"]["event"], left["data"]["event"]] == ["joined", "left"]
        assert joined["from"] == left["from"]
        assert joined["room"] == left["room"] == second


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
