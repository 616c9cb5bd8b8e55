"""What the pods of a cluster tell about themselves, and its sum.

Every pod writes one report to Redis at a fixed interval, under a key that expires when it stops;
whoever is asked reads them all. That is three commands to report and two to read, however many
rooms there are. Must not know sessions; what stands in a report is the pod's business.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import redis.asyncio
import ujson
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from .distinct import count_distinct
from .names import PODS_KEY, pod_key

LIFETIME_INTERVALS = 5
"""Reports a pod may miss before it is gone from the totals."""

REPORTED_ROOMS = 100
"""Rooms a report names, the largest first."""

Report = dict[str, Any]

_SUMMED = ("connections", "messages_in", "messages_out", "messages_published")


@contextmanager
def _only_redis_errors() -> Iterator[None]:
    """Whatever redis-py or a report's reader stumbles over, Redis has answered nonsense."""
    try:
        yield
    except (RedisError, OSError):
        raise
    except Exception as error:
        raise RedisError(f"Redis answered nonsense: {error!r}") from error


class StatsStore:
    """The reports of all pods on Redis.

    Every call raises RedisError or OSError if Redis is away, or answers nonsense.
    """

    def __init__(self, url: str, *, interval: float, timeout: float) -> None:
        self._lifetime_ms = int(interval * LIFETIME_INTERVALS * 1000)
        # One connection, however many ask at once: each waits for its turn, `timeout` at most.
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            url,
            max_connections=1,
            timeout=timeout,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 0),  # the next report is the retry
        )
        self._redis = redis.asyncio.Redis.from_pool(pool)

    async def write(self, report: Report) -> None:
        """Store a pod's report until its lifetime is over."""
        pod_id = report["pod_id"]
        with _only_redis_errors():
            async with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.set(pod_key(pod_id), ujson.dumps(report), px=self._lifetime_ms)
                pipeline.sadd(PODS_KEY, pod_id)
                pipeline.pexpire(PODS_KEY, self._lifetime_ms)
                await pipeline.execute()

    async def read(self) -> list[Report]:
        """The reports of all living pods, by pod ID; IDs of dead ones are tidied away."""
        with _only_redis_errors():
            return await self._read()

    async def _read(self) -> list[Report]:
        members = await self._redis.smembers(PODS_KEY)
        pod_ids = sorted(cast(bytes, member).decode() for member in members)
        if not pod_ids:
            return []
        texts = await self._redis.mget([pod_key(pod_id) for pod_id in pod_ids])
        dead = [pod_id for pod_id, text in zip(pod_ids, texts, strict=True) if text is None]
        if dead:
            await self._redis.srem(PODS_KEY, *dead)
        return [ujson.loads(text) for text in texts if text is not None]

    async def remove(self, pod_id: str) -> None:
        """Forget a pod at once."""
        with _only_redis_errors():
            async with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.delete(pod_key(pod_id))
                pipeline.srem(PODS_KEY, pod_id)
                await pipeline.execute()

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()


def summarise(
    reports: Iterable[Report], *, answered_by: str, complete: bool, largest_rooms: int
) -> dict[str, Any]:
    """The answer to a stats request, from the reports of all pods."""
    reports = list(reports)
    rooms, exact = count_distinct(
        (report["room_sample"]["level"], report["room_sample"]["hashes"]) for report in reports
    )
    totals: dict[str, Any] = {"pods": len(reports), "rooms": rooms, "rooms_exact": exact}
    for name in _SUMMED:
        totals[name] = sum(report[name] for report in reports)
    totals["messages_dropped"] = _sum_counters(report["messages_dropped"] for report in reports)
    members = _sum_counters(report["largest_rooms"] for report in reports)
    ranking = sorted(members.items(), key=lambda item: (-item[1], item[0]))
    return {
        "answered_by": answered_by,
        "complete": complete,
        "totals": totals,
        "largest_rooms": [
            {"room": room, "members": count} for room, count in ranking[:largest_rooms]
        ],
        "pods": [
            {
                name: value
                for name, value in report.items()
                if name not in ("room_sample", "largest_rooms")
            }
            for report in reports
        ],
    }


def _sum_counters(counters: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for counter in counters:
        total.update(counter)
    return dict(total)
