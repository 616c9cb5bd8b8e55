"""Who is in a room, on all pods: what clients are told by the real command."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest

from sanic_chat.presence.presence import WINDOW_SECONDS

from ..support.clients import on_pods, receive_until, running_server
from ..support.dialogue import answer_to
from ..support.harness import (
    RedisProcess,
    ServerProcess,
    eventually,
    receive,
    receive_event,
)
from ..support.messages import command
from ..support.onlookers import running_pods
from ..support.rosters import Watcher
from ..support.users import KNOWS_USERS, bearer


@pytest.fixture(scope="module")
def server(own_redis: RedisProcess) -> Iterator[ServerProcess]:
    with running_server(workers=2, REDIS_URL=own_redis.url, **KNOWS_USERS) as server:
        yield server


async def test_users_of_all_pods(server: ServerProcess, room: str) -> None:
    """Each pod tells of the users of both, once each, and of who comes and goes."""
    async with (
        on_pods(server, 2, room, headers=bearer("anna"), events="presence") as annas,
        AsyncExitStack() as stack,
    ):
        watchers = [Watcher(anna) for anna in annas]
        for watcher in watchers:
            await watcher.until(lambda it: it.users == {"anna"} and it.complete)
        berts = [
            await stack.enter_async_context(server.connect(room, headers=bearer("bert")))
            for _ in range(6)
        ]
        for watcher in watchers:
            await watcher.until(lambda it: it.users == {"anna", "bert"} and it.sessions >= 8)
        for bert in berts:
            await bert.close()
        for watcher in watchers:
            await watcher.until(lambda it: it.users == {"anna"})
            assert watcher.left == [("bert", "left")], "once, though there were six of him"
            assert watcher.joined == ["bert"]


async def test_the_shape(server: ServerProcess, room: str) -> None:
    """The six keys of a message, of the server's own, in the room."""
    async with server.connect(room, headers=bearer("anna"), events="presence") as client:
        message = await receive(client)
        assert list(message) == ["id", "type", "room", "from", "data", "timestamp"]
        assert (message["type"], message["room"], message["from"]) == ("presence", room, "server")
        assert set(message["data"]) == {
            "event", "seq", "users", "sessions", "exact", "complete", "members",
        }  # fmt: skip


async def test_info(server: ServerProcess, room: str) -> None:
    """What a token says of a user is told as it stands; of several sessions the newest one's."""
    async with AsyncExitStack() as stack:
        watcher = Watcher(
            await stack.enter_async_context(
                server.connect(room, headers=bearer("anna"), events="presence")
            )
        )
        await watcher.until(lambda it: it.complete)
        for info in ({"name": "<img onerror=alert(1)>", "n": 1.5}, {"name": "Bert"}):
            headers = bearer("bert", info=info)
            await stack.enter_async_context(server.connect(room, headers=headers))
            await watcher.until(lambda it, info=info: it.infos.get("bert") == info)


async def test_for_one_command(server: ServerProcess, room: str) -> None:
    """A join may ask for it, in a room that the client is in already, too."""
    async with (
        server.connect(room, headers=bearer("anna")) as anna,
        server.connect(f"{room}-2", headers=bearer("bert")),
    ):
        await anna.send(command("join", rooms=[f"{room}-2", f"{room}-3"], presence=True))
        rosters = {}
        while len(rosters) < 2:
            message = await receive(anna)
            if message["data"]["event"] == "roster":
                rosters[message["room"]] = [each["user"] for each in message["data"]["members"]]
        assert {room: sorted(users) for room, users in rosters.items()} == {
            f"{room}-2": ["anna", "bert"], f"{room}-3": ["anna"],
        }  # fmt: skip
        await anna.send(command("join", room=room, presence=True))
        roster = await receive_event(anna, "roster")
        assert roster["members"] == [{"user": "anna"}]


async def test_asking(server: ServerProcess, room: str) -> None:
    """A member may ask, once a second; nobody else is answered."""
    async with (
        server.connect(room, headers=bearer("anna")) as anna,
        server.connect(headers=bearer("mallory")) as mallory,
        server.connect(
            room, headers=bearer("bert", rooms=[{"match": "*", "allow": ["join", "publish"]}])
        ) as bert,
    ):
        for _ in range(2):
            await anna.send(command("who", room=room))
        told = {}
        while told.keys() != {"roster", "error"}:
            event = (await receive(anna))["data"]
            told[event["event"]] = event
        assert {each["user"] for each in told["roster"]["members"]} == {"anna", "bert"}
        assert told["error"]["code"] == "too_soon"
        for client, code in ((mallory, "not_in_room"), (bert, "forbidden_presence")):
            answer = await answer_to(client, "who", room=room)
            assert (answer["event"], answer["code"]) == ("error", code)
        for action in ("join", "leave"):  # she does not watch: of this she is not told
            await mallory.send(command(action, room=room))
        await anna.send('{"data": "end"}')
        assert await receive_until(anna, "end") == []


async def test_who_may_not_see(server: ServerProcess, room: str) -> None:
    """A client without the right is told so, is in the room, and hears of nobody."""
    blind = bearer("bert", rooms=[{"match": "*", "allow": ["join", "publish"]}])
    async with (
        server.connect(room, headers=blind, events="presence,system") as bert,
        server.connect(room, headers=bearer("anna"), events="presence") as anna,
    ):
        watcher = Watcher(anna)
        await watcher.until(lambda it: it.users == {"anna", "bert"} and it.complete)
        refusal = await receive_event(bert, "error")
        assert refusal["code"] == "forbidden_presence"
        await bert.send('{"data": "end"}')
        assert await receive_until(bert, "end") == []


async def test_who_comes_and_goes_within_a_moment(server: ServerProcess, room: str) -> None:
    """A join and a leave right behind it are not told of."""
    async with (
        server.connect(room, headers=bearer("anna"), events="presence") as anna,
        server.connect(headers=bearer("bert")) as bert,
    ):
        watcher = Watcher(anna)
        await watcher.until(lambda it: it.complete)
        for _ in range(500):
            await bert.send(command("join", room=room))
            await bert.send(command("leave", room=room))
        await bert.send(command("join", room=room))
        await watcher.until(lambda it: it.users == {"anna", "bert"})
        assert sum(user == "bert" for user in watcher.joined) == 1
        assert watcher.left == []


async def test_who_came_back_while_nobody_watched(own_redis: RedisProcess, room: str) -> None:
    """To another pod, and has left that in peace: no roster has the user as one that is lost."""
    with running_pods(own_redis, 2, CHAT_REDIS_PREFIX="nobody") as pods:

        def presence(of: str) -> list[int]:
            return [pod.pod()["presence"][of] for pod in pods]

        async with pods[1].connect("elsewhere", headers=bearer("bert"), events="presence") as bert:
            await Watcher(bert).until(lambda it: it.complete)
        await eventually(lambda: presence("watched_rooms") == [0, 0], "nobody watches")
        anna = await pods[0].connect(room, headers=bearer("anna"))
        anna.transport.abort()
        await eventually(lambda: presence("held_users") == [1, 0], "she is held")
        async with pods[1].connect(room, headers=bearer("anna")):
            await asyncio.sleep(2 * WINDOW_SECONDS)  # in which nobody watches
        async with pods[1].connect(room, headers=bearer("bert"), events="presence") as bert:
            watcher = Watcher(bert)
            await watcher.until(lambda it: it.complete and it.users == {"bert"})
            assert watcher.left in ([], [("anna", "left")]), "and not lost"


async def test_ones_own_personal_room(server: ServerProcess) -> None:
    """There is its user, with all tabs, and no other way to look into it."""
    async with (
        server.connect("@me", headers=bearer("anna"), events="presence") as first,
        server.connect("@me", headers=bearer("anna")),
        server.connect(headers=bearer("mallory")) as mallory,
    ):
        watcher = Watcher(first)
        await watcher.until(lambda it: (it.users, it.sessions) == ({"anna"}, 2))
        answer = await answer_to(mallory, "who", room="@anna")
        assert answer["code"] == "not_in_room"


@pytest.mark.parametrize("event", ["roster", "changed"])
async def test_events_cannot_be_forged(server: ServerProcess, room: str, event: str) -> None:
    """A client's presence message goes to the room, unless it looks like one of the server's."""
    async with server.connect(room, headers=bearer("anna")) as client:
        for data in ({"event": event}, {"event": event, "seq": 1, "users": 7}):
            await client.send(json.dumps({"type": "presence", "data": data}))
            assert (await receive(client))["data"]["code"] == "reserved_event"
        escaped = json.dumps({"type": "presence", "data": {"event": event}})
        await client.send(escaped.replace('"event"', '"event": "typing", "\\u0065vent"'))
        assert (await receive(client))["data"]["code"] == "reserved_event"
        for data in ({"event": "typing"}, {"state": {"event": event}}, event, [event], None):
            await client.send(json.dumps({"type": "presence", "data": data}))
            message = await receive(client)
            assert (message["type"], message["data"]) == ("presence", data)
        await client.send(json.dumps({"data": {"event": event}}))
        assert (await receive(client))["type"] == "chat"


async def test_the_stats_tell_what_is_kept(server: ServerProcess, room: str) -> None:
    """Watched rooms, registrations, held users and peers, in each pod's entry."""
    async with (
        on_pods(server, 2, room, headers=bearer("anna"), events="presence") as watchers,
    ):
        for client in watchers:
            await Watcher(client).until(lambda it: it.complete and it.users == {"anna"})

        def kept() -> list[tuple[bool, bool, int]]:
            reports = [pod["presence"] for pod in server.stats()["pods"]]
            return [
                (each["watched_rooms"] > 0, each["registrations"] > 0, each["peers"])
                for each in reports
            ]

        await eventually(lambda: kept() == [(True, True, 1)] * 2, "both tell")
