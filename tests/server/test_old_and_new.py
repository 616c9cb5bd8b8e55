"""A pod of another version on the same Redis: messages cross, and clients see nothing strange.

What the other one publishes, hears and keeps on Redis is data here: recorded from a pod of revision
00a322b, of November 2026, as it stood on the wire; and its rules for what it reads, as they were.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from ..support.clients import running_server
from ..support.harness import (
    DEADLINE,
    RedisProcess,
    ServerProcess,
    StartServer,
    eventually,
    receive_event,
)
from ..support.rosters import Watcher

POD_ID = "old-019e4e6f"
CLIENT = "01a21d09-b7b2-7659-b643-1e6818b24b00"

PUBLISHED = [
    (
        b"realtime:presence:lobby",
        '{"pod_id":"old-019e4e6f","id":"01a21d09-b7b3-7695-b4e9-bb2604c06400","type":"presence",'
        f'"room":"lobby","from":"{CLIENT}","data":{{"event":"joined"}},'
        '"timestamp":"2026-11-27T12:45:05.843Z"}',
    ),
    (
        b"realtime:room:lobby",
        '{"pod_id":"old-019e4e6f","id":"11111111-1111-4111-8111-111111111111","type":"chat",'
        f'"room":"lobby","from":"{CLIENT}","data":'
        r'{"text": "h\u00e9llo \u2603 </script>", "n": [1, 2.5, 1000.0]},'
        '"timestamp":"2026-11-27T12:45:07.378Z"}',
    ),
    (
        b"realtime:room:lobby",
        '{"pod_id":"old-019e4e6f","id":"01a21d09-c1f6-7327-8bf0-2554c2baeb00","type":"presence",'
        f'"room":"lobby","from":"{CLIENT}","data":"typing","timestamp":"2026-11-27T12:45:08.470Z"}}',
    ),
    (
        b"realtime:room:lobby",
        '{"pod_id":"old-019e4e6f","id":"01a21d09-c1fe-70f1-b768-64d401f57100",'
        f'"type":"notification","room":"lobby","from":"{CLIENT}","data":"typing",'
        '"timestamp":"2026-11-27T12:45:08.478Z"}',
    ),
    (
        b"realtime:global",
        '{"pod_id":"old-019e4e6f","id":"01a21d09-c5f6-72b8-a333-ab69ad666800","type":"chat",'
        '"room":null,"from":"01a21d09-c5ee-72b2-865b-81ac06469600","data":null,'
        '"timestamp":"2026-11-27T12:45:09.494Z"}',
    ),
    (
        b"realtime:presence:lobby",
        '{"pod_id":"old-019e4e6f","id":"01a21d09-ca36-771a-b693-6ee8f34adf00","type":"presence",'
        f'"room":"lobby","from":"{CLIENT}","data":{{"event":"left"}},'
        '"timestamp":"2026-11-27T12:45:10.582Z"}',
    ),
]
"""What the old pod published, in this order: a join, three messages, a global one, a leave."""

REPORT = (
    '{"pod_id":"old-019e4e6f","worker":"single-process","host":"vm","pid":3875,'
    '"uptime_seconds":7.7,"ready":true,"draining":false,"connections":2,"max_connections":0,'
    '"handshakes":0,"upgrades_refused":{},"rooms":1,"messages_in":4,"messages_out":11,'
    '"messages_published":7,"messages_dropped":{},"backlog":{"bytes":0,"held":0,"holds":0},'
    '"send_queues":{"clients":0,"bytes":0},"heartbeat_timeouts":0,"redis":{"subscriber":"up",'
    '"publisher":"up","subscribed":true,"channels":4,"reconnects":0,"waiting_to_publish":0,'
    '"echoes_dropped":7,"proof_age_seconds":0.593,"proof_round_trip_ms":6.566,'
    '"proofs_failed":0},"largest_rooms":{"lobby":1},"room_sample":{"level":0,'
    '"hashes":[60775336015397]}}'
)

HEARD = ("realtime:global", "realtime:room:*", "realtime:presence:*")
"""The channels that it subscribed to, besides its own."""


class OldEnvelope(msgspec.Struct):
    """The rule by which it read an envelope; what else there is in one it ignored."""

    data: msgspec.Raw
    pod_id: str = ""
    id: str = ""
    type: str = "notification"
    sender: str = msgspec.field(name="from", default="server")
    timestamp: str = ""


OLD_TYPES = {"chat", "presence", "notification", "system"}
OLD_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
OLD_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII)


def read_as_the_old_one(payload: bytes) -> OldEnvelope:
    """An envelope that the old pod would not drop."""
    envelope = msgspec.json.decode(payload, type=OldEnvelope)
    assert envelope.type in OLD_TYPES
    assert OLD_ID.fullmatch(envelope.id)
    assert OLD_TIMESTAMP.fullmatch(envelope.timestamp)
    assert len(envelope.sender) <= 256
    return envelope


@pytest.fixture(scope="module")
def server(own_redis: RedisProcess) -> Iterator[ServerProcess]:
    with running_server(REDIS_URL=own_redis.url) as server:
        yield server


@pytest.fixture
async def redis(own_redis: RedisProcess) -> AsyncIterator[Redis]:
    async with Redis(port=own_redis.port) as client:
        yield client


async def test_what_the_old_one_says(server: ServerProcess, redis: Redis) -> None:
    """Clients here get its messages byte for byte; of its joins and leaves nothing is known."""
    dropped = server.pod()["messages_dropped"]
    async with server.connect("lobby", events="system,presence") as client:
        await receive_event(client, "roster")
        for channel, payload in PUBLISHED:
            await redis.publish(channel, payload)
        await redis.publish(f"realtime:pod:{POD_ID}", "proof-4")
        await redis.publish("realtime:global", '{"data":"the end"}')
        received = []
        async with asyncio.timeout(DEADLINE):
            while '"the end"' not in (text := str(await client.recv())):
                received.append(text)
    head = f'{{"pod_id":"{POD_ID}",'
    said = [payload for channel, payload in PUBLISHED if b":presence:" not in channel]
    assert sorted(received) == sorted("{" + payload.removeprefix(head) for payload in said)
    assert server.pod()["messages_dropped"] == dropped


async def test_what_the_old_one_hears(server: ServerProcess, redis: Redis) -> None:
    """It can read all that is published where it listens, as the messages that they are."""
    async with redis.pubsub() as channels:
        await channels.psubscribe(*HEARD)
        messages: list[dict[str, Any]] = [
            {"data": {"text": "h\u00e9llo"}, "id": "11111111-1111-4111-8111-111111111111"},
            {"data": "typing", "type": "presence"},
            {"data": [1.5, None], "type": "notification"},
            {"data": "asked", "ack": True, "id": "22222222-2222-4222-8222-222222222222"},
            {"data": "to all", "room": None},
        ]
        async with server.connect("lobby", events="system,presence") as client:
            await receive_event(client, "welcome")
            join = {"action": "join", "rooms": ["a", "b/c", "@me"], "presence": True}
            await client.send(json.dumps({"type": "system", "data": join}))
            await receive_event(client, "joined")
            for message in messages:
                await client.send(json.dumps(message))
        heard: list[tuple[str, OldEnvelope]] = []

        async def hear() -> bool:
            found = await channels.get_message(ignore_subscribe_messages=True, timeout=0.1)
            if found is not None:
                heard.append((found["channel"].decode(), read_as_the_old_one(found["data"])))
            return len(heard) == len(messages)

        await eventually(hear, "all that was said")
    for (channel, envelope), message in zip(heard, messages, strict=True):
        place = "realtime:global" if "room" in message else "realtime:room:lobby"
        assert (channel, envelope.type) == (place, message.get("type", "chat"))
        assert json.loads(bytes(envelope.data)) == message["data"]
        assert envelope.id == message.get("id", envelope.id)
        assert envelope.pod_id == server.pod()["pod_id"]


async def test_who_is_there(
    server: ServerProcess, start_server: StartServer, redis: Redis, own_redis: RedisProcess
) -> None:
    """New pods tell of each other's users, complete, and nothing to the old one nor of it."""
    other = start_server("--single-process", REDIS_URL=own_redis.url)

    def is_empty() -> bool:
        pod = server.pod()
        return pod["rooms"] == pod["presence"]["held_users"] == 0

    await eventually(lambda: asyncio.to_thread(is_empty), "who was there before is gone")
    async with (
        redis.pubsub(ignore_subscribe_messages=True) as channels,
        server.connect("lobby", events="presence") as anna,
        other.connect("lobby", events="presence") as bert,
    ):
        await channels.psubscribe(*HEARD, f"realtime:pod:{POD_ID}")
        watchers = [Watcher(anna), Watcher(bert)]
        for watcher in watchers:
            await watcher.until(lambda it: it.complete and len(it.users) == 2)
            watcher.joined.clear()
        for channel, payload in PUBLISHED:
            await redis.publish(channel, payload)
        async with other.connect("lobby"):
            for watcher in watchers:
                await watcher.until(lambda it: len(it.users) == 3)
        for watcher in watchers:
            await watcher.until(lambda it: len(it.users) == 2)
            [[gone, reason]] = watcher.left
            assert (watcher.joined, reason) == ([gone], "left")
        heard: list[tuple[bytes, str]] = []
        await redis.publish(b"realtime:global", "the end")
        while heard[-1:] != [(b"realtime:global", "the end")]:
            message = await channels.get_message(timeout=DEADLINE)
            if message is not None:  # else it was a confirmation
                heard.append((message["channel"], message["data"].decode()))
        assert heard[:-1] == PUBLISHED


async def test_it_counts(server: ServerProcess, redis: Redis) -> None:
    """The stats have it among the pods, with what it tells and nothing that it does not."""
    await redis.sadd("realtime:pods", POD_ID)
    await redis.set(f"realtime:pod:{POD_ID}", REPORT, ex=60)
    async with server.connect("lobby"):
        stats = await eventually(
            lambda: (found := server.stats())["totals"]["connections"] == 3 and found,
            "its two clients are counted beside ours",
        )
    assert (stats["complete"], stats["unreadable_pods"], stats["totals"]["pods"]) == (True, 0, 2)
    assert stats["largest_rooms"] == [{"room": "lobby", "members": 2}]
    [old] = [pod for pod in stats["pods"] if pod["pod_id"] == POD_ID]
    told = json.loads(REPORT)
    del told["room_sample"], told["largest_rooms"]
    assert old == told
    await redis.delete(f"realtime:pod:{POD_ID}")
