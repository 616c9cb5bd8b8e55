"""A long time of churn, load and faults: what a worker holds afterwards is what it held before.

    SOAK_SECONDS=600 python -m pytest tests/soak/test_soak.py -s

The time is divided into rounds, each with every kind of visitor and every fault, and a rest after
each. The first one warms up. What is compared was always looked at in a rest, with the same clients
connected.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import Counter
from random import Random

import pytest
from redis.asyncio import Redis

from ..support.backend import WITH_API
from ..support.harness import RedisProcess, ServerProcess, StartServer, eventually
from .faults import FAULTS, harm
from .holdings import Holding, assert_nothing_left, assert_same_level, level_text, settled
from .load import Load, load
from .visitors import KINDS, come_and_go

SECONDS = float(os.environ.get("SOAK_SECONDS", "60"))
ROUND_SECONDS = 18.0
REST_SECONDS = 19.0
"""About what a rest takes: the slowest visitor leaves, empty rooms are given up, and who was lost
does not come back."""
ROUNDS = max(2, int((SECONDS - 10) / (ROUND_SECONDS + REST_SECONDS)))

WORKERS = 2
QUIET_REGULARS = 40
COMMAND = (sys.executable, "-m", "sanic", "tests.soak.server:app")
SETTINGS = {
    "CHAT_HANDSHAKE_TIMEOUT": "4",
    "CHAT_HEARTBEAT_TIMEOUT": "15",
    "CHAT_REDIS_TIMEOUT": "3",
    "CHAT_ROOMS_PER_SESSION": "1000",
    "CHAT_SEND_QUEUE_BYTES": str(256 * 1024),
    "CHAT_STATS_INTERVAL": "0.2",
    "CHAT_UNSUBSCRIBE_DELAY": "0.5",
    **WITH_API,
}

pytestmark = [
    pytest.mark.timeout(2 * SECONDS + 120),
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]


async def one_round(
    server: ServerProcess, redis: RedisProcess, traffic: Load, random: Random
) -> tuple[Counter[str], int]:
    """Visits by kind, and the number of faults."""
    ends = time.monotonic() + ROUND_SECONDS

    def over() -> bool:
        return time.monotonic() > ends

    traffic.resume()
    async with asyncio.TaskGroup() as group:
        visits = group.create_task(come_and_go(server, random, over))
        faults = group.create_task(
            harm(redis, traffic, over, every=ROUND_SECONDS / 2 / len(FAULTS))
        )
    await traffic.pause()
    return visits.result(), faults.result()


async def on_redis(redis: RedisProcess) -> dict[str, list[str]]:
    """What stands on Redis, and who is connected to it.

    The IDs of backends' publications are none of it: each is forgotten by itself.
    """
    async with Redis(port=redis.port, decode_responses=True) as admin:
        keys = [key async for key in admin.scan_iter()]
        ids = {key for key in keys if key.startswith("realtime:once:")}
        assert not [key for key in ids if await admin.ttl(key) == -1]
        return {
            "channels": sorted(await admin.pubsub_channels()),
            "keys": sorted({*keys} - ids),
            "connections": sorted(client["name"] for client in await admin.client_list()),
        }


async def test_soak(redis: RedisProcess, start_server: StartServer) -> None:
    """Memory in use after all that is within 2 % of what it was after the warm-up, and of those
    that came and went nothing is left: no task, object, file, room, subscription, key, connection.
    Of what the regulars said, all arrived once and in order, but while Redis was cut off."""
    server = start_server(workers=WORKERS, command=COMMAND, REDIS_URL=redis.url, **SETTINGS)
    empty, empty_redis = await settled(server), await on_redis(redis)
    visits: Counter[str] = Counter()
    faults = 0
    levels: list[dict[int, Holding]] = []
    started = time.monotonic()
    async with load(server, pods=WORKERS, quiet=QUIET_REGULARS) as traffic:
        for number in range(ROUNDS):
            round_visits, round_faults = await one_round(server, redis, traffic, Random(number))
            visits += round_visits
            faults += round_faults
            levels.append(await settled(server))
            print(level_text(time.monotonic() - started, levels[-1]))
    print(dict(visits))
    print(f"{faults} faults; {traffic.sent} messages, {traffic.lost} lost by some listener")

    assert set(visits) == {kind.__name__ for kind in KINDS}
    assert min(visits.values()) >= ROUNDS
    traffic.check()
    assert_nothing_left(levels[0], levels[-1], "the regulars")
    # Libraries make some objects when they are first used.
    assert_nothing_left(empty, await settled(server), "nobody", objects_of="sanic_chat.")
    assert_same_level(levels[0], levels[-1])

    async def same_on_redis() -> bool:
        return await on_redis(redis) == empty_redis

    await eventually(same_on_redis, f"there stands on Redis what stood there: {empty_redis}")
    server.stop()
