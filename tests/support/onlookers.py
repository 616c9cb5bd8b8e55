"""Crowds of users that watch rooms: what each believes, and what it took to tell it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from functools import lru_cache
from typing import Any

from .crowd import Listener, connect, some_at_a_time
from .harness import RedisProcess, ServerProcess
from .messages import command
from .rosters import Roster
from .users import KNOWS_USERS, bearer

STEP_SECONDS = 0.01


@lru_cache(maxsize=4096)
def _read(payload: bytes) -> dict[str, Any]:
    """A message, read once for all clients that got it."""
    message: dict[str, Any] = json.loads(payload)
    return message


class Onlooker:
    """A cheap client of a user, in one pod."""

    def __init__(self, listener: Listener, user: str, pod: int) -> None:
        self.listener = listener
        self.user = user
        self.pod = pod
        self.rosters: dict[str, Roster] = {}
        """Of the rooms that it is told of."""
        self.messages = 0
        self.bytes = 0
        """What it was told of who is there."""
        listener.on_text = self._take

    def join(self, rooms: Sequence[str], *, watching: bool = True) -> None:
        """Join rooms."""
        if watching:
            self.rosters |= {room: Roster(room) for room in rooms}
        self.listener.send_text(command("join", rooms=rooms, presence=watching))

    def _take(self, payload: bytes) -> None:
        if b'"type":"presence"' in payload:
            self.messages += 1
            self.bytes += len(payload)
            message = _read(payload)
            roster = self.rosters.get(message["room"])
            if roster is not None:
                roster.take(message)


async def onlooker(ports: Sequence[int], pod: int, user: str, **claims: Any) -> Onlooker:
    """A user's client, on one of the pods; `claims` are of its token."""
    listener = await connect(ports[pod], "/ws", **bearer(user, **claims))
    return Onlooker(listener, user, pod)


@asynccontextmanager
async def onlookers(
    ports: Sequence[int], users: Iterable[tuple[str, int]], **claims: Any
) -> AsyncIterator[list[Onlooker]]:
    """A client for each user and pod."""
    clients = await some_at_a_time(onlooker(ports, pod, user, **claims) for user, pod in users)
    try:
        yield clients
    finally:
        for client in clients:
            client.listener.abort()
        await asyncio.gather(*(client.listener.ended for client in clients))


async def spread(actions: Sequence[Callable[[], None]], seconds: float) -> None:
    """Do all in so many seconds, evenly."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    done = 0
    while done < len(actions):
        share = min(1.0, (loop.time() - began) / seconds) if seconds else 1.0
        for act in actions[done : (done := max(done, int(share * len(actions))))]:
            act()
        await asyncio.sleep(STEP_SECONDS)


@contextmanager
def running_pods(
    redis: RedisProcess, count: int, **environment: str
) -> Iterator[list[ServerProcess]]:
    """So many servers of one worker, which know users and need not end well."""
    with ExitStack() as stack:
        environment = {"REDIS_URL": redis.url, **KNOWS_USERS, **environment}
        pods = [
            stack.enter_context(closing(ServerProcess("--single-process", environment=environment)))
            for _ in range(count)
        ]
        for pod in pods:
            pod.wait_ready()
        yield pods
