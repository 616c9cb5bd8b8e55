"""Measures the time and CPU that an interval took: the server's, the load's and Redis's."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from .processes import core_seconds, cpu_seconds, resident_bytes
from .systems import Server


class Meter:
    """Starts to measure when it is made, and ends with `stop`."""

    def __init__(self, server: Server, redis_pid: int) -> None:
        self._server = server
        self._redis_pid = redis_pid
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
        self.spent = _Reading(*(a - b for a, b in zip(after, before, strict=True)))
        self.began_ns, self.ended_ns = int(before.time * 1e9), int(after.time * 1e9)

    def figures(self, events: int) -> dict[str, Any]:
        """What a Result says of the interval, in which there were that many events."""
        seconds = self.spent.time
        return {
            "seconds": seconds,
            "events": events,
            "cpu_us": self.spent.server / events * 1e6 if events else float("nan"),
            "server_cpu": self.spent.server / seconds,
            "load_cpu": self.spent.load / seconds,
            "redis_cpu": self.spent.redis / seconds,
            "others_cpu": max(0.0, self.spent.others) / seconds,
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
