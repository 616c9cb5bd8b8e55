"""What a Redis user may do is what its server's clients can: no more is lost than is forbidden."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import redis
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import InvalidStatus

from sanic_chat.websocket.frames import CloseCode
from sanic_chat.websocket.handshake import SUBPROTOCOL

from ..support.clients import RawClient, receive_data, running_server
from ..support.frames import client_frame
from ..support.harness import (
    DEADLINE,
    ROOT,
    RedisProcess,
    ServerProcess,
    eventually,
    receive,
)
from ..support.servers import PROGRAMS, program_name

PASSWORD = "correct-horse"
DOCUMENTED = re.findall(r"^ACL SETUSER .*$", (ROOT / "docs/redis.md").read_text(), re.MULTILINE)

ALL = "&realtime:*"
OPEN = ("&realtime:global", "&realtime:control", "&realtime:pod:*", "&realtime:room:open*")


@pytest.fixture(scope="module", params=PROGRAMS, ids=program_name)
def acl_redis(request: pytest.FixtureRequest) -> Iterator[RedisProcess]:
    """A Redis with a user that has the smallest ACL that works, as documented."""
    [command] = DOCUMENTED
    with closing(RedisProcess(program=request.param)) as process:
        process.start()
        with redis.Redis(port=process.port) as admin:
            words = command.replace(">password", f">{PASSWORD}").split()
            admin.execute_command("ACL SETUSER", *words[2:])
        yield process


@pytest.fixture(scope="module")
def server(acl_redis: RedisProcess) -> Iterator[ServerProcess]:
    url = f"redis://sanic_chat:{PASSWORD}@127.0.0.1:{acl_redis.port}"
    with running_server(REDIS_URL=url, CHAT_PROOF_INTERVAL="0.2") as server:
        yield server


@pytest.fixture
def admin(acl_redis: RedisProcess) -> Iterator[redis.Redis]:
    """A user that may do everything; what it forbids is allowed again at the end."""
    with redis.Redis(port=acl_redis.port, decode_responses=True) as admin:
        yield admin
        allow(admin, ALL)


def allow(admin: redis.Redis, *channels: str) -> None:
    """Allow the server these channels. Redis ends connections that have subscribed to others."""
    admin.execute_command("ACL SETUSER", "sanic_chat", "resetchannels", *channels)


async def command(client: ClientConnection, action: str, room: str, id: str) -> None:
    data = {"action": action, "room": room}
    await client.send(json.dumps({"type": "system", "id": id, "data": data}))


async def answer(client: ClientConnection) -> dict[str, Any]:
    """What the server says of its own accord next."""
    message = await receive(client)
    assert message["type"] == "system", message
    data: dict[str, Any] = message["data"]
    return data


def id_of(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012}"


async def connected(server: ServerProcess) -> int:
    """How often the pod has connected anew; it is connected."""

    def subscribed() -> dict[str, Any]:
        pod = server.pod()
        return pod if pod["ready"] else {}

    pod = await eventually(subscribed, "the pod is ready")
    reconnects: int = pod["redis"]["reconnects"]
    return reconnects


async def test_the_smallest_acl(server, admin):
    """With what is documented, and no more, all works; what is withheld is said once."""
    reconnects = await connected(server)
    async with server.connect("open", events="presence") as client:
        assert admin.publish("realtime:room:open", '{"data": "from outside"}') == 1
        await receive_data(client, "from outside")
        with admin.pubsub() as listener:
            listener.subscribe("realtime:room:open")
            assert listener.get_message(timeout=DEADLINE)["type"] == "subscribe"
            await client.send('{"data": "from inside"}')
            assert '"from inside"' in listener.get_message(timeout=DEADLINE)["data"]
        await command(client, "join", "kitchen", id_of(1))
        assert await receive_data(client, {"event": "joined", "room": "kitchen", "id": id_of(1)})

    async def complete() -> bool:
        return bool(server.stats()["complete"])

    await eventually(complete, "the stats are complete")
    assert await connected(server) == reconnects
    for withheld in ("PING", "CLIENT SETNAME"):
        for link in ("subscriber", "publisher"):
            assert len(re.findall(rf":{link}\) refuses {withheld}: NOPERM", server.log)) == 1


async def test_a_forbidden_room_refuses_its_join_only(server, admin):
    """Whoever asks for it is told, and is not in; others, in the same command to Redis, are."""
    allow(admin, *OPEN)
    reconnects = await connected(server)
    names = ["open-1", "secret-1", "open-2", "secret-2", "open-3"]
    async with server.connect() as client, server.connect("open-4") as other:
        for number, name in enumerate(names):
            await command(client, "join", name, id_of(number))
        for number, name in enumerate(names):
            told = await answer(client)
            if name.startswith("open"):
                assert told == {"event": "joined", "room": name, "id": id_of(number)}
            else:
                assert (told["event"], told["code"]) == ("error", "forbidden_room")
                assert told["id"] == id_of(number)
        await client.send(json.dumps({"id": id_of(9), "room": "secret-1", "data": "hello?"}))
        told = await answer(client)
        assert (told["code"], told["id"]) == ("not_in_room", id_of(9))
        for name in ("open-1", "open-2", "open-3"):
            assert admin.publish(f"realtime:room:{name}", json.dumps({"data": name})) == 1
            await receive_data(client, name)
        admin.publish("realtime:room:open-4", '{"data": "still here"}')
        await receive_data(other, "still here")
    assert await connected(server) == reconnects


async def test_the_rooms_of_who_was_refused(server, admin):
    """Whoever asks for them behind a join that Redis refuses is not told of that room."""
    allow(admin, *OPEN)
    await connected(server)
    names = ["open-1", "secret-1", "open-2"]
    joins = {"action": "join", "rooms": names}, {"action": "join", "room": names[1]}
    asked = [joins[0], {"action": "rooms"}, joins[1]]
    async with server.connect() as client:
        # All in one packet, or Redis may answer in between.
        texts = [json.dumps({"type": "system", "data": each}).encode() for each in asked]
        client.transport.write(b"".join(client_frame(0x81, text) for text in texts))
        told = [await answer(client) for _ in asked]
        assert [each["event"] for each in told] == ["joined", "rooms", "error"]
        assert told[1]["rooms"] == ["open-1", "open-2"]


@pytest.mark.parametrize("query", [{}, {"events": "presence"}], ids=["plain", "presence"])
async def test_a_handshake_into_a_forbidden_room(server, admin, query):
    """It is answered 403, or 101 and 4403, with a sentence; nothing of it stays on Redis."""
    allow(admin, *OPEN)
    reconnects = await connected(server)
    with pytest.raises(InvalidStatus) as refused:
        await server.connect("secret", **query)
    response = refused.value.response
    assert response.status_code == 403
    body = json.loads(response.body)
    assert body["code"] == "forbidden_room"
    assert "Redis" in body["message"]
    async with RawClient(server) as page:
        status, _, _ = await page.request("/ws/secret", Sec_WebSocket_Protocol=SUBPROTOCOL)
        assert (status, (await page.frame())[0]) == (101, 1)
        assert await page.close_code() == CloseCode.FORBIDDEN
    await eventually(
        lambda: not admin.pubsub_channels("realtime:*:secret"), "nothing is subscribed to"
    )
    assert await connected(server) == reconnects
    assert server.pod()["upgrades_refused"]["forbidden_room"] >= 2


async def test_a_permission_that_is_withdrawn(server, admin):
    """The members of a room that Redis no longer allows leave it and are told; others stay."""
    await connected(server)
    async with server.connect("secret") as inside, server.connect("open") as outside:
        allow(admin, *OPEN)
        told = await answer(inside)
        assert (told["event"], told["code"], told["id"]) == ("error", "forbidden_room", None)
        assert told["room"] == "secret"
        await inside.send(json.dumps({"data": "anybody?"}))
        assert (await answer(inside))["code"] == "not_in_room"
        await connected(server)
        admin.publish("realtime:room:open", '{"data": "still here"}')
        await receive_data(outside, "still here")
        allow(admin, ALL)
        await command(inside, "join", "secret", id_of(1))
        assert (await answer(inside))["event"] == "joined"
        admin.publish("realtime:room:secret", '{"data": "back"}')
        await receive_data(inside, "back")


async def test_what_every_pod_needs_is_forbidden(server, admin):
    """Without its own channel a pod is not ready, says why, and is again as soon as it may."""
    await connected(server)
    for missing in ("&realtime:global", "&realtime:control", "&realtime:pod:*"):
        allow(admin, *(channel for channel in OPEN if channel != missing))

        def refuses() -> bool:
            return "NOPERM" in why_unready(server)

        await eventually(refuses, "/ready says what Redis says")
        allow(admin, ALL)
        await connected(server)


def why_unready(server: ServerProcess) -> str:
    """Code and sentence of /ready's 503."""
    body: dict[str, str] = server.get("/ready").json()
    return f"{body.get('code')}: {body.get('message')}"
