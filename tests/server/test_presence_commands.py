"""What presence says on Redis, command by command: nothing, or little, whoever joins."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from sanic_chat.presence.presence import WINDOW_SECONDS

from ..support.harness import RedisProcess, ServerProcess, eventually
from ..support.messages import command
from ..support.onlookers import onlookers, running_pods

USERS, ROOMS = 80, 80
ROUNDS = 10
ENVELOPES = 8
"""The most that a pod says in a window."""
INFO = {"about": "x" * 200}

Pods = list[ServerProcess]


@pytest.fixture
def pods(redis: RedisProcess) -> Iterator[Pods]:
    """Pods of the test's own: who has been watched speaks of it for a minute more."""
    with running_pods(redis, 2) as pods:
        yield pods


class Monitor:
    """What pods said to each other on Redis since it began."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Count from now on."""
        self.began = time.monotonic()
        self.kinds: Counter[str] = Counter()
        """How many of each kind."""
        self.pods: Counter[str] = Counter()
        """How many of each pod, but for canaries."""

    def take(self, command: str) -> None:
        """Take a command as Redis' MONITOR says it."""
        name, *words = command.split(" ", 2)
        if name != "PUBLISH":
            return
        envelope = json.loads(words[1])
        [kind] = envelope.keys() - {"pod_id", "number"}
        self.kinds[kind] += 1
        if kind != "canary":
            self.pods[envelope["pod_id"]] += 1

    async def hear(self, canaries: int) -> None:
        """Wait for so many more canaries."""
        enough = self.kinds["canary"] + canaries
        await eventually(lambda: self.kinds["canary"] >= enough, "canaries")


@asynccontextmanager
async def monitor(redis: RedisProcess) -> AsyncIterator[Monitor]:
    """A MONITOR, as long as it is needed."""
    seen = Monitor()

    async def watch() -> None:
        async for line in commands.listen():
            seen.take(line["command"])

    async with Redis(port=redis.port) as admin, admin.monitor() as commands:
        watching = asyncio.create_task(watch())
        yield seen
        watching.cancel()
        await asyncio.wait([watching])


@asynccontextmanager
async def toggling(pods: Pods, room: str) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Clients, and what has all of them join and leave all of the rooms, again and again."""
    rooms = [f"{room}-{number}" for number in range(ROOMS)]
    places = [(f"user-{n:02}", n % 2) for n in range(USERS)]

    async with onlookers([pod.port for pod in pods], places, info=INFO) as clients:

        async def toggle() -> None:
            for _ in range(ROUNDS):
                for action in ("join", "leave"):
                    for client in clients:
                        client.listener.send_text(command(action, rooms=rooms))
                    await asyncio.sleep(WINDOW_SECONDS)

        yield toggle


async def test_nobody_watches(pods: Pods, redis: RedisProcess, room: str) -> None:
    """Whoever joins and leaves, pods say nothing to each other but that they live."""
    async with toggling(pods, room) as toggle, monitor(redis) as seen:
        await toggle()
        await seen.hear(4)
        assert set(seen.kinds) == {"canary"}


async def test_somebody_watches(pods: Pods, redis: RedisProcess, room: str) -> None:
    """Whoever joins and leaves, a pod says at most eight things in a window."""
    async with (
        toggling(pods, room) as toggle,
        onlookers([pod.port for pod in pods], [("watcher", 0), ("watcher", 1)]) as watchers,
        monitor(redis) as seen,
    ):
        for watcher in watchers:
            watcher.join([f"{room}-{number}" for number in range(ROOMS)])
        await seen.hear(2)
        seen.begin()
        await toggle()
        windows = (time.monotonic() - seen.began) / WINDOW_SECONDS + 1
        assert len(seen.pods) == 2
        for said in seen.pods.values():
            assert 0 < said <= ENVELOPES * windows
        print(f"{sum(seen.pods.values()) / windows:.1f} envelopes a window")
