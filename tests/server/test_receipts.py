"""Receipts: one ack or one nack for each message that asks, and never a false ack."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from redis import Redis
from websockets.asyncio.client import ClientConnection

from ..support.clients import running_server
from ..support.harness import (
    DEADLINE,
    RedisProcess,
    ServerProcess,
    StartServer,
    receive,
    receive_event,
)


@pytest.fixture(scope="module")
def server(shared_redis: RedisProcess) -> Iterator[ServerProcess]:
    with running_server(REDIS_URL=shared_redis.url) as server:
        yield server


async def receipt(client: ClientConnection, **message: Any) -> dict[str, Any]:
    """Send a message that asks for a receipt; return the receipt, whatever comes before it."""
    id = str(uuid4())
    await client.send(json.dumps({"data": "hello", **message, "id": id, "ack": True}))
    while True:
        received = await receive(client)
        if received["type"] == "system" and received["data"].get("id") == id:
            return dict(received["data"])


def subscriptions(redis: RedisProcess, room: str) -> int:
    with Redis(port=redis.port) as admin:
        [(_, count)] = admin.pubsub_numsub(f"realtime:room:{room}")
    return int(count)


@pytest.mark.parametrize("pods", [1, 2, 4])
async def test_numbers(start_server: StartServer, redis: RedisProcess, pods: int) -> None:
    """Members here, with oneself, and the other pods with members."""
    room = f"room-{uuid4()}"
    servers = [start_server("--single-process", REDIS_URL=redis.url) for _ in range(pods)]
    async with servers[0].connect(room) as sender, servers[0].connect(room):
        others = [await server.connect(room) for server in servers[1:]]
        answer = await receipt(sender)
        assert (answer["event"], answer["local"], answer["subscribers"]) == ("ack", 2, pods - 1)
        async with servers[0].connect(room, echo="0") as silent:
            answer = await receipt(silent)
            assert (answer["local"], answer["subscribers"]) == (2, pods - 1)
            answer = await receipt(silent, room=None)
            assert (answer["local"], answer["subscribers"]) == (2, pods - 1)
        with Redis(port=redis.port) as foreign, foreign.pubsub() as listener:
            listener.subscribe(f"realtime:room:{room}")
            listener.get_message(timeout=DEADLINE)
            assert (await receipt(sender))["subscribers"] == pods
        for client in others:
            await client.close()


async def test_what_asks(server: ServerProcess) -> None:
    """Only a message with an id may ask, and `ack` is true or false."""
    async with server.connect("asking") as client:
        for message, code in (
            ({"data": 1, "ack": True}, "bad_id"),
            ({"data": 1, "ack": "yes"}, "bad_message"),
            ({"data": 1, "ack": 1}, "bad_message"),
        ):
            await client.send(json.dumps(message))
            assert (await receive(client))["data"]["code"] == code
        await client.send(json.dumps({"data": "plain", "ack": False}))
        assert (await receive(client))["data"] == "plain"


async def test_what_is_refused_is_not_acknowledged(server: ServerProcess) -> None:
    """A message that goes nowhere has an error in the place of a receipt."""
    async with server.connect() as client:
        answer = await receipt(client, room="elsewhere")
        assert (answer["event"], answer["code"]) == ("error", "not_in_room")


async def ask(client: ClientConnection, count: int) -> list[str]:
    ids = [str(uuid4()) for _ in range(count)]
    for id in ids:
        await client.send(json.dumps({"data": "x", "id": id, "ack": True}))
    return ids


async def receipts(client: ClientConnection, ids: list[str]) -> Counter[tuple[str, str]]:
    """The kinds of the receipts of these messages, each of which has exactly one."""
    missing, kinds = set(ids), Counter[tuple[str, str]]()
    while missing:
        data = (await receive(client, timeout=60))["data"]
        if isinstance(data, dict) and data.get("event") in ("ack", "nack"):
            missing.remove(data["id"])
            kinds[data["event"], data.get("code", "")] += 1
    return kinds


async def test_redis_is_away(redis: RedisProcess, start_server: StartServer) -> None:
    """What does not fit, or waits too long, is a nack; what is sent when Redis is back an ack."""
    server = start_server(
        "--single-process",
        REDIS_URL=redis.url,
        CHAT_PUBLISH_QUEUE_MESSAGES="5",
        CHAT_PUBLISH_QUEUE_SECONDS="60",
    )
    async with server.connect("away", events="system", echo="0") as client:
        redis.kill()
        await receive_event(client, "degraded")
        ids = await ask(client, 8)
        kinds = Counter[tuple[str, str]]()
        while sum(kinds.values()) < 3:
            data = (await receive(client))["data"]
            if data["event"] == "nack":
                ids.remove(data["id"])
                kinds[data["event"], data["code"]] += 1
        assert kinds == {("nack", "unavailable"): 3}
        redis.start()
        assert await receipts(client, ids) == {("ack", ""): 5}


async def test_redis_is_killed_with_messages_under_way(
    redis: RedisProcess, start_server: StartServer
) -> None:
    """Whatever is not known to have been published is a nack, and each message has one receipt."""
    server = start_server("--single-process", REDIS_URL=redis.url, CHAT_PUBLISH_QUEUE_SECONDS="1")
    async with server.connect("killed", echo="0") as client:
        redis.signal(signal.SIGSTOP)
        ids = await ask(client, 200)
        assert (await receipt_or_none(client)) is None
        redis.kill()
        assert await receipts(client, ids) == {("nack", "unavailable"): 200}


async def receipt_or_none(client: ClientConnection) -> Any:
    """What the client gets while Redis stands still: nothing."""
    try:
        return await asyncio.wait_for(client.recv(), 0.5)
    except TimeoutError:
        return None


async def test_redis_refuses(redis: RedisProcess, start_server: StartServer) -> None:
    """A PUBLISH that Redis answers with an error is a nack."""
    with Redis(port=redis.port) as admin:
        admin.execute_command("ACL", "SETUSER", "chat", "on", ">secret", "~*", "+@all", "&*")
        server = start_server(
            "--single-process", REDIS_URL=redis.url.replace("//", "//chat:secret@")
        )
        async with server.connect("refused", echo="0") as client:
            assert (await receipt(client))["event"] == "ack"
            admin.execute_command("ACL", "SETUSER", "chat", "-publish")
            ids = await ask(client, 3)
            assert await receipts(client, ids) == {("nack", "unavailable"): 3}
