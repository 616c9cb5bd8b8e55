"""Measures the time and CPU that an interval took: the server's, the load's and Redis's."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from tests.support.harness import RedisProcess

from ..load.client import Client
from ..load.loop import Loop
from .processes import core_seconds, cpu_seconds, resident_bytes
from .redis_traffic import TrafficCounter
from .servers import Server


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
        """The fields of a Result for the interval, in which there were that many events."""
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


def meter_deliveries(
    loop: Loop,
    server: Server,
    redis: RedisProcess,
    clients: list[Client],
    message_bytes: int,
    seconds: float,
) -> tuple[Meter, dict[str, Any]]:
    """Run the load so long; the interval, and its figures per message that a client got."""
    meter, before = Meter(server, redis), sum(client.received for client in clients)
    loop.run(time.monotonic() + seconds)
    meter.stop()
    received = sum(client.received for client in clients) - before
    return meter, meter.figures(received // message_bytes)


class _Reading(NamedTuple):
    """Seconds."""

    server: float
    redis: float
    load: float
    cores: float
    time: float

    @property
    def others(self) -> float:
        """The cores' time for anybody else."""
        return self.cores - self.server - self.redis - self.load
