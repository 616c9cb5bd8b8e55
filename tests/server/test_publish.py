"""`POST /publish`: messages of backends reach who they are for, once, and the truth is told."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest

from ..support.backend import SECRET, SECRETS, WITH_API, Backend, backend
from ..support.clients import RawClient, on_pods, receive_data, receive_until, running_server
from ..support.dialogue import answer_to
from ..support.harness import SLOW, RedisProcess, ServerProcess, eventually, receive, wait_until

UNTOUCHED = b'{"a" :  [1.0, "\\u00e9"],\t"a":{"b":null}}'
"""JSON that no encoder writes so."""


@pytest.fixture(scope="module")
def server(shared_redis: RedisProcess) -> Iterator[ServerProcess]:
    """Two pods."""
    with running_server(
        "--access-logs",
        workers=2,
        REDIS_URL=shared_redis.url,
        **WITH_API,
        CHAT_LOG_LEVEL="debug",
    ) as server:
        yield server


@pytest.fixture(scope="module")
def other(shared_redis: RedisProcess) -> Iterator[ServerProcess]:
    """A third pod, at a URL of its own."""
    with running_server(REDIS_URL=shared_redis.url, **WITH_API) as server:
        yield server


async def test_a_room(server, room):
    """Its members on every pod get the message, and it travels byte for byte."""
    async with on_pods(server, 2, room) as clients, backend(server.http) as program:
        answer = await program.post(
            "/publish", b'{"room":"%b","from":"billing","data":%b}' % (room.encode(), UNTOUCHED)
        )
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
        told = answer.json()
        assert told["subscribers"] == 2
        for client in clients:
            text = await client.recv()
            assert isinstance(text, str)
            assert b'"data":%b,"timestamp"' % UNTOUCHED in text.encode()
            message = json.loads(text)
            assert list(message) == ["id", "type", "room", "from", "data", "timestamp"]
            assert (message["id"], message["room"]) == (told["id"], room)
            assert (message["type"], message["from"]) == ("notification", "billing")


async def test_rooms_users_and_everybody(server, room):
    """Each target gets what is for it, and a message for several rooms has one ID."""
    async with (
        server.connect(f"{room}-a") as a,
        server.connect(f"{room}-b") as b,
        server.connect(events="system") as c,
        backend(server.http) as program,
    ):
        user = (await receive(c))["data"]["user"]
        await answer_to(c, "join", room="@me")
        body = [
            {"rooms": [f"{room}-a", f"{room}-b"], "data": "both"},
            {"user": user, "data": "to one", "type": "chat"},
            {"global": True, "data": room},
        ]
        told = (await program.post("/publish", body)).json()
        assert [one["subscribers"] for one in told[:2]] == [2, 1]
        for client in (a, b):
            message = await receive(client)
            assert (message["data"], message["id"]) == ("both", told[0]["id"])
            await receive_data(client, room)
        message = await receive(c)
        assert (message["data"], message["type"]) == ("to one", "chat")
        assert message["room"] == f"@{user}"
        await receive_data(c, room)


async def test_order(server, room):
    """Messages of one request, and of one after the other, keep their order."""
    async with server.connect(room) as client, backend(server.http) as program:
        for start in range(0, 300, 100):
            numbers = range(start, start + 100)
            body = [{"room": room, "data": number} for number in numbers]
            assert len((await program.post("/publish", body)).json()) == 100
        assert [(await receive(client))["data"] for _ in range(300)] == [*range(300)]


async def test_an_id_twice(server, other, room):
    """A retry publishes nothing, whichever pod gets it and however soon."""
    ids = [str(uuid4()) for _ in range(100)]
    async with (
        on_pods(server, 2, room) as clients,
        backend(server.http) as one,
        backend(other.http) as two,
    ):

        async def publish(program: Backend, id: str) -> tuple[int, bool]:
            answer = await program.publish(id, room=room, id=id)
            assert answer.json()["id"] == id
            return answer.status_code, answer.json().get("duplicate", False)

        for id in ids:
            outcomes = await asyncio.gather(publish(one, id), publish(two, id.upper()))
            assert sorted(outcomes) == [(200, False), (200, True)]
        await one.publish("the end", room=room)
        for client in clients:
            messages = await receive_until(client, "the end")
            assert [message["data"].lower() for message in messages] == ids


async def test_it_counts(server, other, room):
    """Messages that went out are in the stats of the pod that took them; duplicates are not."""
    async with backend(other.http) as program:
        before = other.pod()["messages_published"]
        id = str(uuid4())
        for _ in range(3):
            assert (await program.publish(1, rooms=[room, f"{room}-b"], id=id)).status_code == 200
        await program.publish(1, room=room)
        wait_until(lambda: other.pod()["messages_published"] == before + 3, "three are counted")


async def test_keys_in_no_log(server):
    """Whatever is done with a secret, the log does not show it."""
    async with backend(server.http, SECRETS["read"]) as reader:
        assert (await reader.publish(1, room="a")).status_code == 403
    async with backend(server.http, SECRETS["publish"]) as program:
        assert (await program.publish(1, room="a")).status_code == 200
        assert (await program.post("/publish", b"{")).status_code == 400
        assert (await program.get("/rooms", key=SECRET, secret=SECRET)).status_code == 403
    assert "POST" in server.log, "it is a log of all requests"
    assert not [secret for secret in (SECRET, *SECRETS.values()) if secret in server.log]


async def test_redis_is_away(start_server, redis, room):
    """It is 503 at once, or within two seconds if nobody knows; and then all is well again."""
    server = start_server(
        "--single-process", REDIS_URL=redis.url, CHAT_REDIS_TIMEOUT="60", **WITH_API
    )

    async def refused(program: Backend, code: str) -> None:
        began = time.monotonic()
        answer = await program.publish(1, room=room)
        assert time.monotonic() - began < 2 * SLOW
        assert (answer.status_code, answer.json()["code"]) == (503, code)
        assert answer.headers["retry-after"] == "2"

    async with server.connect(room) as client, backend(server.http) as program:
        redis.signal(signal.SIGSTOP)
        await refused(program, "unconfirmed")
        many = await program.post("/publish", [{"room": room, "data": 2}] * 2)
        assert (many.status_code, many.headers["retry-after"]) == (503, "2")
        assert [one["error"]["code"] for one in many.json()] == ["unconfirmed"] * 2
        redis.kill()
        wait_until(lambda: not server.stats()["complete"], "the server knows")
        await refused(program, "unavailable")
        redis.start()

        async def is_back() -> bool:
            return (await program.publish("again", room=room)).status_code == 200

        await eventually(is_back, "backends may publish again")
        await receive_data(client, "again")


async def test_a_body_that_is_too_large_to_be_read(server):
    """It is refused by its length, before a byte of it is there; without a key for want of one."""
    for secret, status in ((SECRET, 413), ("x" * 32, 401)):
        async with RawClient(server) as client:
            head = f"POST /api/chat-api/publish HTTP/1.1\r\nHost: h\r\nContent-Length: {10**9}"
            client.send(f"{head}\r\nAuthorization: Bearer {secret}\r\n\r\n".encode())
            answered, headers, _ = await client.answer()
            assert (answered, headers["connection"]) == (status, "close")


def test_without_keys(start_server, shared_redis):
    """There is no API, which is told; and never one at the root."""
    server = start_server("--single-process", REDIS_URL=shared_redis.url)
    root = f"http://127.0.0.1:{server.port}"
    for url, code in ((f"{server.http}/publish", "no_api_keys"), (f"{root}/publish", "not_found")):
        answer = httpx.post(url, json={"room": "a", "data": 1})
        assert (answer.status_code, answer.json()["code"]) == (404, code)


def test_not_at_the_root(server):
    answer = httpx.post(f"http://127.0.0.1:{server.port}/publish", json={"room": "a", "data": 1})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
