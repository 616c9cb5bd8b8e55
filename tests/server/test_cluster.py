"""Pods on one Redis: what crosses, exactly once and in order, and what stands on Redis."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest
import redis.asyncio
from websockets.asyncio.client import ClientConnection

from ..support.clients import RawClient, on_pods, receive_until, running_server
from ..support.frames import client_frame
from ..support.harness import (
    DEADLINE,
    RedisProcess,
    ServerProcess,
    eventually,
    receive,
    receive_event,
)

GLOBAL = "realtime:global"
UNSUBSCRIBE_DELAY = 0.2
SLOW_CONSUMER_MESSAGES = 400
"""Of 30 KB each: more than the kernel and a send queue take for a client."""


@pytest.fixture(scope="module")
def server(shared_redis: RedisProcess) -> Iterator[ServerProcess]:
    """Two workers; the other server of the same cluster is `other_server`."""
    with running_server(
        workers=2,
        REDIS_URL=shared_redis.url,
        POD_ID="one",
        CHAT_UNSUBSCRIBE_DELAY=str(UNSUBSCRIBE_DELAY),
        CHAT_ROOMS_PER_SESSION="1000",
    ) as server:
        yield server


@pytest.fixture(scope="module")
def other_server(shared_redis: RedisProcess) -> Iterator[ServerProcess]:
    with running_server(REDIS_URL=shared_redis.url, POD_ID="two") as server:
        yield server


@pytest.fixture
async def outside(shared_redis: RedisProcess) -> AsyncIterator[redis.asyncio.Redis]:
    """A Redis client that is no pod."""
    async with redis.asyncio.Redis(port=shared_redis.port) as client:
        yield client


@pytest.fixture
async def crowd(
    server: ServerProcess, other_server: ServerProcess, room: str
) -> AsyncIterator[list[ClientConnection]]:
    """Three clients in one room, one on each pod of two servers."""
    async with on_pods(server, 2, room) as two, on_pods(other_server, 1, room) as one:
        yield [*two, *one]


# -- what crosses ----------------------------------------------------------------------------


async def test_everybody_receives_each_once(crowd, server, other_server, room):
    """What any pod's client sends, each client on each pod receives once, in its sender's order."""
    async with server.connect(f"not-{room}") as stranger, other_server.connect() as nowhere:
        for number in range(30):
            for index, client in enumerate(crowd):
                target = {"room": None} if number % 2 else {}
                await client.send(json.dumps({"data": [room, index, number], **target}))
        for client in crowd:
            received = [(await receive(client))["data"] for _ in range(90)]
            for index in range(3):
                own = [number for _, sender, number in received if sender == index]
                assert own == list(range(30))
        for client in (stranger, nowhere):
            received = [await receive(client) for _ in range(45)]
            assert {message["room"] for message in received} == {None}
            assert {message["data"][2] % 2 for message in received} == {1}


async def test_message_is_the_same_everywhere(crowd):
    """Every pod delivers the very same bytes."""
    await crowd[0].send('{"data": {"b" :1, "a": 1.50}}')
    texts = {await client.recv() for client in crowd}
    assert len(texts) == 1
    assert '"data":{"b" :1, "a": 1.50},' in texts.pop()


async def test_ten_thousand_messages(server, room):
    """Of 10 000 messages between two workers, room and global, none is lost, doubled or late."""
    each = 5_000

    async def send(client: ClientConnection, name: str) -> None:
        for number in range(each):
            target = ', "room": null' if number % 2 else ""
            await client.send(f'{{"data": ["{name}", {number}]{target}}}')
            if number % 100 == 99:
                await progress[name].acquire()

    async def read(client: ClientConnection, name: str) -> list[tuple[str, int, str | None]]:
        received = []
        while len(received) < 2 * each:
            message = await receive(client)
            sender, number = message["data"]
            received.append((sender, number, message["room"]))
            if sender != name and number % 100 == 99:
                progress[sender].release()  # at most 200 of each are on their way
        return received

    progress = {"a": asyncio.Semaphore(2), "b": asyncio.Semaphore(2)}
    async with on_pods(server, 2, room) as (a, b):
        read_a, read_b, *_ = await asyncio.gather(
            read(a, "a"), read(b, "b"), send(a, "a"), send(b, "b")
        )
    expected = [(number, None if number % 2 else room) for number in range(each)]
    for received in (read_a, read_b):
        for sender in "ab":
            assert [(n, r) for s, n, r in received if s == sender] == expected


# -- what stands on Redis --------------------------------------------------------------------


@pytest.mark.parametrize("everybody", [False, True], ids=["room", "global"])
async def test_envelope(crowd, outside, room, everybody):
    """An envelope is the message with pod_id as its first key, on its room's channel."""
    channel = GLOBAL if everybody else f"realtime:room:{room}"
    async with outside.pubsub() as listener:
        await listener.subscribe(channel)
        assert (await listener.get_message(timeout=DEADLINE))["type"] == "subscribe"
        await crowd[0].send(json.dumps({"data": room, **({"room": None} if everybody else {})}))
        text = await crowd[0].recv()
        envelope = (await listener.get_message(timeout=DEADLINE))["data"].decode()
    head = re.match(r'\{"pod_id":"(one-[0-9a-f]{8})",', envelope)
    assert head
    assert "{" + envelope[head.end() :] == text


async def test_foreign_minimal_message(crowd, outside, room):
    """What is published by hand reaches each client once; each pod fills in missing keys."""
    ids = set()
    assert await outside.publish(f"realtime:room:{room}", '{"data":{"text":"hi"}}') == 3
    await outside.publish(GLOBAL, json.dumps({"data": room}))
    for client in crowd:
        message = json.loads(await client.recv())
        assert list(message) == ["id", "type", "room", "from", "data", "timestamp"]
        assert message["type"] == "notification"
        assert message["from"] == "server"
        assert message["room"] == room
        assert message["data"] == {"text": "hi"}
        assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7.*", message["id"])
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", message["timestamp"])
        ids.add(message["id"])
        following = await receive(client)
        assert (following["room"], following["data"]) == (None, room)
    assert len(ids) == 3


async def test_foreign_full_message(crowd, outside, room):
    """Keys that are published by hand are kept, except the room, which the channel decides."""
    message = {
        "pod_id": "elsewhere",
        "id": str(uuid4()),
        "type": "presence",
        "room": "another",
        "from": "robot \u00e9",
        "data": None,
        "timestamp": "2026-02-05T00:00:00+01:00",
    }
    await outside.publish(f"realtime:room:{room}", json.dumps(message))
    expected = {**message, "room": room}
    del expected["pod_id"]
    for client in crowd:
        assert await receive(client) == expected


RUBBISH = [
    b"",
    b"nope",
    b"\xff\xfe",
    b"[]",
    b"null",
    b"{}",
    b'{"data": NaN}',
    b'{"data": "\xff"}',
    b'{"data": 1, "type": "shout"}',
    b'{"data": 1, "id": "x\\"y"}',
    b'{"data": 1, "timestamp": "now"}',
    b'{"data": 1, "from": {}}',
    b'{"data": 1, "from": "%b"}' % (b"x" * 257),
    b'{"data": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    b'{"data": "%b"}' % (b"x" * 100_000),
]


async def test_rubbish_on_redis(other_server, outside, room):
    """What cannot be read is counted, logged about once a second, and harms nobody."""
    rounds = 0
    log_before = len(other_server.log)

    def dropped() -> int:
        return other_server.pod()["messages_dropped"].get("bad_envelope", 0)

    def logged() -> int:
        return other_server.log[log_before:].count("Dropped")

    before = dropped()
    async with other_server.connect(room) as client:
        started = asyncio.get_running_loop().time()
        while rounds < 20 or not logged():
            assert asyncio.get_running_loop().time() - started < DEADLINE
            rounds += 1
            for rubbish in RUBBISH:
                await outside.publish(f"realtime:room:{room}", rubbish)
        await outside.publish(f"realtime:room:{room}", '{"data": "end"}')
        assert await receive_until(client, "end") == []
        seconds = asyncio.get_running_loop().time() - started

    expected = before + rounds * len(RUBBISH)
    await eventually(lambda: dropped() == expected, "all rubbish is counted")
    assert logged() <= seconds + 2
    assert "Traceback" not in other_server.log


async def test_own_pod_id_is_an_echo(other_server, outside, room):
    """An envelope with a pod's own ID is dropped by that pod, however it is written."""

    def echoes() -> int:
        return other_server.pod()["redis"]["echoes_dropped"]

    async with other_server.connect(room, events="system") as client:
        pod_id = (await receive_event(client, "welcome"))["pod_id"]
        before = echoes()
        for text in (
            json.dumps({"pod_id": pod_id, "data": "echo"}, separators=(",", ":")),
            json.dumps({"data": "echo", "pod_id": pod_id}),
        ):
            await outside.publish(f"realtime:room:{room}", text)
        await outside.publish(f"realtime:room:{room}", '{"data": "end"}')
        assert await receive_until(client, "end") == []
        await eventually(lambda: echoes() >= before + 2, "both are counted")


# -- subscriptions ---------------------------------------------------------------------------


async def test_101_means_subscribed(server, outside, room):
    """What is published right after the 101 of a fresh room arrives."""
    for number in range(200):
        name = f"{room}-{number}"
        async with server.connect(name) as client:
            assert await outside.publish(f"realtime:room:{name}", f'{{"data": {number}}}') == 1
            assert (await receive(client))["data"] == number


async def test_joined_means_subscribed(server, outside, room):
    """What is published right after the reply to a join arrives."""
    async with server.connect() as client:
        for number in range(50):
            name = f"{room}-{number}"
            await client.send(
                json.dumps({"type": "system", "data": {"action": "join", "room": name}})
            )
            assert (await receive(client))["data"]["event"] == "joined"
            await outside.publish(f"realtime:room:{name}", f'{{"data": {number}}}')
            assert (await receive(client))["data"] == number


async def subscribers(outside: redis.asyncio.Redis, room: str) -> int:
    [(_, count)] = await outside.pubsub_numsub(f"realtime:room:{room}")
    return count


async def test_last_leave_unsubscribes(server, outside, room):
    """A room stays subscribed while it has a member, and not much longer."""
    async with server.connect(room) as first:
        async with server.connect(room):
            pass
        await first.send('{"data": 1}')
        await receive(first)
        assert await subscribers(outside, room) >= 1

    async def gone() -> bool:
        return await subscribers(outside, room) == 0

    await eventually(gone, "the room is unsubscribed")


async def test_quick_rejoin_keeps_the_subscription(other_server, outside, room):
    """A room whose last member comes back at once is never unsubscribed in between."""
    sentinel = f"sentinel-{room}"
    async with outside.monitor() as monitor:
        for _ in range(5):
            async with other_server.connect(room):
                pass
        async with other_server.connect(room) as client:
            await outside.publish(f"realtime:room:{room}", '{"data": "end"}')
            assert (await receive(client))["data"] == "end"
            await outside.get(sentinel)
            commands = []
            async for command in monitor.listen():
                if sentinel in command["command"]:
                    break
                if room in command["command"]:
                    commands.append(command["command"].split()[0].upper())
    assert commands.count("SUBSCRIBE") == 1
    assert "UNSUBSCRIBE" not in commands


async def test_flapping_room_keeps_its_members(server, outside, room):
    """While clients come and go around the unsubscribe delay, no member misses a message."""
    for number in range(8):
        async with server.connect(room) as client:
            marker = f"{number}"
            await outside.publish(f"realtime:room:{room}", json.dumps({"data": marker}))
            assert (await receive(client))["data"] == marker
        await asyncio.sleep(UNSUBSCRIBE_DELAY * number / 4)


async def test_closed_while_joining(server, outside, room):
    """A slow consumer that is closed in the moment in which it joins leaves no subscription."""
    chat = client_frame(0x81, json.dumps({"data": "x" * 30_000}).encode())
    async with RawClient(server, receive_buffer=4096) as client:
        await client.request(f"/ws/{room}")
        for number in range(SLOW_CONSUMER_MESSAGES):
            join = {"type": "system", "data": {"action": "join", "room": f"{room}-{number}"}}
            client.send(chat + client_frame(0x81, json.dumps(join).encode()))
            await client.writer.drain()
        assert await client.close_code() == 1013

    async def none_left() -> bool:
        return not await outside.pubsub_channels(f"realtime:room:{room}*")

    await eventually(none_left, "all its rooms are given up")
