"""Redis goes away, or a pod stands still: nobody has left for that, and all is right again."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from ..support.cases import EVERY_CASE
from ..support.harness import SLOW, RedisProcess, ServerProcess, eventually
from ..support.onlookers import Onlooker, onlooker, onlookers, running_pods

AWAY_SECONDS = 30.0 if EVERY_CASE else 12.0
"""Longer than any hold of who is lost; a pod is silent after 5 s."""
FROZEN_SECONDS = 20.0
STALL_SECONDS = 2.0
"""Longer than a hold, and too short for pods to notice."""
RIGHT_WITHIN = SLOW * 10.0
USERS = 40
ROOM = "the-room"

Pods = list[ServerProcess]
Fault = Callable[[RedisProcess], Awaitable[None]]


@pytest.fixture
def pods(redis: RedisProcess) -> Iterator[Pods]:
    with running_pods(redis, 2) as pods:
        yield pods


@asynccontextmanager
async def inhabited(pods: Pods) -> AsyncIterator[list[Onlooker]]:
    """Users of both pods in a room, who know of each other."""
    places = [(f"user-{n:02}", n % 2) for n in range(USERS)]
    async with onlookers([pod.port for pod in pods], places) as clients:
        for client in clients:
            client.join([ROOM])
        users = {user for user, _ in places}
        await eventually(lambda: all_see(clients, users), "all see each other")
        for client in clients:
            client.rosters[ROOM].joined.clear()
        yield clients


def all_see(clients: list[Onlooker], users: set[str]) -> bool:
    """Whether these clients know that all these users are there, and that nobody else is."""
    rosters = [client.rosters[ROOM] for client in clients]
    return all(roster.complete and roster.users == users for roster in rosters)


async def kill_redis(redis: RedisProcess) -> None:
    """It comes back empty."""
    redis.kill()
    await asyncio.sleep(AWAY_SECONDS)
    await asyncio.to_thread(redis.start)


async def pause_redis(redis: RedisProcess) -> None:
    """It answers nothing, and everything in the end."""
    async with Redis(port=redis.port) as admin:
        await admin.client_pause(int(AWAY_SECONDS * 1000))
    await asyncio.sleep(AWAY_SECONDS)


async def stop_redis(redis: RedisProcess) -> None:
    """It takes connections, and answers nothing."""
    redis.signal(signal.SIGSTOP)
    await asyncio.sleep(AWAY_SECONDS)
    redis.signal(signal.SIGCONT)


@pytest.mark.parametrize("fault", [kill_redis, pause_redis, stop_redis])
async def test_redis_is_away(pods: Pods, redis: RedisProcess, fault: Fault) -> None:
    """Nobody has left who has not; a roster says that it may not be complete. Who comes and goes
    meanwhile is known on the same pod, or as soon as Redis is back."""
    async with inhabited(pods) as clients:
        leaver, *stayers = clients
        away = asyncio.create_task(fault(redis))

        def is_away() -> bool:
            return all(pod.get("/ready").status_code == 503 for pod in pods)

        await eventually(lambda: asyncio.to_thread(is_away), "the pods know")
        leaver.listener.leave()
        late = await onlooker([pod.port for pod in pods], 1, "late")
        late.join([ROOM])
        roster = late.rosters[ROOM]
        await eventually(lambda: roster.is_known, "it is told who is there, as far as is known")
        assert not roster.complete
        assert roster.users == {client.user for client in clients} | {"late"}
        await away
        stayers.append(late)
        users = {client.user for client in stayers}
        await eventually(lambda: all_see(stayers, users), "all is right", RIGHT_WITHIN)
        for client in stayers:
            told = client.rosters[ROOM]
            assert set(told.left) <= {(leaver.user, "left")}
            assert set(told.joined) <= {"late"}
        late.listener.abort()
        await late.listener.ended


async def test_users_move_while_redis_stalls(pods: Pods, redis: RedisProcess) -> None:
    """Nobody is told that they have left, though their holds end before others hear of them."""
    ports = [pod.port for pod in pods]
    async with inhabited(pods) as clients, Redis(port=redis.port) as admin:
        movers, stayers = clients[0::4], [*clients[1::4], *clients[2::4], *clients[3::4]]
        await admin.client_pause(int(STALL_SECONDS * 1000))
        for mover in movers:
            mover.listener.leave()
        moved = await asyncio.gather(*(onlooker(ports, 1, mover.user) for mover in movers))
        for client in moved:
            client.join([ROOM])
        await asyncio.sleep(STALL_SECONDS)
        last = stayers.pop()
        last.listener.leave()
        watchers = [client.rosters[ROOM] for client in (*stayers, *moved)]
        await eventually(
            lambda: all((last.user, "left") in roster.left for roster in watchers),
            "holds end again",
        )
        for roster in watchers:
            assert (roster.joined, roster.left) == ([], [(last.user, "left")])
        for client in moved:
            client.listener.abort()
            await client.listener.ended


async def test_a_pod_stands_still(pods: Pods) -> None:
    """It tells its clients of nobody that he has left; the others see its users again."""
    async with inhabited(pods) as clients:
        frozen, others = clients[0::2], clients[1::2]
        users = {client.user for client in others}
        os.kill(pods[0].pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(FROZEN_SECONDS)
            await eventually(lambda: all_see(others, users), "the others take it for dead")
        finally:
            os.kill(pods[0].pid, signal.SIGCONT)
        users |= {client.user for client in frozen}
        await eventually(lambda: all_see(clients, users), "all is right", RIGHT_WITHIN)
        for client in frozen:
            told = client.rosters[ROOM]
            assert told.left == told.joined == []
        for client in others:
            told = client.rosters[ROOM]
            assert sorted(told.left) == sorted((each.user, "lost") for each in frozen)
