"""Measures the time and CPU that an interval took: the server's, the load's and Redis's."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from tests.harness import RedisProcess

from .processes import core_seconds, cpu_seconds, resident_bytes
from .redis_traffic import TrafficCounter
from .systems import Server


class Meter:
    """Starts to measure when it is made, and ends with `stop`."""

    def __init__(self, server: Server, redis: RedisProcess) -> None:
        self._server = server
        self._redis_pid = redis.pid
        self._traffic = TrafficCounter(redis.port)
        self._before = self._now()

    def _now(self) -> _Reading:
        return _Reading(
            cpu_seconds(self._server.pids),
            cpu_seconds([self._redis_pid]),
            time.process_time(),
            core_seconds(),
            time.monotonic(),
        )

    def stop(self) -> None:
        """The interval ends here."""
        before, after = self._before, self._now()
        self._redis_traffic = self._traffic.stop()
        self.spent = _Reading(*(a - b for a, b in zip(after, before, strict=True)))
        self.began_ns, self.ended_ns = int(before.time * 1e9), int(after.time * 1e9)

    def figures(self, events: int) -> dict[str, Any]:
        """What a Result says of the interval, in which there were that many events."""
        seconds = self.spent.time
        return {
            "seconds": seconds,
            "events": events,
            "cpu_us": self.spent.server / events * 1e6 if events else 0.0,
            "server_cpu": self.spent.server / seconds,
            "load_cpu": self.spent.load / seconds,
            "redis_cpu": self.spent.redis / seconds,
            "others_cpu": max(0.0, self.spent.others) / seconds,
            "redis_commands": self._redis_traffic.commands / seconds,
            "redis_bytes_in": self._redis_traffic.bytes_in / seconds,
            "redis_bytes_out": self._redis_traffic.bytes_out / seconds,
            "server_mib": resident_bytes(self._server.pids) / 2**20,
        }


class _Reading(NamedTuple):
    """Seconds."""

    server: float
    redis: float
    load: float
    cores: float
    time: float

    @property
    def others(self) -> float:
        """What the cores did for anybody else."""
        return self.cores - self.server - self.redis - self.load
