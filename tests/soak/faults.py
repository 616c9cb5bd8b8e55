"""What is done to Redis while there is traffic."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import cycle

from redis.asyncio import Redis

from ..support.harness import RedisProcess
from .load import Load

PAUSE_MS = 1000
DOWN_SECONDS = 0.5


async def kill_subscribers(redis: RedisProcess, load: Load) -> None:
    """CLIENT KILL of every connection that has subscribed."""
    await _kill_connections(redis, load, "pubsub")


async def kill_publishers(redis: RedisProcess, load: Load) -> None:
    """CLIENT KILL of all other connections."""
    await _kill_connections(redis, load, "normal")


async def _kill_connections(redis: RedisProcess, load: Load, kind: str) -> None:
    async with load.breach(), Redis(port=redis.port) as admin:
        assert await admin.client_kill_filter(_type=kind, skipme=True)


async def pause(redis: RedisProcess, load: Load) -> None:
    """Redis stands still for a while: nothing may be lost by that."""
    async with Redis(port=redis.port) as admin:
        await admin.client_pause(PAUSE_MS)
    await load.crosses()


async def restart(redis: RedisProcess, load: Load) -> None:
    """kill -9, and a new one, which knows nothing."""
    async with load.breach():
        redis.kill()
        await asyncio.sleep(DOWN_SECONDS)
        await asyncio.to_thread(redis.start)


FAULTS = (kill_subscribers, kill_publishers, pause, restart)


async def harm(redis: RedisProcess, load: Load, until: Callable[[], bool], *, every: float) -> int:
    """One fault after the other, with `every` s between them, each once at least; how many."""
    faults = 0
    for fault in cycle(FAULTS):
        if faults >= len(FAULTS) and until():
            break
        await asyncio.sleep(every)
        await fault(redis, load)
        faults += 1
    return faults
