"""Personal rooms: a user on all tabs, on whatever worker, and nobody else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import unquote
from uuid import uuid4

import pytest
from redis import Redis
from websockets.exceptions import InvalidStatus

from ..support.clients import receive_data, running_server
from ..support.dialogue import answer_to, is_refused, says
from ..support.harness import (
    RedisProcess,
    ServerProcess,
    StartServer,
    receive,
    receive_event,
)
from ..support.users import KNOWS_USERS, bearer

USERS = [
    "anna",
    "auth0|5f7c",
    "https://idp/u/7",
    "CN=Anna, O=X",
    "*",
    "caf\u00e9",
    "cafe\u0301",
    "\U0001f600" * 256,
]


@pytest.fixture(scope="module")
def servers(shared_redis: RedisProcess) -> Iterator[list[ServerProcess]]:
    """Two machines, as far as pods can tell; the first has two workers."""
    settings = {
        "REDIS_URL": shared_redis.url,
        **KNOWS_USERS,
        "CHAT_MAX_HEADER_BYTES": "65536",
    }
    with running_server(workers=2, **settings) as one, running_server(**settings) as other:
        yield [one, other]


@pytest.mark.parametrize("user", USERS, ids=lambda user: f"{user!a:.16}")
async def test_all_tabs_of_a_user(
    servers: list[ServerProcess], shared_redis: RedisProcess, user: str
) -> None:
    """A backend reaches the tabs of exactly one user, each over its own way in."""
    headers = bearer(user)
    tabs = [
        await servers[0].connect("@me", headers=headers),
        await servers[0].connect(headers=headers, room="@me"),
        await servers[1].connect(headers=bearer(user, join=["@me"])),
        await servers[1].connect(headers=headers),
    ]
    assert (await answer_to(tabs[3], "join", room="@me"))["event"] == "joined"
    [room] = (await answer_to(tabs[0], "rooms"))["rooms"]
    assert (room[0], unquote(room[1:])) == ("@", user)
    assert (await answer_to(tabs[3], "join", room=room))["room"] == room
    others = [
        await servers[0].connect("@me", headers=bearer(other)) for other in USERS if other != user
    ]
    with Redis(port=shared_redis.port) as backend:
        backend.publish(f"realtime:room:{room}", json.dumps({"data": {"for": "you"}}))
    for tab in tabs:
        message = await receive_data(tab, {"for": "you"})
        assert message["room"] == room
    for other in others:
        await other.send(json.dumps({"data": "mine"}))
        assert (await receive(other))["data"] == "mine"
    for client in (*tabs, *others):
        await client.close()


async def test_nobody_else_can_join(servers: list[ServerProcess]) -> None:
    """Whatever a stranger sends, and whatever his token grants, he is not let in."""
    grants = [
        {"match": "*", "allow": ["join", "publish", "presence"]},
        {"match": "@*", "allow": ["join", "presence"]},
        {"room": "@anna", "allow": ["join", "presence"]},
    ]
    for claims in ({}, {"rooms": grants}):
        headers = bearer("mallory", **claims)
        for query in (
            {"room": "@anna"},
            {"room": "@%61nna"},
            {"room": "@anna", "events": "presence"},
        ):
            with pytest.raises(InvalidStatus) as refused:
                await servers[0].connect(headers=headers, **query)
            assert refused.value.response.status_code in (400, 403)
        async with servers[0].connect(headers=headers) as mallory:
            for name in ("@anna", "@%61nna", "@ANNA", "@anna ", "@", "@\u0430nna"):
                answer = await answer_to(mallory, "join", room=name)
                assert answer["code"] in ("forbidden_room", "bad_room")
            answer = await answer_to(mallory, "join", rooms=["@anna", "@me"])
            assert [result["room"] for result in answer["rooms"]] == ["@anna", "@mallory"]
            assert ["error" in result for result in answer["rooms"]] == [True, False]


async def test_who_may_speak_there(servers: list[ServerProcess]) -> None:
    """The user himself; others with a grant, unheard by themselves; nobody else."""
    anna = await servers[1].connect("@me", headers=bearer("anna", rooms=[]))
    assert (await says(anna))["room"] == "@anna"
    id = str(uuid4())
    async with servers[0].connect("lobby", headers=bearer("mallory")) as mallory:
        for room in ("@anna", "@nobody"):
            assert is_refused(await says(mallory, room=room), "forbidden_publish")
    granted = bearer("helper", rooms=[{"match": "@*", "allow": ["publish"]}])
    async with servers[0].connect(headers=granted) as helper:
        await helper.send(json.dumps({"data": "psst", "room": "@anna", "id": id, "ack": True}))
        message = await receive_data(anna, "psst")
        assert (message["room"], message["from"], message["id"]) == ("@anna", "helper", id)
        # No number, or it would be told whether the user is there.
        assert (await receive(helper))["data"] == {"event": "ack", "id": id}
        await helper.send(json.dumps({"data": "psst", "room": "@nobody", "id": id, "ack": True}))
        assert (await receive(helper))["data"] == {"event": "ack", "id": id}
    await anna.close()


async def test_who_has_left_the_own_room(servers: list[ServerProcess]) -> None:
    """The user may speak there without being in it, by either name, wherever he connected to."""
    tab = await servers[1].connect("@me", headers=bearer("anna"))
    async with servers[0].connect("@me", headers=bearer("anna")) as left:
        assert (await answer_to(left, "leave", room="@me"))["event"] == "left"
        for room in ("@anna", "@me"):
            await left.send(json.dumps({"room": room, "data": f"to {room}"}))
            assert (await receive_data(tab, f"to {room}"))["room"] == "@anna"
        assert is_refused(await says(left), "not_in_room")
    await tab.close()


async def test_the_largest_message_of_the_longest_user(servers: list[ServerProcess]) -> None:
    """It reaches other pods too, though room and `from` are as long as they get."""
    user = "\U0001f600" * 256
    async with (
        servers[0].connect("@me", headers=bearer(user), events="system") as one,
        servers[1].connect("@me", headers=bearer(user)) as other,
    ):
        bound = (await receive_event(one, "welcome"))["max_message_bytes"]
        text = json.dumps({"data": "x" * (bound - len('{"data": ""}'))})
        assert len(text) == bound
        await one.send(text)
        assert await receive(one) == await receive(other)


async def test_without_tokens(start_server: StartServer, shared_redis: RedisProcess) -> None:
    """An anonymous client is a user of its own, and others may speak there as the setting says."""
    for setting, code in (("server", "forbidden_publish"), ("everyone", ""), ("off", "")):
        server = start_server(
            "--single-process", REDIS_URL=shared_redis.url, CHAT_PERSONAL_ROOMS=setting
        )
        async with server.connect(events="system") as one, server.connect() as other:
            welcome = await receive_event(one, "welcome")
            user = welcome["user"]
            assert ("personal_rooms" in welcome["features"]) == (setting != "off")
            if setting == "off":
                for name in ("@me", f"@{user}"):
                    assert (await answer_to(one, "join", room=name))["code"] == "forbidden_room"
                    assert is_refused(await says(other, room=name), "forbidden_publish")
                continue
            assert (await answer_to(one, "join", room="@me"))["room"] == f"@{user}"
            await other.send(json.dumps({"data": "for one", "room": f"@{user}"}))
            if code:
                assert is_refused(await receive(other), code)
            else:
                assert (await receive_data(one, "for one"))["room"] == f"@{user}"
            assert (await says(one, room="@me"))["room"] == f"@{user}"
        server.stop()


async def test_me_is_never_shown(servers: list[ServerProcess]) -> None:
    """Who says `@me` is answered with the room's name, in errors too."""
    async with servers[0].connect(headers=bearer("anna")) as client:
        assert (await answer_to(client, "leave", room="@me"))["message"].count("'@anna'") == 1
        assert (await answer_to(client, "join", room="@me"))["room"] == "@anna"
        assert (await answer_to(client, "leave", rooms=["@me"]))["rooms"] == [{"room": "@anna"}]
