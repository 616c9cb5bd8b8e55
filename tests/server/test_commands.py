"""Commands, end to end through one server: what they do, what they answer, who sees it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from uuid import uuid4

import pytest

from ..support.clients import receive_until, running_server
from ..support.harness import RedisProcess, ServerProcess, receive, receive_event
from ..support.messages import command

ROOMS_PER_SESSION = 3


@pytest.fixture(scope="module")
def server(shared_redis: RedisProcess) -> Iterator[ServerProcess]:
    with running_server(
        REDIS_URL=shared_redis.url, CHAT_ROOMS_PER_SESSION=str(ROOMS_PER_SESSION)
    ) as server:
        yield server


async def test_ping(server, room):
    """The command ping is answered with pong and the command's ID, to its sender alone."""
    id = str(uuid4())
    async with server.connect(room) as client, server.connect(room) as peer:
        await client.send(json.dumps({"type": "system", "id": id, "data": {"action": "ping"}}))
        assert (await receive(client))["data"] == {"event": "pong", "id": id}
        await client.send('{"data": "next"}')
        assert await receive_until(peer, "next") == []


async def test_join_and_leave(server, room):
    """A client joins a second room, speaks in both, and leaves it again."""
    second = f"second-{room}"
    async with server.connect(room) as client, server.connect(second) as peer:
        await client.send(command("join", room=second))
        assert (await receive(client))["data"] == {"event": "joined", "room": second, "id": None}
        await client.send(json.dumps({"room": second, "data": 1}))
        await client.send('{"data": 2}')
        assert [(await receive(client))["room"] for _ in range(2)] == [second, room]
        assert (await receive(peer))["data"] == 1

        await client.send(command("leave", room=second))
        assert (await receive(client))["data"] == {"event": "left", "room": second, "id": None}
        await peer.send('{"data": 3}')
        await receive(peer)
        await client.send(json.dumps({"room": second, "data": 4}))
        assert (await receive(client))["data"]["code"] == "not_in_room"


async def test_join_normalises(server, room):
    """A room joined in one Unicode form is the same room in the other."""
    composed, decomposed = f"{room}-\u00e9", f"{room}-e\u0301"
    async with server.connect() as client, server.connect(composed) as peer:
        await client.send(command("join", room=decomposed))
        assert (await receive(client))["data"]["room"] == composed
        await client.send(json.dumps({"room": decomposed, "data": 1}))
        assert (await receive(peer))["room"] == composed


async def test_leave_own_room(server, room):
    """Who left the room it connected to is not in it, until it joins again."""
    async with server.connect(room) as client, server.connect(room) as peer:
        await client.send(command("leave", room=room))
        await receive_event(client, "left")
        await client.send('{"data": 1}')
        assert (await receive(client))["data"]["code"] == "not_in_room"
        await client.send(command("join", room=room))
        await receive_event(client, "joined")
        await client.send('{"data": 2}')
        assert (await receive(peer))["data"] == 2


async def test_join_twice(server, room):
    """Joining twice is joining once: each message comes once, and one leave is enough."""
    async with server.connect() as client, server.connect(room) as peer:
        for _ in range(2):
            await client.send(command("join", room=room))
            await receive_event(client, "joined")
        await peer.send('{"data": "once"}')
        await peer.send('{"data": "end"}')
        assert [m["data"] for m in await receive_until(client, "end")] == ["once"]
        await client.send(command("leave", room=room))
        await receive_event(client, "left")
        await client.send(json.dumps({"room": room, "data": 1}))
        assert (await receive(client))["data"]["code"] == "not_in_room"


async def test_rooms_per_session(server, room):
    """CHAT_ROOMS_PER_SESSION bounds the rooms of one client; leaving one makes place."""
    async with server.connect(room, events="presence", echo="0") as client:
        for number in range(1, ROOMS_PER_SESSION):
            await client.send(command("join", room=f"{room}-{number}"))
            await receive_event(client, "joined")
        await client.send(command("join", room=f"{room}-more"))
        assert (await receive(client))["data"]["code"] == "too_many_rooms"
        await client.send(command("leave", room=f"{room}-1"))
        await receive_event(client, "left")
        await client.send(command("join", room=f"{room}-more"))
        await receive_event(client, "joined")


async def test_echo_of_a_message_before_leave(server, room):
    """A message sent right before a leave still reaches everybody in the room."""
    async with server.connect(room) as client, server.connect(room) as peer:
        for number in range(20):
            await client.send(json.dumps({"data": number}))
            await client.send(command("leave", room=room))
            await client.send(command("join", room=room))
        assert [(await receive(peer))["data"] for _ in range(20)] == list(range(20))
        client.transport.abort()  # it has not read its replies


@pytest.mark.parametrize("data", ['{"event": "drain"}', '{"action": "ping", "event": "error"}'])
async def test_system_messages_are_never_relayed(server, room, data):
    """Nobody can forge a system message, to a room or to everybody."""
    async with server.connect(room) as client, server.connect(room) as peer:
        for target in ("", ', "room": null', f', "room": "{room}"'):
            await client.send(f'{{"type": "system", "data": {data}{target}}}')
            await receive(client)
        await client.send('{"data": "end"}')
        assert await receive_until(peer, "end") == []
