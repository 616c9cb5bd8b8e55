"""Runs scenarios against systems, round by round, in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager

from tests.harness import RedisProcess

from . import connections, fanout
from .crowd import CannotMeasure
from .loop import Loop
from .processes import allow_descriptors, cpu_seconds, settle_on_load_core
from .results import Faults, Result
from .scenarios import Connects, Fanout, Idle, Scenario, Storm
from .systems import SEND_PRICE, Server, System

SPARE_DESCRIPTORS = 500

QUIET_SECONDS = 10.0
QUIET_LOOK_SECONDS = 0.05
QUIET_SHARE = 0.1
"""Before a round, servers get that long to take less than that share of a core, all together."""

Progress = Callable[[str], None]
"""Told what is measured now."""


class Bench:
    """A Redis and the load's loop, both on the load's core."""

    def __init__(self, redis: RedisProcess, loop: Loop) -> None:
        self.redis = redis
        self.loop = loop

    def measure(self, scenario: Scenario, server: Server, *, seconds: float) -> Result:
        """One round. What cannot be measured comes back as faults, with a note that says why."""
        try:
            return self._measure(scenario, server, seconds)
        except CannotMeasure as reason:
            return Result(
                scenario=scenario.name, system=server.system.name, seconds=1, events=0,
                cpu_us=0, server_cpu=0, load_cpu=0, redis_cpu=0, others_cpu=0,
                redis_commands=0, redis_bytes_in=0, redis_bytes_out=0, server_mib=0,
                faults=Faults(closed=1), note=str(reason),
            )  # fmt: skip

    def _measure(self, scenario: Scenario, server: Server, seconds: float) -> Result:
        loop, redis = self.loop, self.redis
        match scenario:
            case Fanout():
                return fanout.measure(scenario, server, loop=loop, redis=redis, seconds=seconds)
            case Idle():
                return connections.measure_idle(scenario, server, loop=loop, redis=redis)
            case Connects():
                return connections.measure_connects(scenario, server, loop=loop, redis=redis)
            case Storm():
                return connections.measure_storm(scenario, server, loop=loop, redis=redis)


@contextmanager
def bench() -> Iterator[Bench]:
    """Take the load's core, and start Redis on it."""
    settle_on_load_core()
    with closing(RedisProcess()) as redis, closing(Loop()) as loop:
        redis.start()
        yield Bench(redis, loop)


class Servers:
    """The running servers of some systems."""

    def __init__(self, redis_url: str) -> None:
        self._redis_url = redis_url
        self._servers: dict[tuple[str, int], Server] = {}

    def get(self, systems: Iterable[System], *, workers: int) -> list[Server]:
        """One server of each, with that many workers; those that do not run yet are started."""
        keys = []
        for system in systems:
            key = (system.name, workers)
            if key not in self._servers:
                self._servers[key] = Server(system, redis_url=self._redis_url, workers=workers)
            keys.append(key)
        servers = [self._servers[key] for key in keys]
        for server in servers:
            server.wait_ready()
        return servers

    def close(self) -> None:
        """Kill them all."""
        while self._servers:
            self._servers.popitem()[1].close()


def measure_all(
    scenarios: Iterable[Scenario],
    systems: list[System],
    *,
    rounds: int,
    seconds: float,
    keep_servers: bool,
    on_start: Progress,
    tick: Callable[[], None],
) -> Iterator[Result]:
    """Every scenario with every system; systems take turns within a scenario.

    All servers of a scenario run side by side, and only one of them is under load; the next
    scenario gets new ones, unless `keep_servers`. `on_start` is told what comes next, `tick` is
    called four times a second meanwhile.
    """
    with bench() as the_bench, closing(Servers(the_bench.redis.url)) as all_servers:
        _call_regularly(the_bench.loop, tick)
        for scenario in scenarios:
            allow_descriptors(scenario.connections + SPARE_DESCRIPTORS)
            servers = all_servers.get(
                taking_part(scenario, systems), workers=getattr(scenario, "workers", 1)
            )
            for number in range(rounds_of(scenario, rounds)):
                for server in servers:
                    on_start(f"{scenario.name} · {server.system.name} · {number + 1}")
                    _wait_until_quiet(servers)
                    yield the_bench.measure(scenario, server, seconds=seconds)
            if not keep_servers:
                all_servers.close()


def taking_part(scenario: Scenario, systems: list[System]) -> list[System]:
    """The systems, and with them the floor where that is of interest."""
    wants_floor = isinstance(scenario, Fanout) and scenario.floor
    return [*systems, SEND_PRICE] if wants_floor else systems


def rounds_of(scenario: Scenario, rounds: int) -> int:
    """How many rounds a scenario gets: memory and storms are the same every time, and long."""
    return 1 if isinstance(scenario, Idle | Storm) else rounds


def _wait_until_quiet(servers: list[Server]) -> None:
    """Let servers finish what the last round left them with, such as thousands of lost clients."""
    pids = [pid for server in servers for pid in server.pids]
    deadline = time.monotonic() + QUIET_SECONDS
    spent = cpu_seconds(pids)
    while time.monotonic() < deadline:
        time.sleep(QUIET_LOOK_SECONDS)
        before, spent = spent, cpu_seconds(pids)
        if spent - before < QUIET_SHARE * QUIET_LOOK_SECONDS:
            return


def _call_regularly(loop: Loop, tick: Callable[[], None]) -> None:
    def again() -> None:
        tick()
        loop.call_at(time.monotonic() + 0.25, again)

    again()
