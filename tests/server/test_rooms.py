"""Many rooms on one socket, with names of all kinds."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from redis import Redis
from websockets.asyncio.client import ClientConnection

from ..support.clients import running_server
from ..support.dialogue import answer_to, says
from ..support.harness import (
    RedisProcess,
    ServerProcess,
    StartServer,
    eventually,
    receive,
    receive_event,
)

ROOMS_PER_SESSION = 128


@pytest.fixture(scope="module")
def server(shared_redis: RedisProcess) -> Iterator[ServerProcess]:
    with running_server(workers=2, REDIS_URL=shared_redis.url) as server:
        yield server


def rooms_of(answer: dict[str, Any]) -> dict[str, str]:
    """The rooms of an answer, each with its error's code, or nothing."""
    return {
        result["room"]: result["error"]["code"] if "error" in result else ""
        for result in answer["rooms"]
    }


async def names_of(client: ClientConnection) -> list[str]:
    names: list[str] = (await answer_to(client, "rooms"))["rooms"]
    return names


async def test_many_at_once(server: ServerProcess, room: str) -> None:
    """128 rooms are one command and one answer, on every pod; and leave likewise."""
    names = [f"{room}/{number}" for number in range(ROOMS_PER_SESSION)]
    clients = await server.connect_to_pods(2)
    one, other = clients.values()
    for client in (one, other):
        answer = await answer_to(client, "join", rooms=names)
        assert answer["event"] == "joined"
        assert rooms_of(answer) == dict.fromkeys(names, "")
        assert await names_of(client) == names
    for name in (names[0], names[-1]):
        await one.send(json.dumps({"data": name, "room": name}))
        for client in (one, other):
            message = await receive(client)
            assert (message["room"], message["data"]) == (name, name)
    one_more = await answer_to(one, "join", room="one more")
    assert one_more["code"] == "too_many_rooms"
    await answer_to(one, "leave", room=names[-1])
    answer = await answer_to(one, "join", rooms=["one", "too many", "many more", names[0]])
    assert rooms_of(answer) == {
        "one": "", "too many": "too_many_rooms", "many more": "too_many_rooms", names[0]: "",
    }  # fmt: skip
    names = [*names[:-1], "one"]
    answer = await answer_to(one, "leave", rooms=names[1:])
    assert answer["event"] == "left"
    assert rooms_of(answer) == dict.fromkeys(names[1:], "")
    assert await names_of(one) == names[:1]
    for client in (one, other):
        await client.close()


async def test_each_room_has_its_own_result(server: ServerProcess, room: str) -> None:
    """What is wrong with one room does not keep the client out of the others."""
    async with server.connect(room) as client:
        wanted = [f"{room} a", "*", room, f"{room} a", "a/../b", "cafe\u0301", "caf\u00e9", ""]
        answer = await answer_to(client, "join", rooms=wanted)
        assert [result["room"] for result in answer["rooms"]] == [
            f"{room} a", "*", room, "a/../b", "caf\u00e9", "caf\u00e9", "",
        ]  # fmt: skip
        codes = [result.get("error", {}).get("code") for result in answer["rooms"]]
        assert codes == [None, "bad_room", None, "bad_room", None, None, "bad_room"]
        assert await names_of(client) == [room, f"{room} a", "caf\u00e9"]
        answer = await answer_to(client, "leave", rooms=["caf\u00e9", "nowhere", f"{room} a"])
        assert rooms_of(answer) == {"caf\u00e9": "", "nowhere": "not_in_room", f"{room} a": ""}
        assert await names_of(client) == [room]


@pytest.mark.parametrize(
    "fields",
    [
        {"rooms": []},
        {"rooms": ["x"] * (ROOMS_PER_SESSION + 1)},
        {"rooms": ["a"], "room": "b"},
        {"rooms": "a"},
        {"rooms": [7]},
        {"rooms": {"a": 1}},
    ],
    ids=["none", "too many", "room too", "text", "number", "object"],
)
async def test_what_names_no_rooms(server: ServerProcess, fields: dict[str, Any]) -> None:
    async with server.connect() as client:
        for action in ("join", "leave"):
            assert (await answer_to(client, action, **fields))["code"] == "bad_command"
        assert await names_of(client) == []


@pytest.mark.parametrize(
    "name", ["a b", "team/floor 2", "#help", "Grüße, alle!", "a=b|c$(d)", "x@y", "/", "..."]
)
async def test_names_by_query_and_command(server: ServerProcess, name: str) -> None:
    """Whatever a name holds, it is the same room by query and by command, on every pod."""
    name = f"{name} {uuid4()}"
    clients = await server.connect_to_pods(2, events="system", room=name)
    one, other = clients.values()
    async with server.connect() as third:
        assert (await answer_to(third, "join", room=name))["room"] == name
        await third.send(json.dumps({"data": 1, "room": name}))
        for client in (one, other, third):
            assert (await receive(client))["room"] == name
    for client in (one, other):
        await client.close()


async def test_a_plus_is_a_space(server: ServerProcess) -> None:
    """As in every query: a plus in a name would need to be allowed and encoded."""
    async with server.connect(room="a b") as client:
        assert await names_of(client) == ["a b"]


async def test_while_redis_stands_still(
    redis: RedisProcess, start_server: StartServer, room: str
) -> None:
    """128 rooms wait together, and nobody else does; then they are one SUBSCRIBE and one answer."""
    server = start_server("--single-process", REDIS_URL=redis.url, CHAT_REDIS_TIMEOUT="30")
    names = [f"{room}/{number}" for number in range(ROOMS_PER_SESSION)]
    async with server.connect() as client, server.connect() as other:
        with Redis(port=redis.port, decode_responses=True) as admin:
            before = subscribe_calls(admin)
            redis.signal(signal.SIGSTOP)
            join = {"type": "system", "data": {"action": "join", "rooms": names}}
            await client.send(json.dumps(join))
            for each in (client, other):
                assert (await says(each))["data"] == "hello"
            assert (await receive(client))["from"] == (await receive(other))["from"]
            redis.signal(signal.SIGCONT)
            assert rooms_of(await receive_event(client, "joined")) == dict.fromkeys(names, "")
            assert subscribe_calls(admin) == before + 1
            for name in (names[0], names[-1]):
                assert admin.publish(f"realtime:room:{name}", '{"data": 1}') == 1
                assert (await receive(client))["room"] == name


def subscribe_calls(admin: Any) -> int:
    """How many SUBSCRIBE commands a Redis has carried out."""
    return int(admin.info("commandstats")["cmdstat_subscribe"]["calls"])


async def test_one_of_many_is_forbidden(
    redis: RedisProcess, start_server: StartServer, room: str
) -> None:
    """A room that Redis forbids is told in the answer, and only that one."""
    with Redis(port=redis.port) as admin:
        admin.execute_command(
            "ACL", "SETUSER", "chat", "on", ">secret", "~realtime:*", "+@all",
            "&realtime:control", "&realtime:global", "&realtime:pod:*", f"&realtime:room:{room}*",
        )  # fmt: skip
    server = start_server("--single-process", REDIS_URL=redis.url.replace("//", "//chat:secret@"))
    async with server.connect() as client:
        wanted = [f"{room}-a", "forbidden", f"{room}-b"]
        answer = await answer_to(client, "join", rooms=wanted)
        assert rooms_of(answer) == {
            f"{room}-a": "", "forbidden": "forbidden_room", f"{room}-b": "",
        }  # fmt: skip
        assert await names_of(client) == [f"{room}-a", f"{room}-b"]


async def test_all_rooms_come_back(
    redis: RedisProcess, start_server: StartServer, room: str
) -> None:
    """After a reconnect each room is subscribed to again, before the client is told so."""
    server = start_server("--single-process", REDIS_URL=redis.url)
    names = [f"{room}/{number}" for number in range(ROOMS_PER_SESSION)]
    async with server.connect(events="system") as client:
        await answer_to(client, "join", rooms=names)
        with Redis(port=redis.port) as admin:
            admin.execute_command("CLIENT KILL TYPE pubsub")
            await receive_event(client, "recovered")

            def heard() -> bool:
                return all(count == 1 for _, count in admin.pubsub_numsub(*channels))

            channels = [f"realtime:room:{name}" for name in names]
            await eventually(heard, "all rooms are subscribed to")
            admin.publish(channels[-1], json.dumps({"data": "to the last"}))
        while (message := await receive(client))["type"] == "system":
            pass
        assert (message["room"], message["data"]) == (names[-1], "to the last")
