"""What backends are told of sessions and pods, and when nothing is said."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis

from sanic_chat.cluster import lifecycle
from sanic_chat.cluster.lifecycle import PER_TURN
from sanic_chat.pod.pod import Pod
from sanic_chat.protocol.identity import Identity
from sanic_chat.session.handler import EndedBy

from ..support.harness import DEADLINE, RedisProcess, eventually
from ..support.pods import Crowd, make_pod, running_pods

LIFECYCLE = {"CHAT_LIFECYCLE": "1", "CHAT_REDIS_PREFIX": "told"}
LOST_SECONDS, TICK_SECONDS = 1.0, 0.1


class Backend:
    """A program that listens to what pods tell."""

    def __init__(self, client: Redis, channel: str) -> None:
        self.client = client
        self._channel = channel
        self._listener = client.pubsub()

    async def listen(self) -> None:
        """Begin to hear."""
        await self._listener.subscribe(self._channel)
        assert (await self._listener.get_message(timeout=DEADLINE))["type"] == "subscribe"

    async def next(self) -> dict[str, Any]:
        """The next event."""
        message = await self._listener.get_message(timeout=DEADLINE)
        assert message is not None, "there was one to come"
        event: dict[str, Any] = json.loads(message["data"])
        return event

    async def until(self, event: str, pod: Pod) -> list[dict[str, Any]]:
        """All events up to the first one of a kind about a pod."""
        found = [await self.next()]
        while (found[-1]["event"], found[-1]["pod_id"]) != (event, pod.id):
            found.append(await self.next())
        return found

    async def close(self) -> None:
        await self._listener.aclose()


@asynccontextmanager
async def backend_of(redis: RedisProcess) -> AsyncIterator[Backend]:
    async with Redis(port=redis.port) as client:
        backend = Backend(client, "told:lifecycle")
        await backend.listen()
        yield backend
        await backend.close()


@pytest.fixture
async def backend(redis: RedisProcess) -> AsyncIterator[Backend]:
    async with backend_of(redis) as backend:
        yield backend


@pytest.fixture
async def crowd(
    redis: RedisProcess, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Crowd]:
    """Two pods that have told of their start."""
    monkeypatch.setattr(lifecycle, "LOST_SECONDS", LOST_SECONDS)
    monkeypatch.setattr(lifecycle, "TICK_SECONDS", TICK_SECONDS)
    async with running_pods(redis, 2, CHAT_PROOF_INTERVAL="0.1", **LIFECYCLE) as pods:
        started = [await backend.next() for _ in pods]
        assert {(one["event"], one["sessions"]) for one in started} == {("pod_open", 0)}
        assert {one["pod_id"] for one in started} == {pod.id for pod in pods}
        crowd = Crowd(pods)
        yield crowd
        await crowd.clear()


async def test_a_session(crowd: Crowd, backend: Backend) -> None:
    """Its pod tells when it opens, and when and how it closes."""
    session = await crowd.open(1, identity=Identity('anna "ä"'))
    about = {
        "pod_id": crowd.pods[1].id,
        "user": 'anna "ä"',
        "client_id": session.client_id,
    }
    assert await backend.next() == {"event": "open", **about}
    session.close(4001, "go", by=EndedBy.BACKEND)
    assert await backend.next() == {"event": "close", "code": 4001, **about}
    lost = await crowd.open(0)
    assert (await backend.next())["user"] == lost.client_id
    lost.abort()
    assert (await backend.next())["code"] == 1006


async def test_who_asks(crowd: Crowd, backend: Backend) -> None:
    """Every pod tells of all its sessions; what comes and goes meanwhile is right too."""
    sessions = [await crowd.open(number % 2) for number in range(2 * PER_TURN + 3)]
    for _ in sessions:
        await backend.next()
    await backend.client.publish("told:lifecycle:tell", "")
    told: dict[str, set[str]] = {}  # of pods that have begun to tell
    while told.keys() != {pod.id for pod in crowd.pods} or set().union(*told.values()) != {
        session.client_id for session in sessions
    }:
        event = await backend.next()
        pod_id = event["pod_id"]
        if event["event"] == "pod_open":
            told[pod_id] = set()
            sessions.pop().abort()
            sessions.append(await crowd.open(0))
        elif event["event"] == "open" and pod_id in told:
            told[pod_id].add(event["client_id"])
        elif event["event"] == "close" and pod_id in told:
            told[pod_id].discard(event["client_id"])


async def test_a_pod_that_leaves(crowd: Crowd, backend: Backend) -> None:
    """It has told of all its sessions' ends, and is not lost."""
    staying, leaving = crowd.pods
    await leaving.close(1.0)
    await asyncio.sleep(2 * LOST_SECONDS)
    await crowd.open(0)
    assert [one["event"] for one in await backend.until("open", staying)] == ["open"]


async def test_a_pod_that_is_lost(crowd: Crowd, backend: Backend) -> None:
    """Who notices its silence tells; once it is heard again it tells of all its sessions."""
    witness, lost = crowd.pods
    session = await crowd.open(1)
    await backend.next()
    lost.broker.stop_proving()
    event = await backend.next()
    assert event["silent_seconds"] >= LOST_SECONDS
    assert event == {
        "event": "pod_lost",
        "pod_id": lost.id,
        "silent_seconds": event["silent_seconds"],
        "told_by": witness.id,
    }
    lost.control.beat()
    begin, opened = await backend.next(), await backend.next()
    assert begin == {"event": "pod_open", "pod_id": lost.id, "sessions": 1}
    assert (opened["event"], opened["client_id"]) == ("open", session.client_id)


async def test_an_outage_is_no_loss(crowd: Crowd, backend: Backend, redis: RedisProcess) -> None:
    """While Redis is away, and right after it, nobody is lost; then all tell of their sessions."""
    session = await crowd.open(0)
    redis.kill()
    await eventually(lambda: all(pod.broker.outage.is_on for pod in crowd.pods), "it is noticed")
    await asyncio.sleep(2 * LOST_SECONDS)
    redis.start()
    async with backend_of(redis) as again:
        events = []
        while not {pod.id for pod in crowd.pods} <= {one["pod_id"] for one in events}:
            events.append(await again.next())
        while session.client_id not in {one.get("client_id") for one in events}:
            events.append(await again.next())
        assert "pod_lost" not in {one["event"] for one in events}


async def test_a_pod_of_before(crowd: Crowd, backend: Backend, redis: RedisProcess) -> None:
    """A pod that starts may know of others that there were, and tells if they are not heard."""
    new = make_pod(redis, **LIFECYCLE)
    await new.start()
    try:
        told = new.cluster.lifecycle
        assert told is not None
        told.suspect([new.id, crowd.pods[0].id, "killed"])
        events = await backend.until("pod_open", new)
        while events[-1]["event"] != "pod_lost":
            events.append(await backend.next())
        assert (events[-1]["pod_id"], events[-1]["told_by"]) == ("killed", new.id)
    finally:
        await new.close(1.0)


async def test_off(redis: RedisProcess) -> None:
    """By default nothing is told, and nobody who asks is heard."""
    async with Redis(port=redis.port) as client, client.pubsub() as listener:
        await listener.psubscribe("*:lifecycle*")
        await listener.get_message(timeout=DEADLINE)
        async with running_pods(redis, 1) as pods:
            crowd = Crowd(pods)
            await crowd.open(0)
            assert pods[0].cluster.lifecycle is None
            assert await client.publish("realtime:lifecycle:tell", "") == 1
            await crowd.clear()
        message = await listener.get_message(timeout=DEADLINE)
        assert message["channel"] == b"realtime:lifecycle:tell"
        assert await listener.get_message(timeout=0.1) is None
