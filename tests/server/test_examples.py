"""The examples in the pages: what is shown is what is sent, and what a server answers."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from operator import itemgetter
from typing import Any
from uuid import UUID

import jwt
import pytest
from redis import Redis
from websockets.asyncio.client import ClientConnection

from ..support.clients import receive_data, running_server
from ..support.examples import example, shows
from ..support.harness import ROOT, RedisProcess, ServerProcess, receive, receive_event
from ..support.keys import SECRET
from ..support.markdown import Page, code
from ..support.messages import command

PRESENCE, PROTOCOL, RECEIPTS, ROOMS = (
    Page(ROOT / f"docs/{name}.md") for name in ("presence", "protocol", "receipts", "rooms")
)
COMMANDS = [
    pytest.param(code(row["sent"])[0], code(row["answered with `data`"])[0], id=row["sent"])
    for row in PROTOCOL.table("Commands")
]
ALLOW = ["join", "publish", "presence"]
RULES = [{"room": room, "allow": ALLOW} for room in ("kitchen", "lobby")]
RULES.append({"match": "team/*", "allow": ALLOW})


def token_of(user: str, **claims: Any) -> str:
    """A token that allows what the examples do, and not the room `secret`."""
    return jwt.encode({"sub": user, "rooms": RULES, **claims}, SECRET, algorithm="HS256")


def shown_in(page: Page) -> list[Any]:
    """Each line of the blocks of JSON in a page."""
    return [example(line) for block in page.code_blocks("json") for line in block.splitlines()]


@pytest.fixture(scope="module")
def server(shared_redis: RedisProcess) -> Iterator[ServerProcess]:
    settings = {"AUTH_ENABLED": "1", "AUTH_SECRET": SECRET}
    with running_server(REDIS_URL=shared_redis.url, **settings) as server:
        yield server


async def sends(client: ClientConnection, message: Any) -> dict[str, Any]:
    """What the server says next."""
    await client.send(json.dumps(message))
    return await receive(client)


@pytest.mark.parametrize(("sent", "answered"), COMMANDS)
async def test_commands(server: ServerProcess, sent: str, answered: str) -> None:
    """Each command in the table is answered as it says there."""
    command = example(sent)
    if "token" in command["data"]:
        command["data"]["token"] = token_of("anna")
    async with server.connect("kitchen", token=token_of("anna")) as client:
        assert shows(example(answered), (await sends(client, command))["data"])


async def test_several_rooms(server: ServerProcess) -> None:
    """One command joins several rooms, and has one answer, with an error for one of them."""
    join, joined, _ = shown_in(ROOMS)
    async with server.connect(token=token_of("anna")) as client:
        answer = (await sends(client, join))["data"]
        assert shows(joined, answer)
        assert answer["id"] == join["id"]


async def test_a_room_of_ones_own(server: ServerProcess, shared_redis: RedisProcess) -> None:
    """A user joins `@me`, is told its name, and is reached there from Redis."""
    *_, join = shown_in(ROOMS)
    assert "`auth0|5f7c` has the room `@auth0%7C5f7c`" in ROOMS.text
    for user, room in (("anna", "@anna"), ("auth0|5f7c", "@auth0%7C5f7c")):
        async with server.connect(token=token_of(user)) as client:
            assert (await sends(client, join))["data"] == {
                "event": "joined", "room": room, "id": None,
            }  # fmt: skip
            with Redis(port=shared_redis.port) as backend:
                backend.publish(f"realtime:room:{room}", '{"data": 1}')
            assert (await receive(client))["room"] == room


async def test_a_message(server: ServerProcess) -> None:
    """It comes with six keys in this order, whatever its sender has left out."""
    shown, _ = shown_in(PROTOCOL)
    async with server.connect("lobby", token=token_of("anna")) as client:
        got = await sends(client, {"data": shown["data"]})
    assert UUID(got["id"])
    assert len(got["timestamp"]) == len(shown["timestamp"])
    same = {"id": "…", "from": "…", "timestamp": "…"}
    assert shows(shown | same, got)


async def test_an_error(server: ServerProcess) -> None:
    """Bad input is answered with a system message."""
    _, shown = shown_in(PROTOCOL)
    async with server.connect("lobby", token=token_of("anna")) as client:
        await client.send("{")
        assert shows(shown, await receive(client))


async def test_receipts(redis: RedisProcess) -> None:
    """A message that asks has an ack, with the numbers of its room, or a nack."""
    message, ack, nack = shown_in(RECEIPTS)
    settings = {"REDIS_URL": redis.url, "CHAT_PUBLISH_QUEUE_SECONDS": "1"}
    with running_server(**settings) as here, running_server(**settings) as there:
        room = message["room"]
        async with (
            here.connect(room, events="system") as sender,
            here.connect(room),
            here.connect(room),
            there.connect(room),
        ):
            await sender.send(json.dumps(message))
            await receive_data(sender, message["data"])
            told = await receive_event(sender, "ack")
            assert shows(ack, told)
            assert told["id"] == message["id"]
            redis.kill()
            await receive_event(sender, "degraded")
            await sender.send(json.dumps(message))
            assert shows(nack, await receive_event(sender, "nack"))
            redis.start()


@pytest.fixture
def empty_server(shared_redis: RedisProcess) -> Iterator[ServerProcess]:
    """One in whose rooms nobody has been yet: who has just left is there for a moment longer."""
    settings = {"AUTH_ENABLED": "1", "AUTH_SECRET": SECRET, "CHAT_REDIS_PREFIX": "empty"}
    with running_server(REDIS_URL=shared_redis.url, **settings) as server:
        yield server


async def test_presence(empty_server: ServerProcess) -> None:
    """Who is in a room is told as it is shown, and asked for; then who has come and gone."""
    server = empty_server
    roster, changed = map(json.loads, PRESENCE.code_blocks("json"))
    [who] = map(json.loads, re.findall(r'`({.*"who".*})`', PRESENCE.text))
    anna, bert = roster["members"]
    [carl], [gone] = changed["joined"], changed["left"]
    tokens = {
        one["user"]: token_of(one["user"], info=one.get("info", {})) for one in (anna, bert, carl)
    }
    room = who["data"]["room"]
    async with server.connect(room, token=tokens[anna["user"]]) as watcher:
        async with (
            server.connect(room, token=tokens[bert["user"]]),
            server.connect(room, token=tokens[bert["user"]]),
        ):
            await watcher.send(command("join", room=room, presence=True))
            told = await receive_event(watcher, "roster")
            told["members"].sort(key=itemgetter("user"))
            assert shows(roster | {"seq": told["seq"]}, told)
        seq, found = told["seq"], {"joined": [], "left": [], "updated": []}
        async with server.connect(room, token=tokens[carl["user"]]):
            while not (found["joined"] and found["left"]):
                seq, told = seq + 1, await receive_event(watcher, "changed")
                assert (list(told), told["seq"]) == (list(changed), seq)
                for key, users in found.items():
                    users.extend(told[key])
        assert found == {key: changed[key] for key in found}
        assert (told["users"], told["sessions"]) == (changed["users"], changed["sessions"])
        await watcher.send(json.dumps(who))
        assert (await receive_event(watcher, "roster"))["members"] == [anna, carl]
        assert gone in found["left"]


def test_a_page_of_ones_own(shared_redis: RedisProcess) -> None:
    """The script in README gets what it sends."""
    node = ("node", "--experimental-websocket", "-e")
    if shutil.which("node") is None or subprocess.run([*node, ""]).returncode:
        pytest.skip("there is no node with WebSockets here")
    [script] = Page(ROOT / "README.md").code_blocks("js")
    with running_server(REDIS_URL=shared_redis.url) as server:
        script = script.replace("127.0.0.1:8000", f"127.0.0.1:{server.port}")
        with subprocess.Popen([*node, script], stdout=subprocess.PIPE, text=True) as page:
            assert page.stdout is not None
            assert page.stdout.readline() == "hello\n"
            page.terminate()
