"""What a token allows on a real server: over every way in, and until it ends."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

import httpx
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from ..support.clients import RawClient, receive_until, running_server
from ..support.dialogue import answer_to, is_refused, says
from ..support.harness import (
    DEADLINE,
    ROOT,
    RedisProcess,
    ServerProcess,
    eventually,
    receive,
    receive_event,
)
from ..support.markdown import Page
from ..support.messages import command
from ..support.rosters import Watcher
from ..support.users import KNOWS_USERS, token

FORBIDDEN, UNAUTHORIZED, POLICY_VIOLATION = 4403, 4401, 1008
ALL = ["join", "publish", "presence"]


@pytest.fixture(scope="module")
def server(shared_redis: RedisProcess) -> Iterator[ServerProcess]:
    with running_server(
        workers=2,
        REDIS_URL=shared_redis.url,
        **KNOWS_USERS,
        AUTH_LEEWAY="0",
        CHAT_SESSIONS_PER_USER="3",
    ) as server:
        yield server


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def rule(name: str, *allow: str) -> dict[str, Any]:
    return {"match" if "*" in name else "room": name, "allow": list(allow)}


async def test_user_and_client(server: ServerProcess, room: str) -> None:
    """Two tabs of one user have one `from`, and two client IDs."""
    headers = bearer(token("anna"))
    async with (
        server.connect(room, events="system", headers=headers) as one,
        server.connect(room, events="system", headers=headers) as two,
    ):
        welcomes = [await receive_event(tab, "welcome") for tab in (one, two)]
        assert [welcome["user"] for welcome in welcomes] == ["anna", "anna"]
        assert all("auth" in welcome["features"] for welcome in welcomes)
        assert len({welcome["client_id"] for welcome in welcomes} | {"anna"}) == 3
        for tab in (one, two):
            await tab.send(json.dumps({"data": "hi"}))
            assert (await receive(tab))["from"] == "anna"


@pytest.mark.parametrize("way", ["path", "query", "claim"])
def test_a_room_that_is_not_granted_at_the_door(server: ServerProcess, room: str, way: str) -> None:
    """Over every way in, a handshake is refused for a room, and only for that."""
    claims: dict[str, Any] = {"rooms": [rule(f"{room}*", "join"), rule("other", "publish")]}
    for name, status in ((f"{room}-a", 101), ("other", 403), ("secret", 403)):
        path, query = "", {}
        if way == "path":
            path = f"/{name}"
        elif way == "query":
            query = {"room": name}
        text = token(**claims, **({"join": [name]} if way == "claim" else {}))
        response = httpx.get(
            f"{server.http}/ws{path}",
            params=query,
            headers={
                **bearer(text),
                "Connection": "Upgrade",
                "Upgrade": "websocket",
                "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg==",
            },
        )
        assert response.status_code == status
        if status == 403:
            assert response.json()["code"] == "forbidden_room"
            assert repr(name) in response.json()["message"]


async def test_what_is_granted_inside(server: ServerProcess, room: str) -> None:
    """Joining, speaking and speaking to everybody are judged one by one, when a message is read."""
    claims = {
        "rooms": [
            rule(f"{room}:read", "join"),
            rule(f"{room}:*", "join", "presence"),
            rule(f"{room}:talk", "publish"),
        ]
    }
    async with server.connect(headers=bearer(token(**claims))) as client:
        assert (await answer_to(client, "join", room="secret"))["code"] == "forbidden_room"
        for name in (f"{room}:read", f"{room}:talk"):
            assert (await answer_to(client, "join", room=name))["event"] == "joined"
        assert (await says(client, room=f"{room}:talk"))["data"] == "hello"
        assert is_refused(await says(client, room=f"{room}:read"), "forbidden_publish")
        assert is_refused(await says(client, room=None), "forbidden_publish")
        assert is_refused(await says(client), "forbidden_publish")
        assert is_refused(await says(client, room="secret"), "not_in_room")
    granted = token(rooms=[{"global": True}])
    async with server.connect(headers=bearer(granted)) as client:
        assert (await says(client))["data"] == "hello"


async def test_names_are_literal(server: ServerProcess, room: str) -> None:
    """A user, or a room, that is called like a pattern gets nothing more."""
    text = token("*", rooms=[rule(room, "join")])
    async with server.connect(room, headers=bearer(text)) as client:
        for name in ("secret", f"{room}-2", "@anna"):
            assert (await answer_to(client, "join", room=name))["code"] == "forbidden_room"


async def test_who_may_not_see(server: ServerProcess, room: str) -> None:
    """Without the right of presence a client is in the room, is told so, and sees nobody."""
    blind = token("blind", rooms=[rule(f"{room}*", "join", "publish")])
    async with (
        server.connect(room, events="presence", headers=bearer(blind)) as client,
        server.connect(room, events="presence", headers=bearer(token("seeing"))) as other,
    ):
        assert is_refused(await receive(client), "forbidden_presence")
        async with server.connect(room, headers=bearer(token("late"))):
            await Watcher(other).until(lambda it: "late" in it.users)
        assert (await answer_to(client, "join", room=f"{room}-2"))["code"] == "forbidden_presence"
        await client.send(json.dumps({"data": "done"}))
        while (message := await receive(client))["type"] != "chat":
            assert message["type"] == "system"


async def test_rooms_to_be_in(server: ServerProcess, room: str) -> None:
    """The claim `join` puts a client into rooms before its 101, on every connect."""
    text = token(join=[f"{room}-a", f"{room}-b"])
    async with server.connect(headers=bearer(text)) as client:
        async with server.connect(f"{room}-b", headers=bearer(token("bert"))) as bert:
            await bert.send(json.dumps({"data": "to b"}))
            assert (await receive(client))["room"] == f"{room}-b"
        assert (await says(client, room=f"{room}-a"))["room"] == f"{room}-a"
        assert (await says(client))["room"] is None


async def test_too_many_rooms_to_be_in(server: ServerProcess, room: str) -> None:
    """The room of the URL counts too: nobody comes into more rooms than a command could join."""
    names = [f"{room}-{number}" for number in range(128)]
    headers = bearer(token(join=names))
    for way in ({"room": names[5]}, {}):
        async with server.connect(headers=headers, **way) as client:
            assert len((await answer_to(client, "rooms"))["rooms"]) == 128
    with pytest.raises(InvalidStatus) as refused:
        await server.connect("@me", headers=headers)
    assert refused.value.response.status_code == 400
    assert json.loads(refused.value.response.body)["code"] == "too_many_rooms"


async def test_sessions_per_user(server: ServerProcess) -> None:
    """One session more than a worker allows a user is told why, and closed with 1008."""
    headers = bearer(token(f"user-{uuid4()}"))
    clients, refused = [], []
    for _ in range(7):  # on two workers, each of which allows three
        client = await server.connect(events="system", headers=headers)
        event = (await receive(client))["data"]
        (clients if event["event"] == "welcome" else refused).append(client)
        if event["event"] == "error":
            assert event["code"] == "too_many_sessions"
            with pytest.raises(ConnectionClosed):
                await asyncio.wait_for(client.recv(), DEADLINE)
            assert client.close_code == POLICY_VIOLATION
    assert refused
    for client in clients:
        await client.close()
    async with server.connect(events="system", headers=headers) as client:
        await receive_event(client, "welcome")


async def test_a_user_with_too_many_sessions_keeps_nobody_out(shared_redis: RedisProcess) -> None:
    """Those that are one too many give way, though their clients never answer the close frame."""
    settings = {**KNOWS_USERS, "CHAT_MAX_CONNECTIONS": "4"}
    with running_server(
        REDIS_URL=shared_redis.url, CHAT_SESSIONS_PER_USER="1", **settings
    ) as server:
        async with AsyncExitStack() as crowd:
            for _ in range(20):
                client = await crowd.enter_async_context(RawClient(server))
                path = f"/ws/lobby?token={token('mallory')}"
                assert (await client.request(path, Sec_WebSocket_Protocol="sanic-chat.v1"))[
                    0
                ] == 101
            for user in ("anna", "bert", "carl"):
                client = await crowd.enter_async_context(RawClient(server))
                assert (await client.request(f"/ws/lobby?token={token(user)}"))[0] == 101
            pod = server.pod()
            assert (pod["connections"], pod["users"]) == (4, 4)
            assert pod["upgrades_refused"]["too_many_sessions"] == 19
            await eventually(lambda: server.pod()["handshakes"] == 0, "they are cut off")


async def test_a_token_ends(server: ServerProcess, room: str) -> None:
    """The client is told, and then told why it is closed with 4401."""
    end = int(time.time()) + 8
    async with server.connect(room, events="system", headers=bearer(token(exp=end))) as client:
        assert 0 <= (await receive_event(client, "token_expiring"))["seconds"] <= 8
        assert (await receive_event(client, "error"))["code"] == "token_expired"
        assert time.time() >= end
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(client.recv(), DEADLINE)
        assert client.close_code == UNAUTHORIZED


async def test_renewal(server: ServerProcess, room: str) -> None:
    """A new token of the same user counts from now on, and what it does not grant is taken away."""
    old = token(
        exp=int(time.time()) + 6,
        rooms=[rule(f"{room}*", *ALL)],
        join=[f"{room}-kept", f"{room}-lost", f"{room}-unseen"],
    )
    async with server.connect(events="system,presence", headers=bearer(old)) as client:
        new_rules = [rule(f"{room}-kept", *ALL), rule(f"{room}-unseen", "join")]
        new = token(rooms=new_rules, exp=int(time.time()) + 3600)
        answer = await answer_to(client, "auth", token=new)
        assert answer["event"] == "authenticated"
        assert 3500 < answer["expires_in"] <= 3600
        kicked = await receive_event(client, "kicked")
        assert (kicked["room"], kicked["code"]) == (f"{room}-lost", "forbidden_room")
        blinded = await receive_event(client, "error")
        assert (blinded["code"], blinded["room"]) == ("forbidden_presence", f"{room}-unseen")
        assert is_refused(await says(client, room=f"{room}-lost"), "not_in_room")
        assert (await says(client, room=f"{room}-kept"))["data"] == "hello"
        # It outlives the old token, whose end nobody is told any more.
        await asyncio.sleep(8)
        async with server.connect(f"{room}-unseen", headers=bearer(token("bert"))):
            pass
        await client.send(json.dumps({"room": f"{room}-kept", "data": "hello"}))
        told = await receive_until(client, "hello")
        assert {message["room"] for message in told} <= {f"{room}-kept"}, "it is told of no other"


async def renew(client: ClientConnection, **claims: Any) -> None:
    """Have a client take a new token, as soon as it may."""
    while (answer := await answer_to(client, "auth", token=token(**claims))).get("code"):
        assert answer["code"] == "too_soon"
        await asyncio.sleep(0.2)


async def test_presence_is_given_back(server: ServerProcess, room: str) -> None:
    """Who watches all rooms then does so again, as often as that is told to have ended."""
    blind, seeing = ([rule(room, *rights)] for rights in (["join"], ALL))
    async with (
        server.connect(room, headers=bearer(token(rooms=blind)), events="presence") as client,
        AsyncExitStack() as others,
    ):
        for user in ("bert", "carl"):
            assert (await receive_event(client, "error"))["code"] == "forbidden_presence"
            await renew(client, rooms=seeing)
            watcher = Watcher(client)
            await watcher.until(lambda it: "anna" in it.users)
            connection = server.connect(room, headers=bearer(token(user)))
            await others.enter_async_context(connection)
            await watcher.until(lambda it, user=user: user in it.users)
            await renew(client, rooms=blind)


async def test_presence_that_a_join_asked_for_is_given_back(
    server: ServerProcess, room: str
) -> None:
    """It has ended with the right, as the rooms do that one is put out of: a join asks for it."""
    blind, seeing = ([rule(room, *rights)] for rights in (["join", "publish"], ALL))
    async with (
        server.connect(room, headers=bearer(token(rooms=seeing))) as client,
        server.connect(room, headers=bearer(token("bert")), events="presence") as other,
    ):
        await client.send(command("join", room=room, presence=True))
        await receive_event(client, "roster")
        await renew(client, rooms=blind)
        assert (await receive_event(client, "error"))["code"] == "forbidden_presence"
        await renew(client, rooms=seeing)
        async with server.connect(room, headers=bearer(token("carl"))):
            await Watcher(other).until(lambda it: "carl" in it.users)
        await client.send('{"data": "end"}')
        assert await receive_until(client, "end") == []
        await client.send(command("join", room=room, presence=True))
        assert {"user": "bert"} in (await receive_event(client, "roster"))["members"]


async def test_a_right_is_lost_before_the_roster_comes(server: ServerProcess, room: str) -> None:
    """Who has asked for one is told so in its place."""
    old = bearer(token(rooms=[rule(room, *ALL)]))
    new = token(rooms=[rule(room, "join", "publish")])
    async with server.connect(room, headers=old) as client:
        await client.send(command("who", room=room))
        await client.send(command("auth", token=new))
        assert (await receive_event(client, "authenticated"))["expires_in"] is None
        assert is_refused(await receive(client), "forbidden_presence")
        await client.send('{"data": "end"}')
        assert await receive_until(client, "end") == []


async def test_what_others_are_told_of_a_renewal(server: ServerProcess, room: str) -> None:
    """A new info is told to who watches; who may not be in the room any more was kicked."""
    old = bearer(token("bert", info={"name": "Bert"}))
    async with (
        server.connect(room, headers=bearer(token("anna")), events="presence") as anna,
        server.connect(room, headers=old) as bert,
    ):
        watcher = Watcher(anna)
        await watcher.until(lambda it: it.infos.get("bert") == {"name": "Bert"})
        await answer_to(bert, "auth", token=token("bert", info={"name": "B."}))
        await watcher.until(lambda it: it.infos["bert"] == {"name": "B."})
        await asyncio.sleep(1.1)  # one token a second
        await answer_to(bert, "auth", token=token("bert", rooms=[]))
        await watcher.until(lambda it: it.users == {"anna"})
        assert watcher.left == [("bert", "kicked")]


@pytest.mark.parametrize(
    ("new", "code"),
    [
        (lambda: token("bert"), "wrong_user"),
        (lambda: token(exp=int(time.time()) - 10), "token_expired"),
        (lambda: "nonsense", "unauthorized"),
        (lambda: "", "unauthorized"),
        (lambda: token(rooms=[{}]), "unauthorized"),
        (lambda: token(info={"__proto__": 1}), "unauthorized"),
    ],
    ids=["another user", "expired", "nonsense", "empty", "broken rules", "bad info"],
)
async def test_a_renewal_that_fails(server: ServerProcess, room: str, new: Any, code: str) -> None:
    """The client is told why, and keeps what it has."""
    async with server.connect(room, headers=bearer(token())) as client:
        for text in (new(), token()):
            await client.send(command("auth", token=text))
        errors = [(await receive_event(client, "error"))["code"] for _ in range(2)]
        assert errors == [code, "too_soon"]
        assert (await says(client))["data"] == "hello"


async def test_no_tokens(start_server: Any, shared_redis: RedisProcess, room: str) -> None:
    """A server without tokens says so; who may speak to everybody is a setting there too."""
    server = start_server(
        "--single-process", REDIS_URL=shared_redis.url, CHAT_GLOBAL_PUBLISH="server"
    )
    async with server.connect(room, events="system") as client:
        welcome = await receive_event(client, "welcome")
        assert welcome["user"] == welcome["client_id"]
        assert (await answer_to(client, "auth", token=token()))["code"] == "no_tokens"
        assert is_refused(await says(client, room=None), "forbidden_publish")
        assert (await says(client))["from"] == welcome["user"]


@pytest.mark.parametrize(("language", "program"), [("python", sys.executable), ("js", "node")])
async def test_the_examples(server: ServerProcess, language: str, program: str) -> None:
    """The programs of docs/auth.md make tokens that are taken, and that allow what they say."""
    if shutil.which(program) is None:
        pytest.skip(f"there is no {program} here")
    source = Page(ROOT / "docs" / "auth.md").code_blocks(language)[0]
    flag = "-c" if language == "python" else "-e"
    text = subprocess.run(
        [program, flag, source], check=True, capture_output=True, text=True, timeout=DEADLINE
    ).stdout.strip()
    async with server.connect(headers=bearer(text)) as client:
        assert (await says(client, room="lobby"))["from"] == "anna"
        assert (await answer_to(client, "join", room="team:x"))["event"] == "joined"
        assert is_refused(await says(client, room="team:x"), "forbidden_publish")
