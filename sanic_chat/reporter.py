"""Writes what this pod has to tell about itself to Redis, once per interval."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from heapq import nlargest
from typing import Any

from redis.exceptions import RedisError, ResponseError

from .logs import RateLimitedWarning
from .names import ROOM_CHANNEL_PREFIX
from .pod import Pod
from .readiness import why_unready
from .report import BacklogReport, PodReport, RedisReport, RoomSample, SendQueuesReport
from .stats import StatsStore, Summary

REPORTED_ROOMS = 100
"""Rooms a report names, the largest first."""


def build_report(pod: Pod, *, worker: str) -> PodReport:
    """Everything a pod tells of itself, as it is now."""
    subscriber, publisher = pod.subscriber, pod.publisher
    rooms = (
        room for room in pod.hub.rooms.values() if room.channel.startswith(ROOM_CHANNEL_PREFIX)
    )
    largest = nlargest(REPORTED_ROOMS, rooms, key=lambda room: len(room.members))
    dropped = {
        **pod.dropped,
        "publish_queue_full": publisher.dropped_full,
        "publish_expired": publisher.dropped_expired,
        "publish_unconfirmed": publisher.dropped_unconfirmed,
        "publish_refused": publisher.refused,
    }
    return PodReport(
        pod_id=pod.id,
        worker=worker,
        host=socket.gethostname(),
        pid=os.getpid(),
        uptime_seconds=round(time.monotonic() - pod.started_at, 1),
        ready=why_unready(pod) is None,
        draining=pod.draining,
        connections=len(pod.hub.everyone.members),
        max_connections=pod.admission.limit,
        handshakes=pod.admission.handshakes,
        upgrades_refused=dict(pod.refused),
        rooms=pod.rooms.sample.size,
        messages_in=pod.messages_in,
        messages_out=pod.hub.deliveries,
        messages_published=publisher.published,
        messages_dropped={reason: count for reason, count in dropped.items() if count},
        backlog=BacklogReport(
            bytes=pod.hub.held_bytes,
            held=len(pod.intake.held),
            holds=pod.intake.holds,
        ),
        send_queues=SendQueuesReport(
            clients=len(pod.send_queues), bytes=pod.send_queues.held_bytes
        ),
        heartbeat_timeouts=pod.heartbeat.timeouts,
        redis=RedisReport(
            subscriber=subscriber.link.state.value,
            publisher=publisher.link.state.value,
            subscribed=subscriber.is_up,
            channels=len(subscriber.confirmed),
            reconnects=subscriber.link.reconnects + publisher.link.reconnects,
            waiting_to_publish=publisher.queued,
            echoes_dropped=pod.echoes,
            proof_age_seconds=_rounded(pod.proof.age, 1, 3),
            proof_round_trip_ms=_rounded(pod.proof.round_trip, 1000, 3),
            proofs_failed=pod.proof.failed,
        ),
        largest_rooms={room.name or "": len(room.members) for room in largest},
        room_sample=RoomSample(
            level=pod.rooms.sample.level,
            hashes=sorted(pod.rooms.sample.hashes),
        ),
    )


def _rounded(seconds: float | None, factor: int, digits: int) -> float | None:
    return None if seconds is None else round(seconds * factor, digits)


class Reporter:
    """Keeps a pod's report on Redis fresh, and answers stats requests."""

    def __init__(
        self, store: StatsStore, *, report: Callable[[], PodReport], interval: float, rooms: int
    ) -> None:
        self._store = store
        self._report = report
        self._interval = interval
        self._rooms = rooms
        self._task: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()
        self._refused = RateLimitedWarning()

    def start(self) -> None:
        """Begin to report."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="stats-reporter")

    async def close(self, timeout: float) -> None:
        """Report no more, and take this pod's report off Redis within `timeout` seconds."""
        self._closing.set()
        if self._task is not None:
            _, running = await asyncio.wait([self._task], timeout=timeout)
            if running:  # in the middle of a write to a Redis that does not answer
                self._task.cancel()
                await asyncio.wait(running, timeout=timeout)
        with suppress(RedisError, OSError, TimeoutError):  # it expires
            async with asyncio.timeout(timeout):
                await self._store.remove(self._report().pod_id)
        await self._store.close()

    async def answer(self) -> dict[str, Any]:
        """The stats of the whole cluster; of this pod alone without Redis.

        `complete` says whether they are those of all pods: Redis is there, and what each pod has
        written can be read; `unreadable_pods` of them could not be.
        """
        own = self._report()
        summary, unreadable = Summary(), 0
        try:
            await self._store.write(own)
            unreadable = await self._store.read(summary.add)
            complete = not unreadable
        except (RedisError, OSError):
            summary = Summary()
            summary.add(own)
            complete = False
        return {
            "answered_by": own.pod_id,
            "complete": complete,
            "unreadable_pods": unreadable,
            "totals": summary.totals(),
            "largest_rooms": summary.largest_rooms(self._rooms),
            "pods": summary.pods(),
        }

    async def _run(self) -> None:
        # Not ended by `cancel` alone: on Python 3.11 redis-py can swallow it.
        while not self._closing.is_set():
            try:
                await self._store.write(self._report())
            except ResponseError as error:
                self._refused.log("Redis refused this pod's report: %s", error)
            except (RedisError, OSError):
                pass  # the links log that, and the next one is the retry
            with suppress(TimeoutError):
                async with asyncio.timeout(self._interval):
                    await self._closing.wait()
