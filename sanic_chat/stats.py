"""The reports of all pods of a cluster on Redis, and their sum.

Every pod writes one report to Redis at a fixed interval, under a key that expires when it stops;
whoever is asked reads them all. That is three commands to report, and two to read 32 pods,
however many rooms there are. How old a report is, Redis alone decides: no machine's clock matters.
Must not know sessions; what stands in a report is the pod's business.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from .distinct import DistinctUnion
from .errors import BadReport
from .logs import RateLimitedWarning
from .names import PODS_KEY, pod_key
from .report import PodReport, encode_report, parse_report

LIFETIME_INTERVALS = 5
"""Reports a pod may miss before it is gone from the totals."""

BATCH = 32
"""Reports read at once: some 3 ms, after which everything else gets a turn."""

_SUMMED = ("connections", "messages_in", "messages_out", "messages_published")


class StatsStore:
    """The reports of all pods on Redis.

    Every call raises RedisError or OSError if Redis is away, or answers nonsense.
    """

    def __init__(self, url: str, *, interval: float, timeout: float) -> None:
        self._lifetime_ms = int(interval * LIFETIME_INTERVALS * 1000)
        self._timeout = timeout
        self._turns = asyncio.Lock()
        self._redis = redis.asyncio.Redis.from_url(
            url,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 0),  # the next report is the retry
        )
        self._bad_report = RateLimitedWarning()

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """One at a time, so that one connection is enough, however many ask.

        Not redis-py's BlockingConnectionPool: that of 5.0 locks itself out when Redis goes away.
        """
        async with asyncio.timeout(self._timeout):
            await self._turns.acquire()
        try:
            yield
        except (RedisError, OSError):
            raise
        except Exception as error:  # whatever redis-py stumbles over
            raise RedisError(f"Redis answered nonsense: {error!r}") from error
        finally:
            self._turns.release()

    async def write(self, report: PodReport) -> None:
        """Store a pod's report until its lifetime is over."""
        pod_id = report.pod_id.encode()
        async with self._turn(), self._redis.pipeline(transaction=False) as pipeline:
            pipeline.set(pod_key(pod_id), encode_report(report), px=self._lifetime_ms)
            pipeline.sadd(PODS_KEY, pod_id)
            pipeline.pexpire(PODS_KEY, self._lifetime_ms)
            await pipeline.execute()

    async def read(self, take: Callable[[PodReport], None]) -> int:
        """Give `take` the reports of all living pods; returns how many could not be read.

        They come in the order of their pod IDs. IDs of dead pods are tidied away.
        """
        async with self._turn():
            pod_ids = sorted(cast(set[bytes], await self._redis.smembers(PODS_KEY)))
        unreadable = 0
        for start in range(0, len(pod_ids), BATCH):
            for pod_id, text in await self._fetch(pod_ids[start : start + BATCH]):
                try:
                    report = parse_report(text)
                    if report.pod_id.encode() != pod_id:
                        raise BadReport(f"it is that of pod {report.pod_id!r:.200}")
                except BadReport as reason:
                    unreadable += 1
                    self._bad_report.log("Left out the report of %.200r: %.200s", pod_id, reason)
                else:
                    take(report)
        return unreadable

    async def _fetch(self, pod_ids: list[bytes]) -> list[tuple[bytes, bytes]]:
        """The reports of those pods that have one, unread."""
        async with self._turn():
            texts = await self._redis.mget(list(map(pod_key, pod_ids)))
            found = dict(zip(pod_ids, cast(list[bytes | None], texts), strict=True))
            dead = [pod_id for pod_id, text in found.items() if text is None]
            if dead:
                await self._redis.srem(PODS_KEY, *dead)
        return [(pod_id, text) for pod_id, text in found.items() if text is not None]

    async def remove(self, pod_id: str) -> None:
        """Forget a pod at once."""
        async with self._turn(), self._redis.pipeline(transaction=False) as pipeline:
            pipeline.delete(pod_key(pod_id.encode()))
            pipeline.srem(PODS_KEY, pod_id)
            await pipeline.execute()

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()


class Summary:
    """What reports of pods, added one by one, say together."""

    def __init__(self) -> None:
        self._sums: Counter[str] = Counter(dict.fromkeys(_SUMMED, 0))
        self._dropped: Counter[str] = Counter()
        self._members: Counter[str] = Counter()
        self._rooms = DistinctUnion()
        self._entries: list[dict[str, Any]] = []

    def add(self, report: PodReport) -> None:
        """Add a pod."""
        for name in _SUMMED:
            self._sums[name] += getattr(report, name)
        self._dropped.update(report.messages_dropped)
        self._members.update(report.largest_rooms)
        self._rooms.add(report.room_sample.level, report.room_sample.hashes)
        self._entries.append(report.entry())

    def totals(self) -> dict[str, Any]:
        """The sum over all pods."""
        rooms, exact = self._rooms.count()
        return {
            "pods": len(self._entries),
            "rooms": rooms,
            "rooms_exact": exact,
            **self._sums,
            "messages_dropped": dict(self._dropped),
        }

    def largest_rooms(self, count: int) -> list[dict[str, Any]]:
        """The rooms with the most members on all pods, and how many these are."""
        ranking = sorted(self._members.items(), key=lambda item: (-item[1], item[0]))
        return [{"room": room, "members": members} for room, members in ranking[:count]]

    def pods(self) -> list[dict[str, Any]]:
        """What is told of each pod alone."""
        return self._entries
